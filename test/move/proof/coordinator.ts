/** A process that drives one verb of a move and, at a moment, kills itself. Argument: a {@link CoordinatorJob}. */
import { writeSync } from 'node:fs'
import { openBackend, openStore } from '../../../src/index.ts'
import { Fate, type Moment } from './fate.ts'
import { drive, type Verb } from './way.ts'

export interface CoordinatorJob {
  readonly target: { readonly a: string; readonly b: string }
  readonly verb: Verb
  readonly moment?: Moment
}

const { target, verb, moment } = JSON.parse(process.argv[2] ?? '') as CoordinatorJob
process.on('disconnect', () => process.exit())
const fate = new Fate(moment, async () => {
  writeSync(1, `${moment?.when} ${fate.calls.at(-1)}`)
  process.kill(process.pid, 'SIGKILL')
  return new Promise(() => {})
})
fate.verb = verb
const backends = {
  a: fate.over(await openBackend(target.a)),
  b: fate.over(await openBackend(target.b)),
}
const store = await openStore(backends, { domains: { app: {} }, create: false, deadlineMs: 20_000 })
const move = await store.move('app', { from: 'a', to: 'b' })
process.send?.('ready')
await drive(move, verb)
await store.close()
process.disconnect?.()
