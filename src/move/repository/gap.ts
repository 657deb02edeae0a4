/**
 * What is known to be, or may be, missing on the following side, written down before it can be so. A *claim* is one
 * writer's exclusive right to bring a key over, and the intent to do it; a *gap* is the intent of a writer who came while
 * the key was claimed, or what is left of a claim whose copy failed. Either is removed only behind a copy that was begun
 * after its writer had ended: then the copy saw what was written.
 */
import type { Write } from '../../model/change.ts'
import type { Control, Found, State } from './control.ts'

/** A key that one process brings over; its id is the key's, so that there is one. */
export interface Claim {
  readonly key: string
  readonly permit: string
  readonly epoch: number
  readonly at: number
  /** Tells one's own claim when nobody answered whether it was put. */
  readonly nonce: string
}

export interface GapNote {
  readonly key: string
  /** `writing` while the leading side is written to; `open` when the key waits for its copy. */
  readonly state: 'writing' | 'open'
  readonly permit: string
  readonly epoch: number
  readonly at: number
  readonly tries: number
  /** Why the last copy failed. */
  readonly error: string | null
}

/** A key whose copy is missing, or may be, as operators see it. */
export interface RepositoryGap {
  readonly id: string
  readonly key: string
  /**
   * - `writing`: a process is at it;
   * - `open`: it waits for its copy, which is tried again and again;
   * - `left`: a process died, or was stopped, while it was at it. It is brought over when the epoch is next raised: by
   *   `retry`, or by a cutover.
   */
  readonly state: 'writing' | 'open' | 'left'
  readonly since: number
  readonly tries: number
  readonly error: string | null
}

/** Everything that is noted of one key. */
export interface Noted {
  readonly key: string
  readonly claim: Found<Claim> | undefined
  readonly gaps: readonly Found<GapNote>[]
}

/** All keys of which something is noted. */
export async function notesOf(control: Control): Promise<Noted[]> {
  // Claims first: a claim that failed meanwhile is among the gaps, which are written in the commit that removes it.
  const claims = await control.list<Claim>(control.id('claim', ''))
  const gaps = await control.list<GapNote>(control.id('gap', ''))
  const keys = new Set([...claims, ...gaps].map(({ value }) => value.key))
  return [...keys].map((key) => ({
    key,
    claim: claims.find(({ value }) => value.key === key),
    gaps: gaps.filter(({ value }) => value.key === key),
  }))
}

/** What tells notes from those that come later: a claim comes again under the same id, a gap that fails keeps its own. */
export function marksOf(noted: readonly Noted[]): Set<string> {
  return new Set(
    noted.flatMap(({ claim, gaps }) => [
      ...(claim === undefined ? [] : [`${claim.id} ${claim.revision}`]),
      ...gaps.map(({ id }) => id),
    ]),
  )
}

/** Whether nobody works under the permit of a note any more. */
export function isLeft(note: Claim | GapNote, { epoch, isSettled }: State): boolean {
  return isSettled && note.epoch < epoch
}

export function newGapId(control: Control): string {
  return control.id('gap', control.clock.id())
}

/** Puts a gap that waits for its copy; what failed so far, if it did. */
export function openGap(
  control: Control,
  { key, permit, epoch }: Pick<GapNote, 'key' | 'permit' | 'epoch'>,
  {
    id = newGapId(control),
    tries = 0,
    error = null,
  }: { id?: string; tries?: number; error?: string | null } = {},
): Write {
  const gap: GapNote = { key, state: 'open', permit, epoch, at: control.clock.now(), tries, error }
  return control.put(id, gap)
}

/** Whatever an error is, in a sentence that can be stored. */
export function messageOf(error: unknown): string {
  return storable(error instanceof Error ? error.message : String(error))
}

/** Characters of a text that are noted. */
const textLength = 500

export function storable(text: string): string {
  return text.slice(0, textLength).toWellFormed().replaceAll('\0', '')
}
