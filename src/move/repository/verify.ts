/** Compares the two sides key by key while both are written to. */
import { UnderpinError } from '../../error.ts'
import type { Keys } from './backfill.ts'
import type { Control, Found, State } from './control.ts'
import { type Claim, storable } from './gap.ts'
import { judge } from './shadow.ts'
import { otherOf, type Sides } from './sides.ts'

/** What a side has under a key, in a form that is the same on both; undefined if nothing. */
export type Load<R> = (repository: R, key: string) => Promise<unknown>

export interface Divergence {
  readonly key: string
  readonly leading: string
  readonly following: string
}

export interface RepositoryComparison {
  /** Keys of the leading side, and those that only the following one has. */
  readonly compared: number
  /** Keys that differed and did not when looked at again, that changed meanwhile, or that somebody is at. */
  readonly lag: number
  readonly divergences: readonly Divergence[]
}

export interface VerifyOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (compared: number) => void | Promise<void>
}

/** Keys compared at a time: one that differs is waited for without holding up the others. */
const parallel = 16
/** Divergences told of at most; all are counted as compared. */
const divergencesMax = 1_000

export async function verify<R>(
  control: Control,
  sides: Sides<R>,
  { keys, load, isSame }: { keys: Keys<R>; load: Load<R>; isSame: (a: unknown, b: unknown) => boolean },
  state: State,
  { signal, onProgress }: VerifyOptions,
): Promise<RepositoryComparison> {
  const [leading, following] = [sides[state.lead], sides[otherOf(state.lead)]]
  const divergences: Divergence[] = []
  let [compared, lag] = [0, 0]
  const compare = async (key: string) => {
    const look = { leading: () => load(leading, key), following: () => load(following, key) }
    const found = await judge(control, look, isSame)
    compared++
    if (found.judgement === 'equal') return
    // What was noted may have been brought over between the two looks.
    const last =
      found.judgement === 'lag' || (await isNoted(control, key)) ? found : await judge(control, look, isSame)
    if (last === found || last.judgement !== 'divergence') lag++
    else if (divergences.length < divergencesMax)
      divergences.push({ key, leading: show(last.leading), following: show(last.following) })
  }
  const pending = new Set<Promise<void>>()
  const failures: unknown[] = []
  for await (const key of both(keys, leading, following, (key) => load(leading, key))) {
    if (signal?.aborted) throw new UnderpinError('aborted', 'The comparison was aborted')
    if (failures.length > 0) break
    const one: Promise<void> = compare(key)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => pending.delete(one))
    pending.add(one)
    if (pending.size >= parallel) await Promise.race(pending)
    if (compared % 1_000 === 0) await onProgress?.(compared)
  }
  await Promise.all(pending)
  if (failures.length > 0) throw failures[0]
  return { compared, lag, divergences }
}

/** The keys of the leading side, then those of the following one that the leading one lacks. */
async function* both<R>(
  keys: Keys<R>,
  leading: R,
  following: R,
  load: (key: string) => Promise<unknown>,
): AsyncGenerator<string> {
  yield* keys(leading, undefined)
  for await (const key of keys(following, undefined)) if ((await load(key)) === undefined) yield key
}

async function isNoted(control: Control, key: string): Promise<boolean> {
  const claim: Found<Claim> | undefined = await control.find(control.id('claim', key))
  if (claim !== undefined) return true
  const gaps = await control.list<{ key: string }>(control.id('gap', ''))
  return gaps.some(({ value }) => value.key === key)
}

function show(value: unknown): string {
  return storable(JSON.stringify(value) ?? String(value))
}
