/**
 * A domain whose appends keep projections current in the same commit. The states are put behind everything that the
 * caller writes, with checks on their revisions and on the registers; what the caller is told is of its own writes and
 * checks alone.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { UnderpinError } from '../../error.ts'
import type { Write } from '../../model/change.ts'
import type { Check, FailedCheck } from '../../model/check.ts'
import type { Commit, Outcome } from '../../model/commit.ts'
import type { Event } from '../../model/event.ts'
import { decodeValue, type JsonText } from '../../model/value.ts'
import { ForwardPort } from '../forward-port.ts'
import type { Port } from '../port.ts'
import { encodeState, stateWrite } from './builder.ts'
import { collectionOf, type ProjectedEvent, type Projection } from './definition.ts'
import { keysOf, project, stepOnce } from './fold.ts'
import { KeyQueue } from './key-queue.ts'
import type { Registers } from './registers.ts'
import { type CachedState, StateCache } from './state-cache.ts'

/** How often a commit is tried that other processes overtake on its keys. */
const attempts = 100

/** One document that a commit changes: the events that do it, in order. */
interface Target {
  readonly projection: Projection
  readonly collection: string
  readonly key: string
  /** Collection and key. */
  readonly name: string
  readonly events: ProjectedEvent[]
}

interface Attempt {
  readonly commit: Commit
  readonly targets: readonly Target[]
  readonly checks: readonly Check[]
  readonly options: CallOptions
}

export class InlinePort extends ForwardPort {
  readonly #registers: Registers
  readonly #queue = new KeyQueue()
  /** Undefined inside a transaction of the caller, which may be undone. */
  readonly #cache: StateCache | undefined

  constructor(inner: Port, registers: Registers, cache: StateCache | undefined = new StateCache()) {
    super(inner)
    this.#registers = registers
    this.#cache = cache
  }

  override async commit(commit: Commit, given: CallOptions = {}): Promise<Outcome> {
    if (!commit.writes.some(({ kind }) => kind === 'append')) return this.inner.commit(commit, given)
    const options = { ...given, since: given.since ?? this.clock.monotonic() }
    for (let attempt = 1; attempt <= attempts; attempt++) {
      const standing = this.#registers.standing() ?? (await this.#registers.settle(this.inner, options))
      const targets = this.#targetsOf(commit, standing.live)
      const outcome = await this.#inTurn({ commit, targets, checks: standing.checks, options })
      if (outcome !== undefined) return outcome
      this.#refuseLate(options.since)
      await sleep(this.clock, 5 * this.clock.random(), options.signal)
    }
    throw new UnderpinError(
      'unavailable',
      `Other processes changed the same projected documents ${attempts} times while a commit was under way`,
      { hint: 'Give a projection that everybody changes another key, or run it asynchronously.' },
    )
  }

  protected override around(inner: Port): Port {
    return new InlinePort(inner, this.#registers.isolated(this.inner), undefined)
  }

  /** Which documents the appended events change. */
  #targetsOf(commit: Commit, live: readonly { projection: Projection; id: string }[]): Target[] {
    const targets = new Map<string, Target>()
    for (const { projection, id } of live) {
      const collection = collectionOf(projection.name, id)
      for (const write of commit.writes) {
        if (write.kind !== 'append') continue
        for (const event of project(this.events, toEvent(write, commit.at)))
          for (const key of this.#keysOf(projection, event)) {
            const name = `${collection}\0${key}`
            const found = targets.get(name)
            if (found === undefined) targets.set(name, { projection, collection, key, name, events: [event] })
            else found.events.push(event)
          }
      }
    }
    return [...targets.values()]
  }

