/**
 * Shadow reads: a part of the reads that the authority answered is made on the follower as well, off the path of the
 * answer, and compared. Everything is bounded: what does not fit is dropped and counted, and callers never notice.
 */
import type { CallOptions } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { isUnderpinError } from '../error.ts'
import { addHistograms, Durations, type Histogram } from './histogram.ts'
import type { Answer, Read } from './hooks.ts'
import { judge, type Verdict } from './judge.ts'
import { readEntries } from './ledger.ts'
import type { Sides } from './sides.ts'

/** Reads that wait to be compared, comparisons at a time, and reads that wait for a follower that lags. */
const bounds = { queue: 256, atOnce: 2, lagging: 256 } as const
/** Milliseconds until a read that the follower lagged behind is looked at again, each time twice as long, so many times. */
const again = { afterMs: 50, times: 8 } as const
const keptExamples = 10

export interface ShadowCounts {
  /** The same, or superseded on the follower by what the authority has by now. */
  readonly equal: number
  /** The follower had not come so far when it was last looked at. */
  readonly lag: number
  /** The same revision with another content; or the follower should have it, and has not. */
  readonly divergence: number
  /** Differ only in documents that are expired, and removed on one side. */
  readonly expired: number
  /** Were not compared, because too many waited already. */
  readonly dropped: number
  /** Were not compared, because the follower could not be read. */
  readonly failed: number
}

export interface ShadowExample {
  readonly at: number
  /** The read, as `get`, `scan` or `read` with what was asked for. */
  readonly read: string
  readonly what: string
}

/** What shadow reads found. Of one process in its note, of all in {@link readShadow}. */
export interface ShadowReport {
  readonly counts: ShadowCounts
  /** How long the compared reads took on both sides. */
  readonly latency: { readonly source: Histogram; readonly target: Histogram }
  /** Some of the divergences. */
  readonly examples: readonly ShadowExample[]
}

/** As noted under `shadow-<process>`. */
export interface ShadowNote extends ShadowReport {
  /** The two copies, so that a note of another move is not taken for this one's. */
  readonly incarnations: readonly string[]
  readonly process: string
}

interface Entry {
  readonly read: Read
  answer: Answer
  looks: number
}

export interface ShadowOptions {
  readonly sides: Sides
  /** Of the authority: what was answered under another one is not compared. */
  readonly epoch: number
  /** The part of the reads, in (0, 1]. */
  readonly sample: number
}

export class Shadow {
  readonly #clock: Clock
  #options: ShadowOptions
  #queue: Entry[] = []
  #running = 0
  readonly #timers = new Set<() => void>()
  readonly #over = new AbortController()
  readonly #counts = { equal: 0, lag: 0, divergence: 0, expired: 0, dropped: 0, failed: 0 }
  readonly #source = new Durations()
  readonly #target = new Durations()
  readonly #examples: ShadowExample[] = []

  constructor(options: ShadowOptions) {
    this.#options = options
    this.#clock = options.sides.clock
  }

