/** Memory that fails on purpose, within the laws: what an application must live with, as often as a test wants it. */
import type { Backend, CallOptions, Supports } from '../backend/backend.ts'
import { type MemoryBackend, memory } from '../backend/memory.ts'
import { type Clock, sleep, systemClock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import type { Check, FailedCheck } from '../model/check.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import { isExpired } from '../model/document.ts'
import { Forward } from '../wrapper/forward.ts'
import { Random } from './random.ts'

/** How often which fault is injected: parts of one, 0 if left out. Without any, it is a memory that answers later. */
export interface FaultyMemoryOptions {
  /** The same seed and the same calls give the same faults; 1 if left out. */
  readonly seed?: number
  /** Runs the delays. */
  readonly clock?: Clock
  /** Of commits with a check on the application's own streams or documents: fail by it, nothing is written. */
  readonly conflicts?: number
  /** Of calls: fail with `unavailable`, nothing is written. */
  readonly unavailable?: number
  /** Of groups of commits: fail with `unknown`; some commits of the group, all or none were written. */
  readonly unknown?: number
  /** Of calls: wait before they take effect, and again before they answer. */
  readonly delays?: number
  /** Milliseconds of a delay at most; 5 if left out. */
  readonly delayMs?: number
}

/** A fault for the next commit, whatever is left to chance: `unknown` with all of its group written, or none. */
export type Fault = 'conflict' | 'unavailable' | 'unknown, written' | 'unknown, not written'

/** How often faults were injected. */
export interface Injected {
  readonly conflicts: number
  readonly unavailable: number
  readonly unknown: number
  readonly delays: number
  readonly crashes: number
}

/**
 * A memory backend that conflicts, waits, fails and crashes by a seed: `openStore(faultyMemory({ seed, unknown: 0.1 }), …)`.
 * It keeps the laws: what was acknowledged stays, what failed with `unavailable` was not written, what is `unknown` was
 * written whole or not at all. It has no synchronous verbs, so that a store treats it as it does a server.
 */
export function faultyMemory(options: FaultyMemoryOptions = {}): FaultyMemory {
  return new FaultyMemory(options)
}

/** A group of commits that nobody was told of yet. */
interface Flight {
  readonly call: Parameters<Backend['commit']>
  isWritten: boolean
  isLost: boolean
}

export class FaultyMemory extends Forward {
  /** While true, nothing is injected: to prepare a test and to look at what came of it. */
  isQuiet = false
  readonly seed: number
  readonly #memory: MemoryBackend
  readonly #options: FaultyMemoryOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #scripted: Fault[] = []
  readonly #flights = new Set<Flight>()
  readonly #calls = new Set<Promise<unknown>>()
  readonly #injected = { conflicts: 0, unavailable: 0, unknown: 0, delays: 0, crashes: 0 }
  #isDown = false
  /** Aborts when it crashes or closes, which ends every delay. */
  #life = new AbortController()

  /** Use {@link faultyMemory}. */
  constructor(options: FaultyMemoryOptions) {
    const inner = memory()
    super(inner)
    this.#memory = inner
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.seed = options.seed ?? 1
    this.#random = new Random(this.seed)
  }

  override get name() {
    return `faulty memory (seed ${this.seed})`
  }

  override get supports(): Supports {
    return { ...this.inner.supports, sync: false }
  }

  override get sync() {
    return undefined
  }

  get injected(): Injected {
    return { ...this.#injected }
  }

  /** The next groups of commits meet these faults, one each, before chance decides again. */
  failNext(...faults: readonly Fault[]): void {
    this.#scripted.push(...faults)
  }

  /** Everything stops: commits in flight become `unknown`, written or not; calls fail with `unavailable` until {@link restart}. */
  crash(): void {
    this.#injected.crashes++
    this.#isDown = true
    for (const flight of this.#flights) {
      this.#injected.unknown++
      flight.isLost = true
      // Now, not when its caller hears of it: a write that was not made can never appear later.
      if (!flight.isWritten) this.#write(flight, this.#random.upTo(flight.call[2].length))
    }
    this.#life.abort()
  }

  restart(): void {
    this.#isDown = false
    this.#life = new AbortController()
  }

  override async open() {
    this.#life = new AbortController()
    await this.inner.open()
  }

  override async close() {
    this.#life.abort()
    await Promise.allSettled([...this.#calls])
    await this.inner.close()
  }

  override commit(...call: Parameters<Backend['commit']>) {
    return this.#track(this.#commit(call))
  }

  override domains(options?: CallOptions) {
    return this.#call(options, () => this.inner.domains(options))
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#call(call[1], () => this.inner.fence(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#call(call[3], () => this.inner.read(...call))
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#call(call[2], () => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#call(call[2], () => this.inner.scan(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#call(call[3], () => this.inner.changes(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#call(call[3], () => this.inner.apply(...call), false)
  }

  override transition(...call: Parameters<Backend['transition']>) {
    return this.#call(call[3], () => this.inner.transition(...call), false)
  }

  async #commit(call: Parameters<Backend['commit']>): Promise<readonly Outcome[]> {
    const [, , commits, options] = call
    this.#refuseDown()
    const fault = this.#fault(commits)
    if (fault === 'unavailable') throw this.#unavailable()
    const flight: Flight = { call, isWritten: false, isLost: false }
    this.#flights.add(flight)
    try {
      await this.#pause(options)
      if (flight.isLost) throw lost()
      if (fault?.startsWith('unknown') && !options?.signal?.aborted) {
        this.#injected.unknown++
        this.#write(flight, partOf(fault, commits.length, this.#random))
        throw lost()
      }
      const outcomes = fault === 'conflict' ? this.#conflict(call) : this.inner.commit(...call)
      flight.isWritten = true
      const found = await outcomes
      await this.#pause(options)
      if (flight.isLost) throw lost()
      return found
    } finally {
      this.#flights.delete(flight)
    }
  }

  /** A call that writes and is cut off after it took effect is `unknown`; a read may simply be made again. */
  #call<R>(options: CallOptions | undefined, run: () => Promise<R>, isRead = true): Promise<R> {
    return this.#track(this.#serve(options, run, isRead))
  }

  async #serve<R>(options: CallOptions | undefined, run: () => Promise<R>, isRead: boolean): Promise<R> {
    this.#refuseDown()
    if (this.#chance(this.#options.unavailable)) throw this.#unavailable()
    const { crashes } = this.#injected
    await this.#pause(options)
    if (crashes !== this.#injected.crashes) throw down()
    const result = await run()
    await this.#pause(options)
    if (crashes === this.#injected.crashes) return result
    throw isRead ? down() : lost()
  }

  /** What {@link close} waits for. */
  #track<R>(call: Promise<R>): Promise<R> {
    const settled: Promise<unknown> = call.then(
      () => this.#calls.delete(settled),
      () => this.#calls.delete(settled),
    )
    this.#calls.add(settled)
    return call
  }

  #fault(commits: readonly Commit[]): Fault | 'unknown, in part' | undefined {
    const { conflicts, unavailable, unknown } = this.#options
    const scripted = this.#scripted.shift()
    if (scripted !== undefined) return scripted
    if (this.#chance(unavailable)) return 'unavailable'
    if (this.#chance(unknown)) return 'unknown, in part'
    return commits.some(hasOwnCheck) && this.#chance(conflicts) ? 'conflict' : undefined
  }

  #chance(part = 0): boolean {
    return !this.isQuiet && part > 0 && this.#random.next() < part
  }

  async #pause(options: CallOptions | undefined): Promise<void> {
    // An answer is never given in the turn of the call, as a server's is not.
    await Promise.resolve()
    if (!this.#chance(this.#options.delays)) return
    this.#injected.delays++
    const ms = this.#random.next() * (this.#options.delayMs ?? 5)
    const life = this.#life.signal
    await sleep(this.#clock, ms, options?.signal ? AbortSignal.any([options.signal, life]) : life)
  }

  /** Writes the first commits of a group, of which nobody will be told. */
  #write({ call: [domain, epoch, commits] }: Flight, count: number): void {
    if (count === 0) return
    try {
      this.#memory.sync.commit(domain, epoch, commits.slice(0, count))
    } catch {
      // Fenced, or closed: then nothing was written, which is what the caller must reckon with anyway.
    }
  }

  /** One commit of the group fails by a check of its own; the others are committed. */
  async #conflict([domain, epoch, commits, options]: Parameters<Backend['commit']>) {
    const at = commits.findIndex(hasOwnCheck)
    const commit = commits[at]
    if (commit === undefined) return this.inner.commit(domain, epoch, commits, options)
    this.#injected.conflicts++
    const others = commits.filter((_, i) => i !== at)
    const failed = commit.checks.filter(isOwn).map((check) => this.#found(domain, check, commit.at))
    const outcomes = await this.inner.commit(domain, epoch, others, options)
    return [...outcomes.slice(0, at), { kind: 'failed', failed } as const, ...outcomes.slice(at)]
  }

  /** The check with what it finds, which is the truth: as if what overtook the commit had been undone since. */
  #found(domain: string, check: Check, at: number): FailedCheck {
    const { sync } = this.#memory
    if (check.kind === 'stream') {
      const range = { after: 0, before: Number.POSITIVE_INFINITY, backwards: true, limit: 1 }
      const { stream, expect } = check
      const found = sync.read(domain, stream, range).items[0]?.seq ?? 0
      return { kind: 'stream', stream, expected: expect, found }
    }
    const { collection, id, expect } = check
    const [record] = sync.get(domain, [{ collection, id }]).documents
    const isThere = record?.kind === 'document' && !isExpired(record.expiresAt, at)
    return { kind: 'document', collection, id, expected: expect, found: isThere ? record.position : 0 }
  }

  #refuseDown(): void {
    if (this.#isDown) throw down()
  }

  #unavailable(): UnderpinError {
    this.#injected.unavailable++
    return new UnderpinError('unavailable', `Injected: the store is out of reach (seed ${this.seed})`)
  }
}

function partOf(fault: string, count: number, random: Random): number {
  if (fault === 'unknown, in part') return random.upTo(count)
  return fault === 'unknown, written' ? count : 0
}

/** Underpin's own records are left alone: a lease or a commit id that failed would mean something else. */
function isOwn(check: Check): boolean {
  return !(check.kind === 'stream' ? check.stream : check.collection).startsWith('$')
}

function hasOwnCheck({ checks }: Commit): boolean {
  return checks.some(isOwn)
}

function lost(): UnderpinError {
  return new UnderpinError('unknown', 'Injected: the answer was lost; it may or may not have been written')
}

function down(): UnderpinError {
  return new UnderpinError('unavailable', 'Injected: the store crashed and was not restarted yet')
}
