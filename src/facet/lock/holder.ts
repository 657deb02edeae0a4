/** Who holds a lease, as people and other processes are told. */
import { hostname } from 'node:os'
import type { Clock } from '../../clock.ts'

export function holderName(clock: Clock): string {
  return `process ${process.pid} on ${hostname()} (${clock.id().slice(0, 8)})`
}
