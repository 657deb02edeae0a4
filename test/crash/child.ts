/**
 * The process that is killed: performs a script on a file. Says `begin` before it opens the store and `ack <n>` after
 * each acknowledgement, written synchronously, so that what the test hears was acknowledged and what was acknowledged
 * is at most one line from being heard.
 */
import { writeSync } from 'node:fs'
import { openStore } from '../../src/index.ts'
import { openStoreSync } from '../../src/sync.ts'
import { domains, perform, performSync } from './perform.ts'
import { makeScript, type Verbs } from './script.ts'

/** What the test tells it, as JSON. */
export interface ChildJob {
  readonly url: string
  readonly verbs: Verbs
  readonly seed: number
  readonly batches: number
}

const job = JSON.parse(process.argv[2] ?? '') as ChildJob
const script = makeScript(job.seed, job.verbs, job.batches)

say('begin')
if (job.verbs === 'synchronous') runSync()
else await run()

async function run(): Promise<void> {
  await using store = await openStore(job.url, { domains })
  const app = store.domain('app')
  for (const batch of script)
    await Promise.all(
      batch.map(async (operation) => {
        await perform(app, operation)
        say(`ack ${operation.n}`)
      }),
    )
}

function runSync(): void {
  using store = openStoreSync(job.url, { domains })
  const app = store.domain('app')
  for (const operation of script.flat()) {
    performSync(app, operation)
    say(`ack ${operation.n}`)
  }
}

/** Out before anything else happens here. Waits while the test is too busy to hear: the pipe holds only so many lines. */
function say(line: string): void {
  for (;;)
    try {
      writeSync(1, `${line}\n`)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
}
