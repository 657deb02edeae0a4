/**
 * Fills the copy: every key of the leading side, then every key of the following one (what only that has is removed), each
 * claimed before it is copied, so that no write of the same key is overtaken. Where it came to is noted with each batch, so
 * that any process goes on from there.
 */
import { UnderpinError } from '../../error.ts'
import type { Attendant } from './attendant.ts'
import type { Control, State } from './control.ts'
import { inParallel } from './drain.ts'
import { type Claim, messageOf, openGap } from './gap.ts'
import type { Permit } from './permit.ts'
import { otherOf, type Sides } from './sides.ts'
import type { Load } from './verify.ts'

/** The keys that a side holds, behind a key that was given before, in an order that the side keeps to. */
export type Keys<R> = (repository: R, after: string | undefined) => AsyncIterable<string>

export interface BackfillProgress {
  /** Keys looked at, on both sides. */
  readonly keys: number
  /** Keys that could not be copied: they are gaps now. */
  readonly failed: number
  /** The keys of the leading side are done; now come those that only the following one may have. */
  readonly isSecondPass: boolean
}

export interface BackfillOptions {
  readonly signal?: AbortSignal
  /** Keys claimed, and at most copied, at a time; 100 if left out. */
  readonly batch?: number
  /** Called behind each batch; what it returns is waited for: here a backfill is slowed down. */
  readonly onProgress?: (progress: BackfillProgress) => void | Promise<void>
}

interface Checkpoint extends BackfillProgress {
  /** Of which start: a copy that was begun anew is filled anew. */
  readonly begun: number
  readonly after: string | null
}

/** Keys copied at a time. */
const parallel = 8

export async function backfill<R>(
  control: Control,
  attendant: Attendant,
  sides: Sides<R>,
  { keys, load }: { readonly keys: Keys<R>; readonly load: Load<R> },
  { begun, lead, phase }: State,
  { signal, batch = 100, onProgress }: BackfillOptions,
): Promise<BackfillProgress> {
  const id = `backfill/${control.name}`
  const found = await control.find<Checkpoint>(id)
  const none: Checkpoint = { begun, keys: 0, failed: 0, isSecondPass: false, after: null }
  let at = found?.value.begun === begun ? found.value : none
  for (;;) {
    const side = at.isSecondPass ? otherOf(lead) : lead
    for await (const part of inBatches(keys(sides[side], at.after ?? undefined), batch)) {
      if (signal?.aborted)
        throw new UnderpinError('aborted', 'The backfill was aborted', { cause: signal.reason })
      const permit = await attendant.enter(signal && { signal })
      try {
        if (permit.state.phase !== phase)
          throw new UnderpinError(
            'gate',
            `Repository ${control.name} is in the phase ${permit.state.phase}`,
            {
              hint: 'Go on with the backfill when the old side leads again.',
            },
          )
        const wanted = at.isSecondPass ? await missingOf(sides[lead], load, part) : part
        const failed = await fillPart(control, sides, permit, [...new Set(wanted)])
        at = { ...at, keys: at.keys + part.length, failed: at.failed + failed, after: part.at(-1) ?? null }
        await control.commit([control.put(id, at)])
      } finally {
        permit.leave()
      }
      await onProgress?.(at)
    }
    if (at.isSecondPass) return { keys: at.keys, failed: at.failed, isSecondPass: true }
    at = { ...at, isSecondPass: true, after: null }
  }
}

/** The keys under which a side has nothing: all others were copied, by the first pass or behind their writes. */
async function missingOf<R>(leading: R, load: Load<R>, keys: readonly string[]): Promise<readonly string[]> {
  const missing: string[] = []
  await inParallel(keys, parallel, async (key) => {
    if ((await load(leading, key)) === undefined) missing.push(key)
  })
  return missing
}

/** How many of the keys failed. What somebody else has claimed is left to them: they copy it behind what they write. */
async function fillPart<R>(
  control: Control,
  sides: Sides<R>,
  permit: Permit,
  keys: readonly string[],
): Promise<number> {
  const claimed = await claimAll(control, permit, keys)
  const note = { permit: permit.id, epoch: permit.state.epoch }
  const failures = new Map<string, string>()
  await inParallel([...claimed.keys()], parallel, async (key) => {
    try {
      if (permit.isLive) await sides.copy(key, permit)
      else failures.set(key, 'the permit was lost')
    } catch (error) {
      failures.set(key, messageOf(error))
    }
  })
  const gaps = [...failures].map(([key, error]) => openGap(control, { ...note, key }, { tries: 1, error }))
  const ids = [...claimed.keys()].map((key) => control.id('claim', key))
  const held = [...claimed].map(([key, revision]) => control.expect(control.id('claim', key), revision))
  const { isDone } = await control.insist([...gaps, ...ids.map((id) => control.delete(id))], held)
  if (isDone && permit.isLive) return failures.size
  await control.insist([...claimed.keys()].map((key) => openGap(control, { ...note, key })))
  return failures.size
}

/** Claims all keys that nobody has claimed, in one commit: their revisions. */
async function claimAll(
  control: Control,
  permit: Permit,
  keys: readonly string[],
): Promise<Map<string, number>> {
  for (let left = keys; left.length > 0; ) {
    const claims = left.map((key) => {
      const nonce = control.clock.id()
      const claim: Claim = {
        ...{ key, permit: permit.id, epoch: permit.state.epoch },
        ...{ at: control.clock.now(), nonce },
      }
      return control.put(control.id('claim', key), claim)
    })
    const absent = left.map((key) => control.expect(control.id('claim', key), 'absent'))
    const done = await control.commit(claims, absent)
    if (done.isDone) return new Map(left.map((key, i) => [key, done.positions[i] ?? 0]))
    left = left.filter((key) => !done.failed.includes(control.id('claim', key)))
  }
  return new Map()
}

async function* inBatches(keys: AsyncIterable<string>, size: number): AsyncGenerator<readonly string[]> {
  let part: string[] = []
  for await (const key of keys) {
    part.push(key)
    if (part.length < size) continue
    yield part
    part = []
  }
  if (part.length > 0) yield part
}
