/** An application's process, at work until it is told to end, or killed. Argument: a {@link WorkerJob}. */
import { tellFile } from './told.ts'
import { openApp, type Who, work } from './work.ts'

export interface WorkerJob {
  /** The backends by name. */
  readonly target: Readonly<Record<string, string>>
  readonly who: Who
  /** The file that it tells to. */
  readonly ledger: string
}

const { target, who, ledger } = JSON.parse(process.argv[2] ?? '') as WorkerJob
const [ending, over] = [new AbortController(), new AbortController()]
process.on('message', (message) => (message === 'end' ? ending : over).abort())
// Nobody is left to be told anything: the test has ended.
process.on('disconnect', () => process.exit())
const store = await openApp(target)
process.send?.('ready')
await work(store, who, tellFile(ledger), {
  ending: ending.signal,
  onEnded: () => process.send?.('ended'),
  over: over.signal,
})
await store.close()
process.disconnect?.()