  #keysOf(projection: Projection, event: ProjectedEvent): readonly string[] {
    try {
      return keysOf(projection, event)
    } catch (error) {
      throw failedInline(projection, event, error)
    }
  }

  async #inTurn(attempt: Attempt): Promise<Outcome | undefined> {
    const { targets, options } = attempt
    const leave = await this.#queue.enter(
      targets.map(({ name }) => name),
      options.signal,
    )
    try {
      return await this.#try(attempt)
    } finally {
      leave()
    }
  }

  /** Undefined if another process came between. */
  async #try({ commit, targets, checks, options }: Attempt): Promise<Outcome | undefined> {
    const before = await this.#load(targets, options)
    const writes: Write[] = []
    const written: { name: string; text: JsonText | undefined }[] = []
    const own: Check[] = [...checks]
    for (const [i, target] of targets.entries()) {
      const { text, revision } = before[i] as CachedState
      const next = this.#fold(target, text)
      const { collection, key } = target
      own.push({ kind: 'document', collection, id: key, expect: revision === 0 ? 'absent' : revision })
      if (next === text) continue
      writes.push(stateWrite(collection, key, next))
      written.push({ name: target.name, text: next })
    }
    const whole = { ...commit, writes: [...commit.writes, ...writes], checks: [...commit.checks, ...own] }
    const outcome = await this.inner.commit(whole, options).catch((error: unknown) => {
      for (const { name } of targets) this.#cache?.delete(name)
      throw error
    })
    if (outcome.kind === 'failed') return this.#judge(outcome.failed, targets)
    if (outcome.kind === 'refused') return outcome
    const count = commit.writes.length
    for (const [i, { name, text }] of written.entries())
      this.#cache?.set(name, {
        text,
        revision: text === undefined ? 0 : (outcome.positions[count + i] as number),
      })
    return { ...outcome, positions: outcome.positions.slice(0, count) }
  }

  #fold({ projection, key, events }: Target, text: JsonText | undefined): JsonText | undefined {
    let state: unknown = text === undefined ? undefined : decodeValue(text)
    for (const event of events)
      try {
        state = stepOnce(projection, state, event, key)
      } catch (error) {
        throw failedInline(projection, event, error)
      }
    return state === undefined ? undefined : encodeState(projection, key, state, this)
  }

  async #load(targets: readonly Target[], options: CallOptions): Promise<CachedState[]> {
    const states = targets.map(({ name }) => this.#cache?.get(name))
    const missing = targets.filter((_, i) => states[i] === undefined)
    if (missing.length === 0) return states as CachedState[]
    const { documents } = await this.inner.get(
      missing.map(({ collection, key }) => ({ collection, id: key })),
      options,
    )
    const found = new Map<string, CachedState>()
    for (const [i, { name }] of missing.entries()) {
      const record = documents[i]
      const state =
        record?.kind === 'document'
          ? { text: record.data, revision: record.position }
          : { text: undefined, revision: 0 }
      found.set(name, state)
      this.#cache?.set(name, state)
    }
    return targets.map(({ name }, i) => states[i] ?? (found.get(name) as CachedState))
  }

  /** The caller's failed checks, as they are; undefined if only ours failed, which are read again. */
  #judge(failed: readonly FailedCheck[], targets: readonly Target[]): Outcome | undefined {
    const names = new Set(targets.map(({ name }) => name))
    const isOurs = (check: FailedCheck) =>
      check.kind === 'document' &&
      (this.#registers.isOne(check.collection, check.id) || names.has(`${check.collection}\0${check.id}`))
    for (const name of names) this.#cache?.delete(name)
    if (
      failed.some((check) => check.kind === 'document' && this.#registers.isOne(check.collection, check.id))
    )
      this.#registers.forget()
    const theirs = failed.filter((check) => !isOurs(check))
    return theirs.length === 0 ? undefined : { kind: 'failed', failed: theirs }
  }

  #refuseLate(since: number): void {
    if (this.clock.monotonic() - since < this.deadlineMs) return
    throw new UnderpinError(
      'timeout',
      'The deadline passed while other processes changed the same projected documents',
    )
  }
}

/** The event as it will be stored, as far as steps see it. */
function toEvent({ stream, type, data, meta }: Extract<Write, { kind: 'append' }>, at: number): Event {
  return { kind: 'event', stream, seq: 0, type, data, meta, at, position: 0, commit: 0, checksum: '' }
}

function failedInline({ name, version }: Projection, event: ProjectedEvent, cause: unknown): UnderpinError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new UnderpinError(
    'invalid',
    `Projection ${name} version ${version} failed at an event ${event.type} for stream ${event.stream}, which was not appended: ${why}`,
    { cause, details: { stream: event.stream, type: event.type } },
  )
}
