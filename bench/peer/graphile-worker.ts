/** graphile-worker: one call of its function for each job; a job is taken, and deleted when it is done, by a statement each. */
import { Logger, makeWorkerUtils, run } from 'graphile-worker'
import type { OpenPeer } from './peer.ts'

const silent = new Logger(() => () => {})

export const graphileWorker: OpenPeer = async (url) => {
  const settings = { connectionString: url, maxPoolSize: 20, logger: silent }
  const utils = await makeWorkerUtils(settings)
  await utils.migrate()
  return {
    durability: 'synchronous_commit=on',
    enqueue: (n) => utils.addJob('work', { n }),
    async workOff(count) {
      let done = 0
      const finished: { resolve: () => void } = { resolve: () => {} }
      const all = new Promise<void>((resolve) => (finished.resolve = resolve))
      const runner = await run({
        ...settings,
        concurrency: 64,
        noHandleSignals: true,
        taskList: {
          work: async () => {
            if (++done >= count) finished.resolve()
          },
        },
      })
      await all
      await runner.stop()
    },
    close: async () => utils.release(),
  }
}
