/** pg-boss: one insert for each job; workers fetch batches, at its shortest interval, and complete a batch at once. */
import PgBoss from 'pg-boss'
import type { OpenPeer } from './peer.ts'

const queue = 'work'
const workers = 4

export const pgBoss: OpenPeer = async (url) => {
  const boss = new PgBoss({ connectionString: url, max: 20 })
  boss.on('error', (error) => console.error(error))
  await boss.start()
  await boss.createQueue(queue)
  return {
    durability: 'synchronous_commit=on',
    enqueue: (n) => boss.send(queue, { n }),
    async workOff(count) {
      let done = 0
      await new Promise<void>((resolve) => {
        const handler = async (jobs: unknown[]) => {
          done += jobs.length
          if (done >= count) resolve()
        }
        for (let i = 0; i < workers; i++)
          void boss.work(queue, { batchSize: 500, pollingIntervalSeconds: 0.5 }, handler)
      })
    },
    close: () => boss.stop({ graceful: false, wait: true }),
  }
}
