/**
 * An explicit-state model of a move: two stores, two writers with stale caches, two coordinators that act on stale views
 * whose halves were read one after the other, and a page of the feed on its way. It runs the code of `src/move/protocol`
 * and of the fence's compare-and-set, and visits every state that the budgets allow, each once. A crash needs no action
 * of its own: whoever crashes is whoever does nothing more.
 */
import { type Fence, sameFence, vacantFence } from '../../src/model/fence.ts'
import * as real from '../../src/move/protocol.ts'

export type Protocol = typeof real

/** What the model lets happen, at most so often; the rest happens as often as it can. */
export interface Budget {
  readonly writes: number
  readonly prepares: number
  readonly seals: number
  readonly cancels: number
}

export interface Rules {
  readonly protocol: Protocol
  /** Whether a store takes a write of this epoch. */
  accepts(fence: Fence, epoch: number): boolean
}

export const trueRules: Rules = {
  protocol: real,
  accepts: (fence, epoch) => fence.role === 'authority' && fence.epoch === epoch,
}

export interface Verdict {
  readonly states: number
  readonly violations: ReadonlyMap<string, State>
}

type Store = 0 | 1
const both: readonly Store[] = [0, 1]

/** A coordinator's memory: the fences that it saw, and which it saw last. */
interface Seen {
  readonly fences: readonly [Fence | null, Fence | null]
  readonly last: Store
}

interface PageOnItsWay {
  readonly to: Store
  readonly epoch: number
  readonly after: number
  readonly items: string
}

export interface State {
  /** The digest of a fence is its content here: the numbers of the writes, one digit each. */
  readonly stores: readonly [Fence, Fence]
  /** Writes acknowledged so far: 1 to n. */
  readonly written: number
  /** Store and epoch that each writer believes in. */
  readonly writers: readonly (readonly [Store, number])[]
  readonly actors: readonly Seen[]
  readonly page: PageOnItsWay | null
  readonly used: { readonly prepares: number; readonly seals: number; readonly cancels: number }
}

const blank: Seen = { fences: [null, null], last: 0 }
const empty = ''

function initial(): State {
  const vacant = { ...vacantFence, digest: empty }
  const first: Fence = { ...vacant, role: 'authority', epoch: 1, incarnation: 'a' }
  return {
    stores: [first, vacant],
    written: 0,
    writers: [
      [0, 1],
      [0, 1],
    ],
    actors: [blank, blank],
    page: null,
    used: { prepares: 0, seals: 0, cancels: 0 },
  }
}

/** Visits all states, or stops at the violation that is looked for; each is named once, with a state that shows it. */
export function explore(rules: Rules, budget: Budget, until?: string): Verdict {
  const violations = new Map<string, State>()
  const seen = new Set<string>()
  const recovery = new Recovery(rules)
  const queue: State[] = [initial()]
  seen.add(keyOf(queue[0] as State))
  for (let state = queue.pop(); state !== undefined; state = queue.pop()) {
    for (const violation of violationsOf(state, recovery))
      if (!violations.has(violation)) violations.set(violation, state)
    if (until !== undefined && violations.has(until)) break
    for (const next of successors(state, rules, budget)) {
      const key = keyOf(next)
      if (seen.has(key)) continue
      seen.add(key)
      queue.push(next)
    }
  }
  return { states: seen.size, violations }
}

/** Coordinators are alike, and so are writers: states that differ only in who is who are one. */
function keyOf({ stores, written, writers, actors, page, used }: State): string {
  const [a, b] = [seenKey(actors[0] as Seen), seenKey(actors[1] as Seen)]
  const [v, w] = writers.map(([store, epoch]) => epoch * 2 + store) as [number, number]
  const counts = ((used.prepares * 8 + used.seals) * 8 + used.cancels) * 8 + written
  const onItsWay = page === null ? '' : `${page.to}${page.epoch},${page.after},${page.items}`
  const fixed = String.fromCharCode(idOf(stores[0]), idOf(stores[1]), counts, Math.min(v, w), Math.max(v, w))
  return fixed + (a < b ? a + b : b + a) + onItsWay
}

