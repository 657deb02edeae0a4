/** Lets signals and timers through in a long loop: an embedded store answers at once, so that awaiting it lets nothing through. */
import { setImmediate } from 'node:timers/promises'
import { systemClock } from '../index.ts'

const everyMs = 20
let gaveWayAt = systemClock.monotonic()

export async function giveWay(): Promise<void> {
  if (systemClock.monotonic() - gaveWayAt < everyMs) return
  await setImmediate()
  gaveWayAt = systemClock.monotonic()
}
