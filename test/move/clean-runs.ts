/** Comparisons of a copy that differs in nothing, while writers write, a mirror mirrors, and both stop at times. */
import { setTimeout as pause } from 'node:timers/promises'
import { append, put, remove } from '../../src/conformance/harness.ts'
import type { Write } from '../../src/model/change.ts'
import { truncationsCollection } from '../../src/model/truncation.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import { type Comparison, compareSides } from '../../src/move/verify.ts'
import { randomOf } from '../crash/random.ts'
import { attempt, type CopyKind, makeCopies } from './copies.ts'

export interface CleanRuns {
  readonly alarms: readonly string[]
  readonly commits: number
  readonly compared: number
  /** Comparisons that began while the copy lagged. */
  readonly lagged: number
  /** Comparisons that also compared the digest of the contents. */
  readonly summed: number
  /** Where the copy was at the last one. */
  readonly head: number
}

export async function cleanRuns(kind: CopyKind, runs: number, seed: number): Promise<CleanRuns> {
  const copies = await makeCopies(kind)
  const { sides } = copies
  const stop = new AbortController()
  let commits = 0
  let isPlain = false
  const writers = [0, 1, 2, 3].map(async (w) => {
    const random = randomOf(seed * 10 + w)
    const own = { seq: 0, truncated: 1 }
    while (!stop.signal.aborted) {
      // A unique key that somebody holds is refused: that is an outcome like any other.
      if (await attempt(sides.source, writesOf(w, random, own, isPlain))) commits++
      // Under writes all the time, but not more than a copy on any backend can follow.
      await pause(1)
    }
  })
  const mirroring = (async () => {
    const random = randomOf(seed + 7)
    while (!stop.signal.aborted) {
      const { gap } = await mirrorPage(sides, 1 + Math.floor(random() * 200))
      if (gap !== undefined) throw new Error(gap.message)
      // A mirror that stands still for a while lets the copy lag, which is no difference.
      await pause(random() < 0.1 ? 20 : 0)
    }
  })()
  const found: Comparison[] = []
  try {
    for (let i = 0; i < runs; i++) {
      // What answers within the call would else leave no turn to the writers.
      const onProgress = () => pause(1)
      // What gives way without a trace in the feed keeps the contents from being summed up: not every time.
      isPlain = i % 2 === 1
      found.push(await compareSides(sides, { pageItems: 64 << (i % 4), onProgress }))
    }
  } finally {
    stop.abort()
    await Promise.all([...writers, mirroring])
    await copies.close()
  }
  return {
    alarms: found.filter(({ isEqual }) => !isEqual).map((comparison) => JSON.stringify(comparison)),
    commits,
    compared: found.reduce((sum, { compared }) => sum + compared, 0),
    lagged: found.filter(({ lag }) => lag > 0).length,
    summed: found.filter(({ content }) => content !== undefined).length,
    head: found.at(-1)?.head ?? 0,
  }
}

/** Appends, puts of hot and of new documents, deletions; unless it is to be plain, unique keys that pass on, and truncations. */
function writesOf(
  w: number,
  random: () => number,
  own: { seq: number; truncated: number },
  isPlain: boolean,
): Write[] {
  const n = Math.floor(random() * 6)
  const kind = random()
  if (!isPlain && kind < 0.05 && own.seq > own.truncated + 2) {
    own.truncated = own.seq - 2
    return [put(truncationsCollection, `w${w}`, { before: own.truncated })]
  }
  if (!isPlain && kind < 0.15) return [remove('users', `w${w}-${n}`)]
  if (!isPlain && kind < 0.25)
    return [put('users', `w${w}-${n}`, { name: `w${w}-${Math.floor(random() * 4)}` })]
  if (kind < 0.3) return [remove('things', `t${n}`)]
  own.seq++
  return [append(`w${w}`, { n }), put('things', `t${n}`, { w, n, r: random() }), put('things', 'hot', { w })]
}
