/**
 * `mirror: 'await'`: commits are acknowledged when the follower holds them too. The committing process pushes them
 * itself, one loop for all its callers: what it wrote it hands on, what others wrote before it reads from the feed. A
 * mover elsewhere may be faster, which does no harm.
 *
 * A commit that happened is never answered with an error: if the follower does not take it within a bounded time it is
 * acknowledged all the same, as it is durable at the source, and from then on nobody waits (`degraded`) until the
 * follower has caught up. That is what MySQL's semi-synchronous replication does at its timeout.
 */
import type { CallOptions } from '../backend/backend.ts'
import { sleep } from '../clock.ts'
import { isUnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import type { Outcome } from '../model/commit.ts'
import { changesOf, keepChanges } from '../model/committed.ts'
import type { FeedPart } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { isTruncation } from '../model/truncation.ts'
import { noteVerified } from '../model/verified.ts'
import { isAway } from './again.ts'
import { Durations, type Histogram } from './histogram.ts'
import { readEntries } from './ledger.ts'
import type { View } from './protocol.ts'
import { Round } from './round.ts'
import { lookFromLead, type Sides } from './sides.ts'

export interface AwaitReport {
  /** Nobody waits now, because the follower has not caught up. */
  readonly isDegraded: boolean
  /** Commits that were acknowledged when the follower held them. */
  readonly awaited: number
  /** Commits that were acknowledged without, because the follower was too slow or had to catch up first. */
  readonly unawaited: number
  /** How often the follower was too slow. */
  readonly timeouts: number
  /** What pushing to the follower failed with last; null if it did not, or not since it caught up. */
  readonly lastError: string | null
  /** How long acknowledgements waited for the follower. */
  readonly waits: Histogram
}

/** As noted under `await-<process>`. */
interface AwaitNote extends AwaitReport {
  readonly at: number
  readonly incarnations: readonly string[]
  readonly process: string
}

/** A process that acknowledges commits without waiting for the copy, though it was set to. */
export interface DegradedProcess {
  readonly process: string
  /** How many commits it acknowledged so. */
  readonly unawaited: number
  readonly lastError: string | null
}

/** Under which the source accepts commits, and the follower takes pages. */
interface Epochs {
  readonly source: number
  readonly target: number
}

interface Waiter {
  readonly position: Position
  readonly since: number
  /** What it committed; undefined if that was not kept, was refused, or cannot be applied without what the feed tells beside it. */
  changes: readonly Change[] | undefined
  readonly resolve: () => void
}

/** Milliseconds that an acknowledgement waits for the follower at most. */
const boundMs = 1_000
/** Records in a page that is pushed, and so the lag from which on a follower counts as caught up. */
const pageItems = 1_000
/** Milliseconds between two looks at a follower that has to catch up, and between two tries of a push that failed. */
const probeMs = 250
const retryMs = 2

export class Awaiting {
  #sides: Sides
  /** Up to where the follower is known to hold everything. */
  #held: Position = 0
  /** Undefined when they are to be looked up. */
  #epochs: Epochs | undefined
  #waiters: Waiter[] = []
  #isPushing = false
  #cancelBound: (() => void) | undefined
  readonly #probe: Round
  readonly #over = new AbortController()
  #isDegraded = true
  #awaited = 0
  #unawaited = 0
  #timeouts = 0
  #lastError: string | null = null
  readonly #waits = new Durations()
  readonly #keepNoMore = keepChanges()

  /** Nobody waits before the follower was seen to be near. */
  constructor(sides: Sides) {
    this.#sides = sides
    const tell = (error: unknown) => {
      if (error !== undefined) this.#lastError = messageOf(error)
    }
    this.#probe = new Round({
      ...{ clock: sides.clock, everyMs: probeMs },
      ...{ work: () => this.#recover(), tell },
    })
    void this.#probe.now()
  }

  get report(): AwaitReport {
    return {
      ...{ isDegraded: this.#isDegraded, awaited: this.#awaited, unawaited: this.#unawaited },
      ...{ timeouts: this.#timeouts, lastError: this.#lastError, waits: this.#waits.histogram },
    }
  }

  /** For {@link RouteHooks.onCommitted}. */
  readonly onCommitted = async (outcome: Outcome, signal: AbortSignal | undefined): Promise<void> => {
    if (outcome.kind !== 'committed' || this.#over.signal.aborted) return
    const position = outcome.positions.at(-1)
    if (position === undefined) return
    if (this.#isDegraded) {
      this.#unawaited++
      return
    }
    if (position > this.#held) await this.#wait(position, changesOf(outcome), signal)
    else this.#awaited++
  }

  /** All that wait are answered. */
  async end(): Promise<void> {
    this.#over.abort()
    this.#keepNoMore()
    this.#cancelBound?.()
    this.#release(this.#waiters.splice(0))
    await this.#probe.end()
  }

  #wait(
    position: Position,
    changes: readonly Change[] | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve) => {
      const since = this.#sides.clock.monotonic()
      // The commit happened: who does not want to wait any more is told so.
      const onAbort = () => {
        this.#waiters = this.#waiters.filter((waiter) => waiter !== entry)
        this.#release([entry])
        this.#watchBound()
      }
      const entry: Waiter = {
        ...{ position, since, changes: changes?.some(isTruncation) ? undefined : changes },
        resolve: () => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      this.#waiters.push(entry)
      if (signal?.aborted) return onAbort()
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#watchBound()
      if (!this.#isPushing) void this.#push()
    })
  }

  /** Pushes until nobody waits. Never rejects. */
  async #push(): Promise<void> {
    this.#isPushing = true
    const { signal } = this.#over
    // Those who were answered together with the first one go with it.
    await new Promise<void>((resolve) => process.nextTick(resolve))
    for (let failures = 0; this.#waiters.length > 0 && !signal.aborted; ) {
      try {
        if (this.#epochs === undefined) await this.#look()
        else await this.#pushPage(this.#epochs)
        failures = 0
      } catch (error) {
        this.#lastError = messageOf(error)
        // A mover was faster, or the sides changed places: what is known of the follower is out of date.
        this.#epochs = undefined
        if (!isUnderpinError(error, 'fenced') && !isAway(error)) this.#forgetHanded()
        if (failures++ > 0) await sleep(this.#sides.clock, retryMs * 2 ** Math.min(failures, 6), signal)
      }
    }
    this.#isPushing = false
  }

  async #pushPage(epochs: Epochs): Promise<void> {
    const { domain, source, target } = this.#sides
    const handed = this.#handOn(epochs.source)
    const page = handed ?? (await source.changes(domain, this.#held, pageItems))
    if (page.next > this.#held) {
      // A follower that lost what it had acknowledged stands before this page, and says so.
      await target.apply(domain, epochs.target, { ...page, after: this.#held })
      this.#held = page.next
    }
    this.#reached(this.#held)
    if (handed !== undefined || page.next < page.head) return
    // Whoever waits behind the end of the source's feed waits at the wrong source.
    if (this.#waiters.some(({ position }) => position > page.head)) this.#epochs = undefined
  }

  /** A page of what this process committed; undefined if something else comes first behind what the follower holds. */
  #handOn(epoch: number): FeedPart | undefined {
    const items: Change[] = []
    let next = this.#held
    for (const { changes } of [...this.#waiters].sort((a, b) => a.position - b.position)) {
      if (changes?.[0]?.position !== next + 1 || items.length >= pageItems) break
      items.push(...changes)
      next += changes.length
    }
    if (items.length === 0) return undefined
    return { items: noteVerified(items), next, head: next, epoch, role: 'authority' }
  }

  /** What a follower refuses as it was handed on it may take as the feed has it. */
  #forgetHanded(): void {
    for (const waiter of this.#waiters) waiter.changes = undefined
  }

  /** Finds out who follows whom, and up to where. */
  async #look(): Promise<void> {
    const { sides, view, stage } = await lookFromLead(this.#sides)
    if (stage === 'alone') return this.#degrade()
    if (stage !== 'mirroring') return sleep(this.#sides.clock, retryMs, this.#over.signal)
    this.#sides = sides
    this.#know(view)
  }

  /** A follower's head only grows while it takes pages under one epoch: a page behind it can never leave anything out. */
  #know({ source, target }: View): Epochs {
    const epochs = { source: source.epoch, target: target.epoch }
    this.#held = target.head
    this.#epochs = epochs
    this.#reached(target.head)
    return epochs
  }

  #reached(position: Position): void {
    const isHeld = (waiter: Waiter) => waiter.position <= position
    const done = this.#waiters.filter(isHeld)
    if (done.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => !isHeld(waiter))
    this.#awaited += done.length
    const now = this.#sides.clock.monotonic()
    for (const { since, resolve } of done) {
      this.#waits.add(now - since)
      resolve()
    }
    this.#watchBound()
  }

  /** Lets callers go without the follower. */
  #release(waiters: readonly Waiter[]): void {
    this.#unawaited += waiters.length
    for (const { resolve } of waiters) resolve()
  }

  #watchBound(): void {
    this.#cancelBound?.()
    this.#cancelBound = undefined
    const [first] = this.#waiters
    if (first === undefined) return
    const { clock } = this.#sides
    const leftMs = Math.max(0, first.since + boundMs - clock.monotonic())
    this.#cancelBound = clock.timer(leftMs, () => {
      this.#timeouts++
      this.#degrade()
    })
  }

  #degrade(): void {
    this.#isDegraded = true
    this.#release(this.#waiters.splice(0))
    this.#watchBound()
  }

  /** While nobody waits: looks whether the follower is near, and takes the rest there. Far behind it is a mover's work. */
  async #recover(): Promise<void> {
    if (!this.#isDegraded || this.#isPushing) return
    const { sides, view, stage } = await lookFromLead(this.#sides)
    if (stage !== 'mirroring' || view.source.head - view.target.head > pageItems) return
    this.#sides = sides
    await this.#pushPage(this.#know(view))
    if (this.#over.signal.aborted) return
    this.#isDegraded = false
    this.#lastError = null
  }
}

/** A note counts for so many milliseconds: a process that does not wait notes it more often. */
const noteCountsForMs = 30_000

/** The processes that said lately that they do not wait. */
export async function readDegraded(
  { domain, source, clock }: Pick<Sides, 'domain' | 'source' | 'clock'>,
  incarnations: readonly string[],
  options?: CallOptions,
): Promise<readonly DegradedProcess[]> {
  const notes = await readEntries<AwaitNote>({ domain, source }, 'await-', options)
  return notes
    .map(({ value }) => value)
    .filter(({ isDegraded, at }) => isDegraded && clock.now() - at < noteCountsForMs)
    .filter((note) => incarnations.every((each) => note.incarnations.includes(each)))
    .map(({ process, unawaited, lastError }) => ({ process, unawaited, lastError }))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