function seenKey({ fences, last }: Seen): string {
  return String.fromCharCode(...fences.map((fence) => (fence === null ? 0 : idOf(fence))), last)
}

/** Fences that are alike are numbered alike, from 1 on. */
const ids = new Map<string, number>()
const idsByFence = new WeakMap<Fence, number>()

function idOf(fence: Fence): number {
  const known = idsByFence.get(fence)
  if (known !== undefined) return known
  const { role, epoch, incarnation, successor, digest } = fence
  const key = `${role}${epoch}${incarnation}>${successor ?? ''}:${digest}`
  const id = ids.get(key) ?? ids.size + 1
  ids.set(key, id)
  idsByFence.set(fence, id)
  return id
}

function* violationsOf({ stores, written }: State, recovery: Recovery): Generator<string> {
  const authorities = stores.filter(({ role }) => role === 'authority')
  if (authorities.length > 1) yield 'two authorities'
  const history = historyOf(written)
  for (const { digest } of authorities)
    if (digest !== history)
      yield digest.length < history.length
        ? 'an acknowledged write is lost'
        : 'a write is there that is not one'
  for (const { role, digest } of stores)
    if ((role === 'follower' || role === 'prepared') && !history.startsWith(digest))
      yield 'a follower is no prefix'
  if (authorities.length === 0 && !recovery.isPossible(stores)) yield 'no authority can be reached'
}

function historyOf(written: number): string {
  return Array.from({ length: written }, (_, i) => String(i + 1)).join('')
}

function* successors(state: State, rules: Rules, budget: Budget): Generator<State> {
  yield* writes(state, rules, budget)
  yield* looks(state)
  yield* acts(state, rules, budget)
  yield* pages(state)
}

/** A writer tries where it believes authority to be, or looks where it is now. */
function* writes(state: State, rules: Rules, budget: Budget): Generator<State> {
  for (const [i, [at, epoch]] of state.writers.entries()) {
    const fence = state.stores[at]
    if (state.written < budget.writes && rules.accepts(fence, epoch)) {
      const written = state.written + 1
      const digest = fence.digest + written
      yield {
        ...state,
        written,
        stores: withStore(state.stores, at, { ...fence, head: digest.length, digest }),
      }
    }
    const now = both.find((store) => state.stores[store].role === 'authority')
    if (now === undefined) continue
    const writers = state.writers.with(i, [now, state.stores[now].epoch])
    yield { ...state, writers }
  }
}

/** A coordinator reads one of the fences. */
function* looks(state: State): Generator<State> {
  for (const [i, { fences }] of state.actors.entries())
    for (const store of both) {
      const found = remembered(state.stores[store])
      const seen: Seen = { fences: store === 0 ? [found, fences[1]] : [fences[0], found], last: store }
      yield { ...state, actors: state.actors.with(i, seen) }
    }
}

const headless = new WeakMap<Fence, Fence>()

/** Nothing in the protocol looks at the head of an authority: it moves on anyway. */
function remembered(fence: Fence): Fence {
  if (fence.role !== 'authority') return fence
  const known = headless.get(fence) ?? { ...fence, head: 0, digest: empty }
  headless.set(fence, known)
  return known
}

/** A coordinator that saw both takes a step; it may take another one without looking again. */
function* acts(state: State, rules: Rules, budget: Budget): Generator<State> {
  for (const { fences, last } of state.actors) {
    if (fences[0] === null || fences[1] === null) continue
    for (const at of both) {
      const view = viewOf(fences as readonly [Fence, Fence], at, last)
      for (const { step, kind } of stepsOf(rules.protocol, view, nextIncarnation(state))) {
        if (kind !== undefined && state.used[kind] >= budget[kind]) continue
        const stores = taken(state.stores, at, step)
        if (stores === undefined) continue
        const used = kind === undefined ? state.used : { ...state.used, [kind]: state.used[kind] + 1 }
        yield { ...state, stores, used }
      }
    }
  }
}

function viewOf(fences: readonly [Fence, Fence], source: Store, last: Store): real.View {
  return {
    source: fences[source],
    target: fences[source === 0 ? 1 : 0],
    last: last === source ? 'source' : 'target',
  }
}

