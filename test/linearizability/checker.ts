/**
 * Whether what concurrent callers were told of one register can be explained by its operations having taken effect one
 * after another, each at a moment between its call and its answer. The search is Wing and Gong's ("Testing and
 * verifying concurrent objects", 1993) with Lowe's memory of configurations that led nowhere ("Testing for
 * linearizability", 2017), as in Knossos and Porcupine; each key is checked by itself, because linearizability is local.
 *
 * Two shortcuts keep the search from branching, and lose nothing: an operation that is enabled and changes nothing goes
 * first, because it can be moved to the front of whatever follows; and acknowledged writes go in the order of their
 * revisions, because revisions only grow. What is left to try is when, and whether, a write of unknown outcome happened.
 */

/** What was asked. A write of null is a deletion. */
export type Call =
  | { readonly kind: 'read' }
  | { readonly kind: 'write'; readonly value: number | null; readonly expect?: Expectation }

/** What the register must be for a write: at a revision (0 is absent), or just there or not. */
export type Expectation = number | 'absent' | 'present'

/** What was answered. Writes that surely did nothing and did not look either belong in no history. */
export type Answer =
  | { readonly kind: 'found'; readonly revision: number; readonly value: number | null }
  | { readonly kind: 'written'; readonly revision: number }
  | { readonly kind: 'conflict'; readonly found: number }
  | { readonly kind: 'unknown' }

export interface Operation {
  readonly call: Call
  readonly answer: Answer
  /** When it was called and answered, on one clock. An unknown outcome may come to be at any time after the call. */
  readonly from: number
  readonly to: number
}

export interface State {
  /** 0 if absent; undefined if a write of unknown outcome made it and nobody has seen its revision yet. */
  readonly revision: number | undefined
  readonly value: number | null
  /** The revision is, or a later one must be, above this. */
  readonly floor: number
}

export interface Verdict {
  /** Undecided is what is left when the search was given up. */
  readonly kind: 'linearizable' | 'violation' | 'undecided'
  /** The longest explanation found, in order. */
  readonly explained: readonly Operation[]
  /** What could not come next. */
  readonly stuck: readonly Operation[]
}

export interface Register {
  /** Each write takes the very next revision: a stream, whose revision is its seq. */
  readonly isGapless: boolean
}

export const initial: State = { revision: 0, value: null, floor: 0 }

/** The state after an operation, the same one if it changed nothing; undefined if its answer cannot be had here. */
export function step({ isGapless }: Register, state: State, { call, answer }: Operation): State | undefined {
  if (answer.kind === 'found') {
    const seen = seenAt(state, answer.revision)
    return seen?.value === answer.value ? seen : undefined
  }
  if (call.kind === 'read') return undefined
  if (answer.kind === 'conflict') {
    return isAs(answer.found, call.expect) ? undefined : seenAt(state, answer.found)
  }
  const before = expected(state, call.expect)
  if (before === undefined) return undefined
  const lowest = before.floor + (before.revision === undefined ? 2 : 1)
  if (answer.kind === 'unknown') {
    if (isGapless) return { revision: lowest, value: call.value, floor: lowest }
    if (call.value === null) return { revision: 0, value: null, floor: lowest }
    return { revision: undefined, value: call.value, floor: lowest - 1 }
  }
  const { revision } = answer
  if (isGapless ? revision !== lowest : revision < lowest) return undefined
  return { revision: call.value === null ? 0 : revision, value: call.value, floor: revision }
}

/** The state, if its revision is this one, or may turn out to be. */
function seenAt(state: State, revision: number): State | undefined {
  if (state.revision === revision) return state
  if (state.revision !== undefined || revision <= state.floor) return undefined
  return { ...state, revision, floor: revision }
}

/** The state, if it is as a write expects, or may turn out to be. */
function expected(state: State, expect: Expectation | undefined): State | undefined {
  if (typeof expect === 'number') return seenAt(state, expect)
  return isAs(state.revision ?? Number.POSITIVE_INFINITY, expect) ? state : undefined
}

function isAs(revision: number, expect: Expectation | undefined): boolean {
  if (expect === undefined) return true
  if (expect === 'absent') return revision === 0
  if (expect === 'present') return revision > 0
  return revision === expect
}

/** Configurations after which the search is given up. */
const patience = 200_000

/** Judges the operations of one key. */
export function check(register: Register, operations: readonly Operation[]): Verdict {
  const search = new Search(register, operations)
  let tried = 0
  let kind: Verdict['kind'] = 'violation'
  for (let next = search.pop(); next !== undefined; next = search.pop()) {
    if (search.follow(next)) kind = 'linearizable'
    else if (++tried > patience) kind = 'undecided'
    else continue
    break
  }
  return { kind, explained: search.explained, stuck: search.stuck }
}

