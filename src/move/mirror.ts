/** One page of a copy, for whoever has to have it now: behind the seal of a cutover nobody waits for a mover. */
import type { CallOptions } from '../backend/backend.ts'
import type { Position } from '../model/position.ts'
import { Copier } from './copier.ts'
import type { Gap } from './gap.ts'
import type { Sides } from './sides.ts'

export type { Gap } from './gap.ts'
export type { Progress } from './progress.ts'

export interface MirroredPage {
  /** Up to where the copy holds everything. */
  readonly position: Position
  /** Of the source, when it was last read. */
  readonly head: Position
  /** Records copied by this call. */
  readonly records: number
  readonly gap: Gap | undefined
}

/** Records in a page: a large one is copied in bulk. */
const pageItems = 10_000

/** Takes one page on from where the copy stands. `fenced` if the target follows nobody, or the source hands out no feed. */
export async function mirrorPage(
  sides: Sides,
  limit: number = pageItems,
  options?: CallOptions,
): Promise<MirroredPage> {
  const copier = new Copier(sides, options)
  for (;;) {
    const step = await copier.step(limit)
    const { kind, position, head } = step
    if (kind === 'narrower') continue
    const records = kind === 'copied' ? step.amount.records : 0
    return { position, head, records, gap: kind === 'gap' ? step.gap : undefined }
  }
}
