/** The throttle at work: measures what each page costs and what others meet meanwhile, and asks how fast to go on. */
import type { Position } from '../model/position.ts'
import type { Step } from './copier.ts'
import { hearCommits, Recent, Samples } from './samples.ts'
import type { MoveSettings } from './settings.ts'
import type { Sides } from './sides.ts'
import { type Cause, type Load, type Measured, Throttle } from './throttle.ts'

/** Short rests are put together, in milliseconds: what others meet in a shorter one tells nothing. */
const leastRestMs = 50
/** Milliseconds between two looks at how long the source takes for a light read. */
const probeMs = 250
/** Samples that a change of pace needs; and of commits, for their 99th percentile and for a coarser one. */
const fresh = 5
const manyCommits = 500
const fewCommits = 50
/** A page has a cost beside its records: that of about so many. */
const pageRecords = 500
/** Milliseconds over which is looked who writes; and positions that the source grows by when somebody does. */
const writersMs = 2_000
const writtenPositions = 5

export class Speed {
  readonly #sides: Sides
  readonly #throttle = new Throttle()
  readonly #commits: Samples
  readonly #probes = new Recent(200)
  readonly #costs = new Recent(200)
  #stop: () => void = () => {}
  #pageItems = Number.POSITIVE_INFINITY
  #owedMs = 0
  #probedAt = Number.NEGATIVE_INFINITY
  #begunAt: number
  /** Counts at the last change of pace. */
  #changed = { commits: 0, probes: 0, costs: 0 }
  #writers:
    | { readonly since: number; readonly position: Position; readonly head: Position; readonly heard: number }
    | undefined
  #isUnseen = false
  causes: readonly Cause[] = []

  constructor(sides: Sides) {
    this.#sides = sides
    this.#commits = new Samples(sides.clock)
    this.#begunAt = sides.clock.monotonic()
  }

  /** Hears the application's commits, where it runs in this process. */
  listen(): void {
    this.#stop = hearCommits(this.#sides.domain, (ms) => this.#commits.add(ms))
  }

  stopListening(): void {
    this.#stop()
  }

  /** Whether there is time to read ahead: a mover that is held back rests in its rests. */
  get isFree(): boolean {
    return this.#owedMs === 0
  }

  /** Milliseconds to rest now; then nothing is owed. */
  rest(): number {
    if (this.#owedMs < leastRestMs) return 0
    const ms = this.#owedMs
    this.#owedMs = 0
    return ms
  }

  /** Copies a page of the size that the throttle allows, and measures it. */
  async page(sides: Sides, settings: MoveSettings, copy: (items: number) => Promise<Step>): Promise<Step> {
    const { clock } = sides
    await this.#probe(sides)
    const since = clock.monotonic()
    this.#commits.workBegins()
    let step: Step
    try {
      step = await copy(Math.min(this.#pageItems, settings.pageItems))
    } finally {
      this.#commits.workEnds()
    }
    const now = clock.monotonic()
    const records = step.kind === 'copied' ? step.amount.records : 0
    this.#lookForWriters(now, step)
    if (records > 0) this.#decide(now - since, records, now, settings)
    return step
  }

  #decide(workMs: number, records: number, now: number, settings: MoveSettings): void {
    if (records >= pageRecords / 2) this.#costs.add(workMs / (records + pageRecords))
    const load: Load = {
      ...{ workMs, records, sinceMs: now - this.#begunAt, isUnseen: this.#isUnseen },
      application: this.#application(),
      source: this.#against(this.#probes, this.#changed.probes),
      target: this.#against(this.#costs, this.#changed.costs),
    }
    this.#begunAt = now
    const { waitMs, pageItems, causes, isSlower } = this.#throttle.decide(load, settings)
    this.#owedMs += waitMs
    this.#pageItems = pageItems
    this.causes = causes
    if (!isSlower) return
    this.#commits.forgetBusy()
    this.#changed = {
      commits: this.#commits.busyCount,
      probes: this.#probes.count,
      costs: this.#costs.count,
    }
  }

  #application(): Measured | undefined {
    const found = this.#commits.contrast(0.99, manyCommits) ?? this.#commits.contrast(0.9, fewCommits)
    if (found === undefined) return undefined
    return { now: found.busyMs, before: found.calmMs, isFresh: true }
  }

  /** What is measured now, against its best of lately. */
  #against(recent: Recent, changedAt: number): Measured | undefined {
    const [before, now] = [recent.quantile(0.1, 20), recent.latest(fresh)]
    if (before === undefined || now === undefined) return undefined
    return { now, before, isFresh: recent.count - changedAt >= fresh }
  }

  /** A store in this process answers within the call, whatever goes on. */
  async #probe({ domain, source, clock }: Sides): Promise<void> {
    const since = clock.monotonic()
    if (source.supports.sync || since - this.#probedAt < probeMs) return
    this.#probedAt = since
    await source.fence(domain)
    this.#probes.add(clock.monotonic() - since)
  }

  /** A mover that goes not twice as fast as the source grows would never end: then others have to bear it. */
  #lookForWriters(now: number, { position, head }: Step): void {
    const heard = this.#commits.count
    if (this.#writers !== undefined && now - this.#writers.since < writersMs) return
    const before = this.#writers ?? { head, position, heard: -1 }
    const [written, copied] = [head - before.head, position - before.position]
    this.#isUnseen = written > writtenPositions && heard === before.heard && copied > 2 * written
    this.#writers = { since: now, position, head, heard }
  }
}