  /** Goes on with other settings, or the other way round behind a cutover. What waits was read under the ones before. */
  turn(options: ShadowOptions): void {
    if (options.epoch !== this.#options.epoch) this.#forget()
    this.#options = options
  }

  get report(): ShadowReport {
    const latency = { source: this.#source.histogram, target: this.#target.histogram }
    return { counts: { ...this.#counts }, latency, examples: [...this.#examples] }
  }

  /** Whether a read was counted. */
  get hasFound(): boolean {
    return Object.values(this.#counts).some((count) => count > 0)
  }

  /** For {@link RouteHooks.onRead}. */
  readonly onRead = (read: Read, answer: Promise<Answer>): void => {
    if (this.#clock.random() >= this.#options.sample) return
    const since = this.#clock.monotonic()
    // Whoever made the read hears of its failure; there is nothing to compare then.
    const nothing = () => undefined
    void answer.then((found) => this.#take(read, found, this.#clock.monotonic() - since), nothing)
  }

  end(): void {
    this.#over.abort()
    this.#forget()
  }

  #forget(): void {
    this.#queue = []
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
  }

  #take(read: Read, answer: Answer, ms: number): void {
    if (this.#over.signal.aborted || answer.epoch !== this.#options.epoch) return
    if (this.#queue.length >= bounds.queue) this.#count('dropped')
    else {
      this.#source.add(ms)
      this.#enqueue({ read, answer, looks: 0 })
    }
  }

  #enqueue(entry: Entry): void {
    this.#queue.push(entry)
    if (this.#running < bounds.atOnce) void this.#work()
  }

  async #work(): Promise<void> {
    this.#running++
    for (let entry = this.#queue.shift(); entry !== undefined; entry = this.#queue.shift())
      await this.#compare(entry, this.#options)
    this.#running--
  }

  /** Never rejects. */
  async #compare(entry: Entry, options: ShadowOptions): Promise<void> {
    let verdict: Verdict | undefined
    try {
      verdict = await this.#judge(entry, options.sides)
    } catch (error) {
      if (isUnderpinError(error, 'damaged')) verdict = { kind: 'divergence', what: error.message }
    }
    // The sides changed places meanwhile: what was found says nothing of them now.
    if (this.#over.signal.aborted || options.epoch !== this.#options.epoch) return
    if (entry.looks > 0) this.#counts.lag--
    if (verdict === undefined) this.#count('failed')
    else this.#count(verdict.kind === 'ahead' ? 'equal' : verdict.kind)
    if (verdict?.kind === 'divergence') this.#keep(entry.read, verdict.what)
    if (verdict?.kind === 'lag') this.#lookAgain(entry)
  }

  async #judge(entry: Entry, sides: Sides): Promise<Verdict> {
    const since = this.#clock.monotonic()
    const target = await this.#readTarget(entry, sides)
    if (target === 'behind') return { kind: 'lag', until: entry.answer.head }
    if (entry.looks === 0) this.#target.add(this.#clock.monotonic() - since)
    const verdict = judge(entry.answer, target, this.#clock.now())
    return verdict.kind === 'ahead' || verdict.kind === 'divergence' ? this.#confirm(entry, sides) : verdict
  }

  /** Both sides once more, the follower first: only so the judge's word is final. */
  async #confirm(entry: Entry, sides: Sides): Promise<Verdict> {
    const target = await this.#readTarget(entry, sides)
    const answer = await make(sides.source, sides.domain, entry.read, this.#over.signal)
    if (answer.role !== 'authority') return { kind: 'ahead' }
    entry.answer = answer
    return target === 'behind'
      ? { kind: 'lag', until: answer.head }
      : judge(answer, target, this.#clock.now())
  }

  /** A collection or an index that the follower has not heard of yet is no difference: its declaration is on the way. */
  async #readTarget({ read, answer }: Entry, { domain, target }: Sides): Promise<Answer | 'behind'> {
    const { signal } = this.#over
    try {
      return await make(target, domain, read, signal)
    } catch (error) {
      if (!isUnderpinError(error, 'invalid')) throw error
      const { head } = await target.fence(domain, { signal })
      if (head < answer.head) return 'behind'
      throw error
    }
  }

  #lookAgain(entry: Entry): void {
    if (entry.looks >= again.times || this.#timers.size >= bounds.lagging) return
    const ms = again.afterMs * 2 ** entry.looks
    entry.looks++
    const cancel = this.#clock.timer(
      ms,
      () => {
        this.#timers.delete(cancel)
        this.#enqueue(entry)
      },
      true,
    )
    this.#timers.add(cancel)
  }

  #count(kind: keyof ShadowCounts): void {
    this.#counts[kind]++
  }

  #keep(read: Read, what: string): void {
    if (this.#examples.length >= keptExamples || this.#examples.some((example) => example.what === what))
      return
    this.#examples.push({ at: this.#clock.now(), read: describe(read), what })
  }
}

function make(on: Sides['source'], domain: string, read: Read, signal: AbortSignal): Promise<Answer> {
  if (read.kind === 'get') return on.get(domain, read.keys, { signal })
  if (read.kind === 'scan') return on.scan(domain, read.query, { signal })
  return on.read(domain, read.stream, read.range, { signal })
}

const longestExample = 200

function describe(read: Read): string {
  const { kind, ...rest } = read
  return `${kind} ${JSON.stringify(rest)}`.slice(0, longestExample)
}

/** What all processes found between these two copies. */
export async function readShadow(
  lead: Pick<Sides, 'domain' | 'source'>,
  incarnations: readonly string[],
  options?: CallOptions,
): Promise<ShadowReport & { readonly processes: number }> {
  const notes = (await readEntries<ShadowNote>(lead, 'shadow-', options))
    .map(({ value }) => value)
    .filter((note) => incarnations.every((each) => note.incarnations.includes(each)))
  const sum = (kind: keyof ShadowCounts) => notes.reduce((total, { counts }) => total + counts[kind], 0)
  return {
    processes: notes.length,
    counts: {
      ...{ equal: sum('equal'), lag: sum('lag'), divergence: sum('divergence') },
      ...{ expired: sum('expired'), dropped: sum('dropped'), failed: sum('failed') },
    },
    latency: {
      source: addHistograms(notes.map(({ latency }) => latency.source)),
      target: addHistograms(notes.map(({ latency }) => latency.target)),
    },
    examples: notes.flatMap(({ examples }) => examples).slice(0, keptExamples),
  }
}
