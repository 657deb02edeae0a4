/** Brings over what was noted: gaps that wait, and what was left by processes that died. */
import type { Copy } from './claims.ts'
import type { Control } from './control.ts'
import { type Claim, isLeft, messageOf, type Noted, notesOf, openGap } from './gap.ts'
import type { Permit } from './permit.ts'

/** Keys brought over at a time. */
const parallel = 8
/** Milliseconds after which a copy that failed is tried again: doubled each time, up to the second. */
const firstRetryMs = 1_000
const lastRetryMs = 60_000

export interface Drained {
  /** Keys that were brought over. */
  readonly copied: number
  /** Keys of which something is noted still. */
  readonly left: number
  /** Why one of them could not be copied. */
  readonly error: string | undefined
}

/** What is under way is left to who is at it (claims.ts); with `isForced`, what failed lately is tried all the same. */
export async function drain(
  control: Control,
  copy: Copy,
  permit: Permit,
  options: { readonly isForced?: boolean; readonly signal?: AbortSignal } = {},
): Promise<Drained> {
  const noted = await notesOf(control)
  const due = noted.filter((note) => isDue(note, permit, control.clock.now(), options.isForced ?? false))
  const errors: string[] = []
  let copied = 0
  await inParallel(due, parallel, async (note) => {
    if (options.signal?.aborted || !permit.isLive) return
    const error = await bringOver(control, copy, permit, note)
    if (error === undefined) copied++
    else errors.push(`key ${JSON.stringify(note.key)}: ${error}`)
  })
  return { copied, left: noted.length - copied, error: errors[0] }
}

function isDue({ claim, gaps }: Noted, { state }: Permit, now: number, isForced: boolean): boolean {
  if (claim !== undefined) return isLeft(claim.value, state)
  const ready = gaps.filter(({ value }) => value.state === 'open' || isLeft(value, state))
  return ready.some(({ value: { at, tries } }) => {
    const delayMs = tries === 0 ? 0 : Math.min(lastRetryMs, firstRetryMs * 2 ** (tries - 1))
    return isForced || now - at >= delayMs
  })
}

/** Why it could not be done; undefined if it was. */
async function bringOver(
  control: Control,
  copy: Copy,
  permit: Permit,
  { key, claim, gaps }: Noted,
): Promise<string | undefined> {
  const id = control.id('claim', key)
  const nonce = control.clock.id()
  const mine: Claim = { key, permit: permit.id, epoch: permit.state.epoch, at: control.clock.now(), nonce }
  const taken = await control.commit(
    [control.put(id, mine)],
    [control.expect(id, claim?.revision ?? 'absent')],
  )
  if (!taken.isDone) return 'somebody else is at it'
  const held = control.expect(id, taken.positions[0] ?? 'absent')
  const covered = gaps.filter(({ value }) => value.state === 'open' || isLeft(value, permit.state))
  const note = { key, permit: permit.id, epoch: permit.state.epoch }
  try {
    await copy(key, permit)
  } catch (error) {
    const [first] = covered
    const failed = { tries: (first?.value.tries ?? 0) + 1, error: messageOf(error) }
    await control.insist(
      [
        openGap(control, note, first === undefined ? failed : { ...failed, id: first.id }),
        control.delete(id),
      ],
      [held],
    )
    return failed.error
  }
  const checks = covered.map(({ id, revision }) => control.expect(id, revision))
  const deletes = [id, ...covered.map(({ id }) => id)].map((id) => control.delete(id))
  const { isDone } = await control.insist(deletes, [held, ...checks])
  if (isDone && permit.isLive) return undefined
  // Taken for dead, or a gap was resolved by hand meanwhile: the claim, if it is still there, makes room for a gap.
  await control.insist([openGap(control, note)])
  if (!isDone) await control.insist([control.delete(id)], [held])
  return 'it changed meanwhile'
}

/** Works on all items, so many at a time; ends when all have ended, with the first error. */
export async function inParallel<T>(
  items: readonly T[],
  count: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  const workers = Array.from({ length: Math.min(count, items.length) }, async () => {
    for (const item of rest) await work(item)
  })
  for (const ended of await Promise.allSettled(workers)) if (ended.status === 'rejected') throw ended.reason
}
