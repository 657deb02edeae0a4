/**
 * Reads made on the other side too, behind the caller's back, and compared. What differs is looked at again on both
 * sides: a difference that goes, or a leading side that moves on, is lag; one that stays is a divergence.
 */
import { isDeepStrictEqual } from 'node:util'
import { sleep } from '../../clock.ts'
import { type Control, isPassing, type State } from './control.ts'
import { marksOf, messageOf, notesOf, storable } from './gap.ts'

/** Whether two answers of the same call mean the same. */
export type Compare = (
  leading: unknown,
  following: unknown,
  method: string,
  args: readonly unknown[],
) => boolean

export const sameValue: Compare = (a, b) => isDeepStrictEqual(a, b)

export interface ShadowExample {
  readonly method: string
  readonly args: string
  readonly leading: string
  readonly following: string
  readonly at: number
}

export interface ShadowCounts {
  readonly equal: number
  /** Differed, and did not any more when looked at again, or the leading side had changed. */
  readonly lag: number
  readonly divergence: number
  /** The following side failed. */
  readonly failed: number
  /** Not made, because too many were under way. */
  readonly dropped: number
  readonly examples: readonly ShadowExample[]
}

const noShadows: ShadowCounts = {
  ...{ equal: 0, lag: 0, divergence: 0, failed: 0, dropped: 0 },
  examples: [],
}

/** Compared at once, and examples kept of divergences. */
const atOnceMax = 16
const examplesMax = 20
/** Milliseconds before each further look. */
const againMs = [20, 100, 500] as const

/** Milliseconds between two looks at what is noted, and how often it is looked at. */
const waitMs = 250
const waitsMax = 20

export type Judgement = 'equal' | 'lag' | 'divergence'

/** Compares two answers that are asked for again while they differ. */
export async function judge<T>(
  control: Control,
  look: { readonly leading: () => Promise<T>; readonly following: () => Promise<T> },
  isSame: (a: T, b: T) => boolean,
  first?: { readonly leading: T },
): Promise<{ readonly judgement: Judgement; readonly leading: T; readonly following: T }> {
  let leading = first === undefined ? await look.leading() : first.leading
  let following = await look.following()
  if (isSame(leading, following)) return { judgement: 'equal', leading, following }
  let isStill = false
  for (const ms of againMs) {
    await sleep(control.clock, ms)
    const before = leading
    leading = await look.leading()
    following = await look.following()
    if (isSame(leading, following)) return { judgement: 'lag', leading, following }
    isStill = isDeepStrictEqual(before, leading)
  }
  return { judgement: isStill ? 'divergence' : 'lag', leading, following }
}

export class Shadow {
  readonly #control: Control
  readonly #compare: Compare
  readonly #sample: number
  readonly #id: string
  #counts: ShadowCounts = noShadows
  #epoch = 0
  #stored: ShadowCounts = noShadows
  #atOnce = 0
  #idle: () => void = () => {}

  constructor(control: Control, compare: Compare, sample: number) {
    this.#control = control
    this.#compare = compare
    this.#sample = sample
    this.#id = control.clock.id()
  }

  /** Whether this read is one to compare. */
  isDrawn({ phase, isBackfilled }: State): boolean {
    if (!isBackfilled || (phase !== 'dual' && phase !== 'reverse')) return false
    return this.#sample > 0 && this.#control.clock.random() < this.#sample
  }

  /** Makes the read again on both sides as needed, and counts how it came out. Never fails, and nobody waits for it. */
  async compare(
    { epoch }: State,
    read: { readonly method: string; readonly args: readonly unknown[]; readonly leading: unknown },
    look: { readonly leading: () => Promise<unknown>; readonly following: () => Promise<unknown> },
  ): Promise<void> {
    if (this.#epoch !== epoch) [this.#epoch, this.#counts] = [epoch, noShadows]
    if (this.#atOnce >= atOnceMax) return this.#count('dropped')
    this.#atOnce++
    try {
      const isSame = (a: unknown, b: unknown) => this.#compare(a, b, read.method, read.args)
      const first = await judge(this.#control, look, isSame, read)
      // What was noted until now may be why they differ: it is looked at again behind it.
      const isOther = first.judgement === 'divergence' && (await this.#isBroughtOver())
      const last = isOther ? await judge(this.#control, look, isSame) : undefined
      if (this.#epoch !== epoch) return
      if (last?.judgement === 'divergence') this.#keep(read.method, read.args, last.leading, last.following)
      else this.#count(first.judgement === 'equal' ? 'equal' : 'lag')
    } catch {
      // The caller has its answer from the leading side; that the other one failed is the finding.
      this.#count('failed')
    } finally {
      this.#atOnce--
      if (this.#atOnce === 0) this.#idle()
    }
  }

  /** Stores the counts of this process where all can read them, if they changed. */
  async store(): Promise<void> {
    if (this.#counts === this.#stored || this.#counts === noShadows) return
    const counts = this.#counts
    const id = this.#control.id('shadow', `${this.#epoch}/${this.#id}`)
    await this.#control.commit([this.#control.put(id, counts)])
    this.#stored = counts
  }

  /** Waits for comparisons under way, then stores the counts. */
  async close(): Promise<void> {
    if (this.#atOnce > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    try {
      await this.store()
    } catch (error) {
      // Counts that cannot be stored any more are lost with the process: they decide nothing by themselves.
      if (!isPassing(error) && (error as { code?: string }).code !== 'closed') throw error
    }
  }

  /** Waits until everything that is noted now was brought over; false if it takes too long. */
  async #isBroughtOver(): Promise<boolean> {
    let left = marksOf(await notesOf(this.#control))
    for (let i = 0; left.size > 0 && i < waitsMax; i++) {
      await sleep(this.#control.clock, waitMs)
      const now = marksOf(await notesOf(this.#control))
      left = new Set([...left].filter((mark) => now.has(mark)))
    }
    return left.size === 0
  }

  #count(what: keyof Omit<ShadowCounts, 'examples'>): void {
    this.#counts = { ...this.#counts, [what]: this.#counts[what] + 1 }
  }

  #keep(method: string, args: readonly unknown[], leading: unknown, following: unknown): void {
    this.#count('divergence')
    if (this.#counts.examples.length >= examplesMax) return
    const at = this.#control.clock.now()
    const example = { method, args: show(args), leading: show(leading), following: show(following), at }
    this.#counts = { ...this.#counts, examples: [...this.#counts.examples, example] }
  }
}

/** The counts of all processes under an epoch. */
export async function shadowsOf(control: Control, epoch: number): Promise<ShadowCounts> {
  const stored = await control.list<ShadowCounts>(control.id('shadow', `${epoch}/`))
  return stored.reduce((sum, { value }) => add(sum, value), noShadows)
}

function add(a: ShadowCounts, b: ShadowCounts): ShadowCounts {
  return {
    equal: a.equal + b.equal,
    lag: a.lag + b.lag,
    divergence: a.divergence + b.divergence,
    failed: a.failed + b.failed,
    dropped: a.dropped + b.dropped,
    examples: [...a.examples, ...b.examples].slice(0, examplesMax),
  }
}

/** A value as text, whatever it is; well-formed, so that it can be stored. */
function show(value: unknown): string {
  let text: string
  try {
    text = JSON.stringify(value) ?? String(value)
  } catch (error) {
    text = messageOf(error)
  }
  return storable(text)
}
