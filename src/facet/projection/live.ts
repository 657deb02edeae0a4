/** A projection kept current in the memory of this process. */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { Port } from '../port.ts'
import { collectionOf, type Projection } from './definition.ts'
import { buildsOf, type Register, type Run, readRegister, runKey } from './register.ts'
import { Replay } from './replay.ts'
import { isPassing } from './run.ts'
import { isLive } from './switch-on.ts'
import { refuseTruncated } from './whole.ts'

export interface LiveProjectionOptions {
  /** Ends it. */
  readonly signal: AbortSignal
}

/** What became of a key. Changes that came faster than they were read are told once, with the last state. */
export interface LiveChange<S> {
  readonly key: string
  /** Undefined if it was deleted. */
  readonly state: S | undefined
  readonly position: Position
}

const snapshotAttempts = 3
const retryMs = 200

export class Live<S> {
  readonly #port: Port
  readonly #replay: Replay<S>
  readonly #signal: AbortSignal
  readonly #readers = new Set<Reader>()
  readonly #waiting = new Set<() => void>()
  #failure: unknown
  #isOver = false

  /** Use `domain.projection(…).live({ signal })`. */
  constructor(port: Port, replay: Replay<S>, signal: AbortSignal) {
    this.#port = port
    this.#replay = replay
    this.#signal = signal
    // What fails is told by every call from then on.
    this.#follow().then(
      () => this.#end(undefined),
      (error: unknown) => this.#end(error),
    )
  }

  /** The state of a key, as a copy; undefined if there is none. Throws what ended it, if a step or the store failed. */
  get(key: string): S | undefined {
    this.#refuseFailed()
    const state = this.#replay.fold.states.get(key)
    return state === undefined ? undefined : (decodeValue(encodeValue(state)) as S)
  }

  /** All keys that have a state. */
  keys(): IterableIterator<string> {
    this.#refuseFailed()
    return this.#replay.fold.states.keys()
  }

  get size(): number {
    return this.#replay.fold.states.size
  }

  /** Everything up to here is in the states. */
  get position(): Position {
    return this.#replay.position
  }

  /** Resolves when everything up to a position is in the states. */
  async waitFor(position: Position, { signal }: CallOptions = {}): Promise<void> {
    while (this.position < position) {
      this.#refuseFailed()
      if (this.#isOver || signal?.aborted)
        throw new UnderpinError('aborted', `Waiting for position ${position} was aborted`)
      await this.#moved(signal)
    }
  }

  /** Changes from now on. A slow reader is told the last state of each key: it never holds more than the keys. */
  async *changes(): AsyncGenerator<LiveChange<S>> {
    const reader: Reader = new Map()
    this.#readers.add(reader)
    try {
      for (;;) {
        this.#refuseFailed()
        for (const [key, position] of reader) {
          reader.delete(key)
          yield { key, state: this.get(key), position }
        }
        if (this.#isOver) return
        if (reader.size === 0) await this.#moved()
      }
    } finally {
      this.#readers.delete(reader)
    }
  }

  async #follow(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        for await (const _hint of this.#port.watch(this.#signal)) await this.#catchUp()
        if (!this.#signal.aborted) throw new UnderpinError('closed', 'The store was closed')
      } catch (error) {
        if (this.#signal.aborted) return
        if (!isPassing(error)) throw error
        await sleep(this.#port.clock, retryMs, this.#signal)
      }
    }
  }

  async #catchUp(): Promise<void> {
    for (let isBehind = true; isBehind && !this.#signal.aborted; ) {
      isBehind = await this.#replay.advance({ signal: this.#signal }, (key, position) => {
        for (const reader of this.#readers) reader.set(key, position)
      })
      this.#wake()
    }
  }

  #moved(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#waiting.delete(done)
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.#waiting.add(done)
      signal?.addEventListener('abort', done, { once: true })
    })
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  #end(failure: unknown): void {
    this.#isOver = true
    this.#failure = failure
    this.#wake()
  }

  #refuseFailed(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}

/** What a reader was not told yet: keys, and the positions of their last changes. */
type Reader = Map<string, Position>

/** Begins with what is stored of this version, if it can be read at one moment, and else with the first event. */
export async function startLive<S>(
  port: Port,
  projection: Projection<S>,
  options: LiveProjectionOptions,
): Promise<Live<S>> {
  const stored = await snapshot(port, projection, options)
  if (stored === undefined) await refuseTruncated(port, projection.name, options)
  const replay = stored ?? new Replay(port, projection)
  while (!options.signal.aborted && (await replay.advance(options)));
  return new Live(port, replay, options.signal)
}

async function snapshot<S>(
  port: Port,
  projection: Projection<S>,
  options: CallOptions,
): Promise<Replay<S> | undefined> {
  const register = await readRegister(port, projection.name, options)
  const id = storedBuild(register, projection.version)
  if (id === undefined) return undefined
  await port.ensure({ [collectionOf(projection.name, id)]: projection.definition })
  for (let attempt = 0; attempt < snapshotAttempts; attempt++) {
    const before = await place(port, register, id, options)
    if (before === undefined) return undefined
    const replay = new Replay(port, projection, before.position)
    await fill(port, collectionOf(projection.name, id), replay, options)
    if ((await place(port, register, id, options))?.sign === before.sign) return replay
  }
  return undefined
}

function storedBuild(register: Register, version: number): string | undefined {
  const kept = buildsOf(register, version).filter(([, { stage }]) => stage === 'ready')
  return kept.find(([id]) => id === register.active)?.[0] ?? kept[0]?.[0]
}

/** How far the documents of a build are, and a sign that changes whenever they do. */
async function place(port: Port, register: Register, id: string, options: CallOptions) {
  const { documents, head } = await port.get([runKey(register.name, id)], options)
  if (isLive(register.builds[id] as never)) return { position: head, sign: `${head}` }
  const [found] = documents
  if (found?.kind !== 'document') return undefined
  const { position } = decodeValue(found.data) as Run
  return { position, sign: `${found.position}` }
}

async function fill<S>(
  port: Port,
  collection: string,
  replay: Replay<S>,
  options: CallOptions,
): Promise<void> {
  let after: Cursor | null = null
  do {
    const page: Page<Document, Cursor | null> = await port.scan(
      { collection, by: 'id', prefix: '', backwards: false, limit: 1_000, after },
      options,
    )
    for (const { id, data } of page.items) replay.fold.states.set(id, decodeValue(data) as S)
    after = page.next
  } while (after !== null)
}
