/** Positions by time. */
import { UnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'
import type { Port } from '../port.ts'

/**
 * The position behind which the changes committed at or after a time begin. Found by halving: exact while the times of
 * commits ascend, as they do but for differences between the clocks of processes; around such a place, a change may be
 * on the wrong side.
 */
export async function positionAt(port: Port, time: number): Promise<Position> {
  if (!Number.isFinite(time))
    throw new UnderpinError('invalid', `A time must be a number of milliseconds since 1970, not ${time}`, {
      hint: 'For a Date, give { time: date.getTime() }.',
    })
  let [before, end] = [0, await port.head()]
  while (before < end) {
    const middle = Math.floor((before + end) / 2)
    const [first] = (await port.changes(middle, 1)).items
    if (first === undefined || first.at >= time) end = middle
    else before = Math.max(first.position, middle + 1)
  }
  return Math.min(before, end)
}
