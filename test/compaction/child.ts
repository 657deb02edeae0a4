/** The process that compacts and dies: at the step that it is told, or where strace kills it. */
import { type Archive, archiveFolder, type Backend, openBackend, openStore } from '../../src/index.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { account, domains } from './account.ts'

export interface CompactionJob {
  readonly url: string
  readonly folder: string
  readonly stream: string
  /** The step before which it kills itself; none if left out. */
  readonly step?: number
}

const job = JSON.parse(process.argv[2] ?? '') as CompactionJob
let steps = 0

function step(): void {
  if (++steps === job.step) process.kill(process.pid, 'SIGKILL')
}

class Stepping extends Forward {
  override async commit(...call: Parameters<Backend['commit']>) {
    step()
    const outcomes = await this.inner.commit(...call)
    step()
    return outcomes
  }
}

const folder = archiveFolder(job.folder)
const archive: Archive = {
  async write(name, chunks) {
    step()
    const reference = await folder.write(name, stepping(chunks))
    step()
    return reference
  },
  read: (reference) => stepping(folder.read(reference)),
}

async function* stepping(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    step()
    yield chunk
  }
  step()
}

await using store = await openStore(new Stepping(await openBackend(job.url)), { domains })
await store.domain('bank').compact(job.stream, account, { archive, keep: 5 })
console.log(`steps ${steps}`)
