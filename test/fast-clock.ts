/** A clock that runs faster than time, for waits that are long by design: leases of those who died. */
import { type Clock, systemClock } from '../src/clock.ts'

export function fastClock(times = 10): Clock {
  return {
    ...systemClock,
    monotonic: () => systemClock.monotonic() * times,
    timer: (ms, run) => systemClock.timer(ms / times, run),
  }
}