/** A point of the search: what took effect so far, in order, and what it left. */
interface Point {
  state: State
  /** The revision of the last acknowledged write. */
  acknowledged: number
  /** No completed operation before this one is left. */
  first: number
  readonly done: Set<number>
  readonly order: number[]
}

class Search {
  readonly #register: Register
  /** In order of their calls. */
  readonly #operations: readonly Operation[]
  readonly #unknown: readonly number[]
  /** The revision of the acknowledged write before each acknowledged write. */
  readonly #before: ReadonlyMap<Operation, number>
  readonly #points: Point[] = []
  readonly #seen = new Set<string>()
  explained: readonly Operation[] = []
  stuck: readonly Operation[] = []

  constructor(register: Register, operations: readonly Operation[]) {
    this.#register = register
    this.#operations = [...operations].sort((a, b) => a.from - b.from)
    this.#unknown = [...this.#operations.keys()].filter((i) => this.#isUnknown(i))
    const written = operations
      .flatMap((operation) =>
        operation.answer.kind === 'written' ? [{ operation, revision: operation.answer.revision }] : [],
      )
      .sort((a, b) => a.revision - b.revision)
    this.#before = new Map(written.map(({ operation }, i) => [operation, written[i - 1]?.revision ?? 0]))
    this.#points.push({ state: initial, acknowledged: 0, first: 0, done: new Set(), order: [] })
  }

  /** The point to go on from. */
  pop(): Point | undefined {
    return this.#points.pop()
  }

  /** Goes on from a point as far as it can, leaving behind the points where it could have gone another way. */
  follow(point: Point): boolean {
    for (;;) {
      const candidates = this.#candidates(point)
      if (candidates.every((i) => this.#isUnknown(i)) && point.first === this.#operations.length) {
        this.#keep(point, [])
        return true
      }
      if (this.#observe(point, candidates)) continue
      const ways = candidates.filter((i) => this.#after(point, i) !== undefined)
      const [way, ...others] = ways
      if (way === undefined || (others.length > 0 && this.#wasHere(point))) {
        this.#keep(point, candidates)
        return false
      }
      for (const other of others.reverse()) {
        const branch = { ...point, done: new Set(point.done), order: [...point.order] }
        this.#take(branch, other)
        this.#points.push(branch)
      }
      this.#take(point, way)
    }
  }

  /** What may take effect next: called before everything that is left was answered. Unknown outcomes come last. */
  #candidates(point: Point): number[] {
    while (this.#isPast(point, point.first)) point.first++
    const candidates: number[] = []
    let until = Number.POSITIVE_INFINITY
    for (let i = point.first; i < this.#operations.length && this.#at(i).from <= until; i++) {
      if (this.#isPast(point, i)) continue
      until = Math.min(until, this.#at(i).to)
      candidates.push(i)
    }
    const open = this.#unknown.filter((i) => !point.done.has(i) && this.#at(i).from <= until)
    return [...candidates.filter((i) => this.#at(i).from <= until), ...open]
  }

  /** Takes every candidate that changes nothing; false if there is none. */
  #observe(point: Point, candidates: readonly number[]): boolean {
    const same = candidates.filter((i) => !this.#isUnknown(i) && this.#after(point, i) === point.state)
    for (const i of same) this.#take(point, i)
    return same.length > 0
  }

  #after({ state, acknowledged }: Point, i: number): State | undefined {
    const operation = this.#at(i)
    if ((this.#before.get(operation) ?? acknowledged) !== acknowledged) return undefined
    return step(this.#register, state, operation)
  }

  #take(point: Point, i: number): void {
    const { answer } = this.#at(i)
    point.state = this.#after(point, i) as State
    if (answer.kind === 'written') point.acknowledged = answer.revision
    point.done.add(i)
    point.order.push(i)
  }

  /** Whether the search was at this point before, by another way. */
  #wasHere({ state, first, done }: Point): boolean {
    const ahead = [...done].filter((i) => i >= first || this.#isUnknown(i)).sort((a, b) => a - b)
    const name = `${first} ${state.revision} ${state.value} ${state.floor} ${ahead}`
    if (this.#seen.has(name)) return true
    this.#seen.add(name)
    return false
  }

  #keep({ order }: Point, stuck: readonly number[]): void {
    if (stuck.length > 0 && order.length < this.explained.length) return
    this.explained = order.map((i) => this.#at(i))
    this.stuck = stuck.map((i) => this.#at(i))
  }

  #isPast({ done }: Point, i: number): boolean {
    return i < this.#operations.length && (done.has(i) || this.#isUnknown(i))
  }

  #isUnknown(i: number): boolean {
    return this.#operations[i]?.answer.kind === 'unknown'
  }

  #at(i: number): Operation {
    return this.#operations[i] as Operation
  }
}
