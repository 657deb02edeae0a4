/** A clock that runs faster than time, for waits that are long by design: leases of those who died, schedules. */
import { type Clock, systemClock } from '../src/clock.ts'

const began = { now: systemClock.now(), monotonic: systemClock.monotonic() }

/** All clocks of one speed say the same. */
export function fastClock(times = 10): Clock {
  const elapsed = () => (systemClock.monotonic() - began.monotonic) * times
  return {
    ...systemClock,
    now: () => Math.floor(began.now + elapsed()),
    monotonic: elapsed,
    timer: (ms, run) => systemClock.timer(ms / times, run),
  }
}