function nextIncarnation({ used }: State): string {
  return 'bcdefgh'.charAt(used.prepares)
}

interface Possible {
  readonly step: real.Step
  readonly kind: 'prepares' | 'seals' | 'cancels' | undefined
}

function* stepsOf(protocol: Protocol, view: real.View, incarnation: string): Generator<Possible> {
  const decisions = [
    [protocol.prepare(view, incarnation), 'prepares'],
    [protocol.name(view)],
    [protocol.follow(view)],
    [protocol.seal(view), 'seals'],
    [protocol.abort(view)],
    [protocol.decide(view)],
    [protocol.open(view)],
    [protocol.turn(view)],
    [protocol.cancel(view), 'cancels'],
    [protocol.poison(view)],
    [protocol.reclaim(view)],
  ] as const
  for (const [decision, kind] of decisions) if (real.isStep(decision)) yield { step: decision, kind }
}

/** What a backend does with a step: compare, then set; head and digest are the copy's own, or none for a new copy. */
function taken(
  stores: State['stores'],
  source: Store,
  { at, from, to }: real.Step,
): State['stores'] | undefined {
  const store: Store = at === 'source' ? source : source === 0 ? 1 : 0
  const found = stores[store]
  if (!sameFence(found, from)) return undefined
  const { head, digest } = to.role === 'prepared' ? { head: 0, digest: empty } : found
  return withStore(stores, store, { ...to, head, digest })
}

/** A page is read for a copy as it was seen, and is applied at some time, or never. */
function* pages(state: State): Generator<State> {
  const { page } = state
  if (page !== null) {
    yield { ...state, page: null }
    const stores = applied(state.stores, page)
    if (stores !== undefined) yield { ...state, stores, page: null }
    return
  }
  for (const to of both) {
    const [copy, from] = [state.stores[to], state.stores[to === 0 ? 1 : 0]]
    if (copy.role !== 'follower' || !['authority', 'sealed', 'handed-off'].includes(from.role)) continue
    const items = from.digest.slice(copy.head)
    if (items.length === 0) continue
    yield { ...state, page: { to, epoch: copy.epoch, after: copy.head, items } }
    if (items.length > 1)
      yield { ...state, page: { to, epoch: copy.epoch, after: copy.head, items: items.slice(0, 1) } }
  }
}

/** As `planApply`: of the epoch named, and every position behind the copy's head. */
function applied(
  stores: State['stores'],
  { to, epoch, after, items }: PageOnItsWay,
): State['stores'] | undefined {
  const copy = stores[to]
  if ((copy.role !== 'follower' && copy.role !== 'prepared') || copy.epoch !== epoch || after < copy.head)
    return undefined
  const digest = copy.digest + items
  return withStore(stores, to, { ...copy, head: digest.length, digest })
}

function withStore(stores: State['stores'], at: Store, fence: Fence): State['stores'] {
  return at === 0 ? [fence, stores[1]] : [stores[0], fence]
}

/** Whether somebody who looks afresh can bring a domain without authority back to one, by the protocol's steps. */
class Recovery {
  readonly #rules: Rules
  readonly #known = new Map<string, boolean>()

  constructor(rules: Rules) {
    this.#rules = rules
  }

  isPossible(stores: State['stores']): boolean {
    const key = stores.map(idOf).join('/')
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const isPossible = this.#search(stores)
    this.#known.set(key, isPossible)
    return isPossible
  }

  #search(from: State['stores']): boolean {
    const seen = new Set<string>()
    const queue = [from]
    for (let stores = queue.pop(); stores !== undefined; stores = queue.pop()) {
      const key = stores.map(idOf).join('/')
      if (seen.has(key)) continue
      seen.add(key)
      if (stores.some(({ role }) => role === 'authority')) return true
      for (const at of both)
        for (const last of both)
          for (const { step, kind } of stepsOf(this.#rules.protocol, viewOf(stores, at, last), '')) {
            const next = kind === undefined ? taken(stores, at, step) : undefined
            if (next !== undefined) queue.push(next)
          }
    }
    return false
  }
}
