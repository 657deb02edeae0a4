/**
 * `route` stands before two implementations of one interface that keep their data where they like, and gives back the
 * same interface: calls go to the one that leads, what is written is brought over to the other, and which one leads can be
 * changed while the application runs, in all processes at once. The fence is in the application: see docs/repositories.md
 * for what that can and cannot promise.
 */
import { UnderpinError } from '../../error.ts'
import { type AnyDomain, portOf } from '../../facet/domain.ts'
import { checkId, checkName } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import { Attendant } from './attendant.ts'
import type { Keys } from './backfill.ts'
import { Claims } from './claims.ts'
import { Control, repositoryCollections, type State } from './control.ts'
import { openGap } from './gap.ts'
import { type Permit, Permits } from './permit.ts'
import { RepositoryMove } from './repository-move.ts'
import { type Compare, Shadow, sameValue } from './shadow.ts'
import { otherOf, type Reconcile, Sides, type StoreFences } from './sides.ts'
import { Steps } from './step.ts'
import { isRefusedByFence } from './store-fence.ts'
import { Upkeep } from './upkeep.ts'
import type { Load } from './verify.ts'

/** An interface that can be routed: methods that return promises, and nothing else. */
export type Repository<R> = { readonly [K in keyof R]: (...args: never[]) => Promise<unknown> }

type Name<R> = keyof R & string
type Arguments<F> = F extends (...args: infer A) => unknown ? A : never

/** How a write is known: by the keys of what it writes, from its arguments. Two writes that touch the same must share a key. */
export interface WriteRule<F> {
  readonly key: (...args: Arguments<F>) => string | readonly string[]
}

export interface RouteOptions<R, Reads extends Name<R>> {
  /** Names the repository in the control domain: lower-case letters, digits, "-" and "_". */
  readonly name: string
  /** A domain of an Underpin store that all processes share: `store.domain('control')`. */
  readonly control: AnyDomain
  readonly legacy: R
  readonly next: R
  /** The methods that change nothing. */
  readonly reads: readonly Reads[]
  /** All others, with what they write. */
  readonly writes: { readonly [K in Exclude<Name<R>, Reads>]: WriteRule<R[K]> }
  readonly reconcile: Reconcile<R>
  readonly keys: Keys<R>
  readonly load: Load<R>
  /** Whether two answers mean the same; deeply equal values, if left out. For a comparison of keys, the method is `load`. */
  readonly compare?: Compare
  /** The part of the reads, in [0, 1], that are made on the other side too, and compared; 0 if left out. */
  readonly shadow?: number
  readonly fences?: StoreFences
  /** Milliseconds without a sign of life after which a process counts as stopped; 5,000 if left out. */
  readonly ttlMs?: number
}

export interface Routed<R> {
  /** What the application calls. */
  readonly repository: R
  /** What the operator calls, from any process that routes the same repository. */
  readonly move: RepositoryMove<R>
  /** Lets calls under way end. To be called before the store of the control domain is closed; the repositories stay open. */
  close(): Promise<void>
}

const defaultTtlMs = 5_000
/** Shorter ones would be lost to a pause for garbage collection or a slow disk. */
const ttlMsMin = 100
/** Milliseconds at most until a call that was not to be counted is made again. */
const refusedMs = 20

/**
 * Routes a repository. Every process of the application does so, with the same name and control domain, before it calls
 * either implementation, and calls them only through what this returns.
 *
 * A call fails with what the repository failed with; with `timeout` if writes waited for a cutover for too long, and with
 * `unavailable` if the control domain cannot be reached (nothing was called then); and a write with `unknown` if the
 * process was stopped for so long that others may have gone on without it, where no fence in the store tells.
 */
export async function route<R extends Repository<R>, const Reads extends Name<R>>(
  options: RouteOptions<R, Reads>,
): Promise<Routed<R>> {
  check(options)
  const router = new Router<R>(options as unknown as RouteOptions<R, never>)
  await router.open()
  const methods = [...options.reads, ...Object.keys(options.writes)]
  const isRead = new Set<string>(options.reads)
  const entries = methods.map((method) => [
    method,
    (...args: unknown[]) => (isRead.has(method) ? router.read(method, args) : router.write(method, args)),
  ])
  return { repository: Object.fromEntries(entries) as R, move: router.move, close: () => router.close() }
}

