/**
 * Backfill and mirror: one loop that reads the source's feed from the follower's head and applies it. It can be ended
 * and begun again anywhere, by any process; two at once do no harm, because a page that is not the next one is refused.
 */
import type { CallOptions } from '../backend/backend.ts'
import { sleep } from '../clock.ts'
import { isUnderpinError, type UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import type { Sides } from './sides.ts'

/** A change that the target does not take. The copy stands still before it, so that it never holds a part. */
export interface Gap {
  readonly position: Position
  /** What the target said. */
  readonly code: string
  readonly message: string
}

export interface Progress {
  /** Up to where the copy holds everything. */
  readonly position: Position
  /** Of the source, when it was last read. */
  readonly head: Position
  /** Records copied by this call. */
  readonly records: number
  readonly gap: Gap | undefined
}

/** Records in a page: a large one is copied in bulk. */
const pageItems = 5_000

/** Takes one page on from where the copy stands. `fenced` if the target follows nobody, or the source hands out no feed. */
export async function mirrorPage(
  sides: Sides,
  limit: number = pageItems,
  options?: CallOptions,
): Promise<Progress> {
  const { domain, source, target } = sides
  const { head: position, epoch } = await target.fence(domain, options)
  const page = await source.changes(domain, position, limit, options)
  const { head, items, next } = page
  if (next === position) return { position, head, records: 0, gap: undefined }
  try {
    await target.apply(domain, epoch, page, options)
    return { position: next, head, records: items.length, gap: undefined }
  } catch (error) {
    if (!isLasting(error)) throw error
    const found = await target.fence(domain, options)
    if (found.head !== position) return { position: found.head, head, records: 0, gap: undefined }
    // Commit by commit, so that everything before the gap is there and the gap is named.
    if (items.length > 1 && limit > 1) return mirrorPage(sides, 1, options)
    const gap = { position: items[0]?.position ?? next, code: error.code, message: error.message }
    return { position, head, records: 0, gap }
  }
}

/** Whether the target would refuse the same page at any time. */
function isLasting(error: unknown): error is UnderpinError {
  return (['invalid', 'too-large', 'unsupported'] as const).some((code) => isUnderpinError(error, code))
}

export interface MirrorOptions {
  readonly signal: AbortSignal
  /** Records in a page; 5,000 if left out. */
  readonly limit?: number
  /** Called after each page, and when there is nothing to copy; what it returns is waited for: here a mover is throttled. */
  readonly onProgress?: (progress: Progress) => void | Promise<void>
}

/** Milliseconds between two tries while something is in the way. */
const retryMs = 250

/** Mirrors until the signal aborts, or the target follows nobody any more (`fenced`). */
export async function mirror(sides: Sides, options: MirrorOptions): Promise<void> {
  const { signal, limit, onProgress } = options
  for await (const _hint of sides.source.watch(sides.domain, signal)) {
    for (let isBehind = true; isBehind && !signal.aborted; ) {
      const progress = await mirrorPage(sides, limit)
      await onProgress?.(progress)
      if (progress.gap !== undefined) await sleep(sides.clock, retryMs, signal)
      isBehind = progress.gap !== undefined || progress.position < progress.head
    }
  }
}
