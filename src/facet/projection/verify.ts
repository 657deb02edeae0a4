/**
 * Verifies a projection: replays it twice, with other clocks and other randomness and once with each state taken through
 * its JSON text, and compares both replays with each other and with what is stored, byte for byte.
 */
import type { CallOptions } from '../../backend/backend.ts'
import type { Change } from '../../model/change.ts'
import type { Document } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import { quote } from '../../model/key.ts'
import type { Cursor, Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'
import type { Port } from '../port.ts'
import { collectionOf, type ProjectedEvent, type Projection } from './definition.ts'
import { watched } from './determinism.ts'
import { keysOf, project, stepOnce } from './fold.ts'
import { buildsOf, type Register, type Run, readRegister, runKey } from './register.ts'
import { isLive } from './switch-on.ts'
import { refuseTruncated } from './whole.ts'

/** A key whose stored state is not what a replay gives. */
export interface ProjectionDifference {
  readonly key: string
  /** JSON texts; undefined for no document. */
  readonly stored: string | undefined
  readonly replayed: string | undefined
  /** The first character in which they differ. */
  readonly at: number
}

/** A step that is not a pure function of state and event. */
export interface Impurity {
  readonly key: string
  /** What it did: `reads new Date()`, `changes its event`, … */
  readonly what: string
  readonly stream: string
  readonly seq: number
  readonly position: Position
}

export interface ProjectionVerification {
  readonly ok: boolean
  readonly version: number
  /** The position up to which was compared. */
  readonly position: Position
  readonly events: number
  readonly keys: number
  /** Differing keys in all; the first hundred are named. */
  readonly differing: number
  readonly differences: readonly ProjectionDifference[]
  /** At most a hundred, each kind once for each key. */
  readonly impurities: readonly Impurity[]
}

const pageSize = 1_000
const named = 100
const comparedAtOnce = 200

/** Needs memory for the states of all keys, twice. `invalid` if this version is not built. */
export async function verifyProjection(
  port: Port,
  projection: Projection,
  options: CallOptions = {},
): Promise<ProjectionVerification> {
  await refuseTruncated(port, projection.name, options)
  const register = await readRegister(port, projection.name, options)
  const id = verified(register, projection)
  await port.ensure({ [collectionOf(projection.name, id)]: projection.definition })
  const twins = new Twins(port, projection)
  const comparison = new Comparison(port, projection, id, register)
  await twins.replayTo((await comparison.moment([], options)).position, options)
  const doubtful = await comparison.scan(twins.texts, options)
  const differences: ProjectionDifference[] = []
  for (let from = 0; from < doubtful.length; from += comparedAtOnce) {
    const keys = doubtful.slice(from, from + comparedAtOnce)
    const { position, texts } = await comparison.moment(keys, options)
    await twins.replayTo(position, options)
    for (const [i, key] of keys.entries()) {
      const [stored, replayed] = [texts[i], twins.texts.get(key)]
      if (stored !== replayed)
        differences.push({ key, stored, replayed, at: firstDifference(stored, replayed) })
    }
  }
  const impurities = twins.impurities()
  return {
    ok: differences.length === 0 && impurities.length === 0,
    version: projection.version,
    position: twins.position,
    events: twins.events,
    keys: twins.texts.size,
    differing: differences.length,
    differences: differences.slice(0, named),
    impurities: impurities.slice(0, named),
  }
}

function verified(register: Register, { name, version }: Projection): string {
  const builds = buildsOf(register, version).filter(([, { stage }]) => stage !== 'draining')
  const found = builds.find(([id]) => id === register.active) ?? builds[0]
  if (found !== undefined) return found[0]
  throw new TypeError(
    `Version ${version} of projection ${name} was never built here: there is nothing to verify`,
  )
}

/** What is stored, compared at one moment. */
class Comparison {
  readonly #port: Port
  readonly #collection: string
  readonly #runKey: ReturnType<typeof runKey>
  readonly #isInline: boolean

  constructor(port: Port, { name }: Projection, id: string, register: Register) {
    this.#port = port
    this.#collection = collectionOf(name, id)
    this.#runKey = runKey(name, id)
    this.#isInline = isLive(register.builds[id] as never)
  }

  /** Stored texts of some keys, and the position up to which they are folded. */
  async moment(keys: readonly string[], options: CallOptions) {
    const asked = [this.#runKey, ...keys.map((id) => ({ collection: this.#collection, id }))]
    const { documents, head } = await this.#port.get(asked, options)
    const [run, ...records] = documents
    const texts = records.map((record) => (record?.kind === 'document' ? record.data : undefined))
    const built = run?.kind === 'document' ? (decodeValue(run.data) as Run).position : 0
    return { texts, position: this.#isInline ? head : built }
  }

  /** Keys that differ at first sight: under writes they may only be further, or not as far. */
  async scan(expected: ReadonlyMap<string, string>, options: CallOptions): Promise<string[]> {
    const differing: string[] = []
    const seen = new Set<string>()
    let after: Cursor | null = null
    do {
      const page: Page<Document, Cursor | null> = await this.#port.scan(
        { collection: this.#collection, by: 'id', prefix: '', backwards: false, limit: pageSize, after },
        options,
      )
      for (const { id, data } of page.items) {
        seen.add(id)
        if (expected.get(id) !== data) differing.push(id)
      }
      after = page.next
    } while (after !== null)
    for (const key of expected.keys()) if (!seen.has(key)) differing.push(key)
    return differing
  }
}

/** Two replays side by side. */
class Twins {
  /** Of the replay through JSON texts, which is how states are stored between commits. */
  readonly texts = new Map<string, string>()
  readonly #held = new Map<string, unknown>()
  readonly #port: Port
  readonly #projection: Projection
  readonly #found = new Map<string, Impurity>()
  readonly #lastEvent = new Map<string, Event>()
  #differing = new Set<string>()
  position = 0
  events = 0

  constructor(port: Port, projection: Projection) {
    this.#port = port
    this.#projection = projection
  }

  async replayTo(position: Position, options: CallOptions): Promise<void> {
    while (this.position < position) {
      const page = await this.#port.changes(this.position, pageSize, options)
      const events = page.items.filter(
        (change: Change): change is Event => change.kind === 'event' && change.position <= position,
      )
      this.#pass(events, 1, (event, seen, key) => this.#stepText(event, seen, key))
      this.#pass(events, 2, (event, seen, key) => this.#stepHeld(event, seen, key))
      this.events += events.length
      this.position = Math.min(page.next, position)
      this.#compare()
    }
  }

  impurities(): Impurity[] {
    return [...this.#found.values()]
  }

  #pass(
    events: readonly Event[],
    shift: number,
    step: (event: Event, seen: ProjectedEvent, key: string) => void,
  ): void {
    let at: { event: Event; key: string } | undefined
    const asked = (name: string) => at && this.#note(at.event, at.key, `reads ${name}`)
    const decoded = events.map((event) => ({ event, projected: project(this.#port.events, event) }))
    watched(shift, asked, () => {
      for (const { event, projected } of decoded)
        for (const seen of projected) {
          at = { event, key: '' }
          for (const key of keysOf(this.#projection, seen)) {
            at = { event, key }
            this.#lastEvent.set(key, event)
            step(event, seen, key)
          }
        }
    })
  }

  #stepText(event: Event, seen: ProjectedEvent, key: string): void {
    const text = this.texts.get(key)
    const before = JSON.stringify(seen)
    const state = this.#guarded(event, key, () =>
      stepOnce(this.#projection, text === undefined ? undefined : JSON.parse(text), seen, key),
    )
    if (JSON.stringify(seen) !== before) this.#note(event, key, 'changes its event')
    if (state === undefined) this.texts.delete(key)
    else {
      const next = this.#guarded(event, key, () => encodeValue(state))
      if (next !== undefined) this.texts.set(key, next)
    }
    this.#differing.add(key)
  }

  #stepHeld(event: Event, seen: ProjectedEvent, key: string): void {
    const state = this.#guarded(event, key, () => stepOnce(this.#projection, this.#held.get(key), seen, key))
    if (state === undefined) this.#held.delete(key)
    else this.#held.set(key, state)
  }

  #guarded<R>(event: Event, key: string, run: () => R): R | undefined {
    try {
      return run()
    } catch (error) {
      this.#note(event, key, `fails: ${error instanceof Error ? error.message : String(error)}`)
      return undefined
    }
  }

  /** Keys that changed in this page. */
  #compare(): void {
    for (const key of this.#differing) {
      const held = this.#held.get(key)
      const text = held === undefined ? undefined : JSON.stringify(held)
      if (text !== this.texts.get(key))
        this.#note(this.#lastEvent.get(key) as Event, key, 'gives another state when it is replayed')
    }
    this.#differing = new Set()
    this.#lastEvent.clear()
  }

  #note(event: Event, key: string, what: string): void {
    const name = `${what}\0${key}`
    if (this.#found.has(name) || this.#found.size >= named) return
    const { stream, seq, position } = event
    this.#found.set(name, { key, what, stream, seq, position })
  }
}

function firstDifference(a = '', b = ''): number {
  let i = 0
  while (i < a.length && a[i] === b[i]) i++
  return i
}

/** A verification in words, a line each. */
export function describeVerification({ differences, impurities }: ProjectionVerification): string[] {
  return [
    ...impurities.map(
      ({ key, what, stream, seq }) =>
        `The step of ${quote(key)} ${what}, at event ${seq} of stream ${quote(stream)}`,
    ),
    ...differences.map(
      ({ key, stored, replayed, at }) =>
        `Document ${quote(key)} differs at character ${at}: ${quote(stored?.slice(at) ?? 'absent')} is stored, ${quote(replayed?.slice(at) ?? 'absent')} is replayed`,
    ),
  ]
}