/** Everything of a routed repository in this process. */
class Router<R> {
  readonly move: RepositoryMove<R>
  readonly #options: RouteOptions<R, never>
  readonly #control: Control
  readonly #sides: Sides<R>
  readonly #steps: Steps<R>
  readonly #attendant: Attendant
  readonly #shadow: Shadow
  readonly #upkeep: Upkeep<R>
  readonly #claims = new WeakMap<Permit, Claims>()

  constructor(options: RouteOptions<R, never>) {
    const { name, control, legacy, next, reconcile, keys, load } = options
    const { fences = {}, compare = sameValue, shadow = 0, ttlMs = defaultTtlMs } = options
    this.#options = options
    this.#control = new Control(name, portOf(control))
    this.#sides = new Sides(legacy, next, fences, reconcile)
    const permits = new Permits(this.#control, ttlMs)
    this.#steps = new Steps(this.#control, permits, this.#sides)
    this.#attendant = new Attendant(this.#control, permits)
    this.#shadow = new Shadow(this.#control, compare, shadow)
    this.#upkeep = new Upkeep(this.#steps, this.#attendant, this.#shadow)
    const isSame = (a: unknown, b: unknown) => compare(a, b, 'load', [])
    this.move = new RepositoryMove(this.#steps, this.#attendant, this.#upkeep, { keys, load, isSame })
  }

  async open(): Promise<void> {
    await this.#control.port.ensure(repositoryCollections)
    await this.#attendant.open()
    this.#upkeep.begin()
  }

  async close(): Promise<void> {
    await this.#attendant.close()
    await this.#upkeep.ended()
    await this.#shadow.close()
  }

  /** Served by who leads, and still led when the answer was there. */
  async read(method: string, args: readonly unknown[]): Promise<unknown> {
    const since = this.#control.clock.monotonic()
    for (;;) {
      const permit = await this.#attendant.enterToRead()
      const { state } = permit ?? this.#attendant.found
      const call = (side = state.lead) => this.#sides.call(side, state, (to) => invoke(to, method, args))
      try {
        const answer = await call()
        const isServed = permit?.isLive ?? (await this.#control.look()).state.epoch === state.epoch
        if (isServed) {
          if (this.#isDrawn(state)) {
            const look = { leading: call, following: () => call(otherOf(state.lead)) }
            void this.#shadow.compare(state, { method, args, leading: answer }, look)
          }
          return answer
        }
      } finally {
        permit?.leave()
      }
      this.#refuseLate(since, 'the answer could not be confirmed')
      await this.#attendant.changed(refusedMs)
    }
  }

  /** Of the state as it is now: a permit may be from before the copy was filled. */
  #isDrawn({ epoch }: State): boolean {
    const { state } = this.#attendant.found
    return state.epoch === epoch && this.#shadow.isDrawn(state)
  }

  /** Until a fence in the store lets it pass, in the deadline of a call. */
  async write(method: string, args: readonly unknown[]): Promise<unknown> {
    const call = { method, args, keys: this.#keysOf(method, args) }
    const since = this.#control.clock.monotonic()
    for (;;) {
      const permit = await this.#attendant.enter()
      try {
        const done = await this.#writeUnder(permit, call)
        if (done !== undefined) return done.answer
      } catch (error) {
        if (!isRefusedByFence(error)) throw error
        this.#refuseLate(since, 'a fence in the store refuses the write', error)
      } finally {
        permit.leave()
      }
      await this.#attendant.changed(refusedMs)
      // Whoever raised the epoch may have died before the stores knew it.
      const { phase, epoch } = this.#attendant.found.state
      if (phase !== 'sealed') await this.#steps.open(epoch)
    }
  }

  /** Whether it was done; if not, nothing was called. */
  async #writeUnder(permit: Permit, { method, args, keys }: Write): Promise<Done | undefined> {
    const { state } = permit
    const isCopied = state.phase === 'dual' || state.phase === 'reverse'
    const intents = isCopied ? await this.#claimsOf(permit).takeAll(keys) : []
    try {
      // Noting the intents may have taken the time that the call needs.
      if (!permit.hasTime) return undefined
      const answer = await this.#sides.call(state.lead, state, (to) => invoke(to, method, args))
      if (permit.isLive || this.#sides.fences[state.lead] !== undefined) return { answer }
    } finally {
      for (const intent of intents) intent.done()
      if (!permit.isLive) await this.#note(permit, keys)
    }
    throw lostPermit(this.#control.name)
  }

  /** What was written under a permit that was lost may have come too late for its intent: it is brought over once more. */
  async #note({ id, state }: Permit, keys: readonly string[]): Promise<void> {
    const note = { permit: id, epoch: state.epoch }
    await this.#control.insist(keys.map((key) => openGap(this.#control, { ...note, key })))
  }

  #claimsOf(permit: Permit): Claims {
    const known = this.#claims.get(permit)
    if (known !== undefined) return known
    const claims = new Claims(this.#control, permit, this.#sides.copy, () => this.#upkeep.soon())
    this.#claims.set(permit, claims)
    return claims
  }

  #keysOf(method: string, args: readonly unknown[]): readonly string[] {
    const rules = this.#options.writes as Readonly<Record<string, WriteRule<(...args: unknown[]) => unknown>>>
    const found = rules[method]?.key(...args) ?? []
    const keys = typeof found === 'string' ? [found] : found
    if (keys.length === 0) throw new TypeError(`The key of ${method} gave no key`)
    for (const key of keys) {
      if (typeof key !== 'string')
        throw new TypeError(`The key of ${method} gave ${typeof key}, not a string`)
      checkId(key, 'The key', this.#control.port.limits)
      checkId(
        this.#control.id('claim', key),
        'The key, with the name of the repository,',
        this.#control.port.limits,
      )
    }
    // In one order everywhere: nobody waits for a claim, but what is noted reads the same.
    return [...new Set(keys)].sort()
  }

  #refuseLate(since: number, what: string, cause?: unknown): void {
    const { clock, port, name } = this.#control
    if (clock.monotonic() - since <= port.deadlineMs) return
    throw new UnderpinError('timeout', `Repository ${name}: ${what}`, {
      hint: 'Nothing was written by this call. Make it again.',
      cause,
    })
  }
}

interface Write {
  readonly method: string
  readonly args: readonly unknown[]
  readonly keys: readonly string[]
}

interface Done {
  readonly answer: unknown
}

async function invoke(repository: unknown, method: string, args: readonly unknown[]): Promise<unknown> {
  const methods = repository as Record<string, (...args: readonly unknown[]) => Promise<unknown>>
  return methods[method]?.(...args)
}

function lostPermit(name: string): UnderpinError {
  return new UnderpinError(
    'unknown',
    `Repository ${name}: this process was stopped for so long that others may have gone on without it`,
    {
      hint: 'The write may have come before or after a cutover. Read before you make it again. A fence in the store decides such cases: see docs/repositories.md.',
    },
  )
}

function check<R>(options: RouteOptions<R, Name<R>>): void {
  const { name, legacy, next, reads, writes, ttlMs = defaultTtlMs, shadow = 0 } = options
  checkName(name, 'The repository', limits)
  if (!(ttlMs >= ttlMsMin)) throw new TypeError(`ttlMs must be at least ${ttlMsMin}, not ${ttlMs}`)
  if (!(shadow >= 0 && shadow <= 1)) throw new TypeError(`shadow must be from 0 to 1, not ${shadow}`)
  const methods: string[] = [...reads, ...Object.keys(writes)]
  for (const method of methods) {
    if (methods.indexOf(method) !== methods.lastIndexOf(method))
      throw new TypeError(`The method ${method} is named twice`)
    for (const side of [legacy, next] as Record<string, unknown>[])
      if (typeof side[method] !== 'function') throw new TypeError(`Both sides need a method ${method}`)
  }
}
