/**
 * A process that is stopped with a commit in hand. Argument: the backends by name, as JSON; the domain is on `a`. On
 * `write` it makes a commit, says `in hand` when that has reached the backend's door, sends it on `go`, and tells.
 */
import { once } from 'node:events'
import { openBackend, openStore } from '../../../src/index.ts'
import { Gate } from './gate.ts'

/** What became of the commit: at the door that it stood before, and for its caller. */
export interface Stopped {
  readonly atTheDoor: readonly string[]
  readonly told: string
}

const { a, b } = JSON.parse(process.argv[2] ?? '') as { a: string; b: string }
process.on('disconnect', () => process.exit())
const gate = new Gate(await openBackend(a))
const store = await openStore({ a: gate, b }, { domains: { app: {} }, deadlineMs: 60_000 })
const { log } = store.domain('app')
await log.append('warm', { type: 'wrote', data: `${process.pid} before` })
process.send?.('ready')
await once(process, 'message')
const inHand = gate.shut()
const writing = log.append('stale', { type: 'wrote', data: String(process.pid) }).then(
  () => 'done',
  (error: unknown) => String(error),
)
await inHand
process.send?.('in hand')
await once(process, 'message')
gate.release()
const stopped: Stopped = { told: await writing, atTheDoor: gate.outcomes }
process.send?.(stopped)
await store.close()
process.disconnect?.()
