/**
 * pg-boss: one insert for each job. Its workers poll, at their shortest interval, and complete or fail what they fetched as
 * one: with the guarantee that each job ends by itself, a worker fetches one; in batches, they end together.
 */
import PgBoss from 'pg-boss'
import type { OpenPeer, Peer } from './peer.ts'

const queue = 'work'

export const pgBoss: OpenPeer = (url) => open(url, { workers: 64, batchSize: 1 })
export const pgBossBatches: OpenPeer = (url) => open(url, { workers: 4, batchSize: 500 })

async function open(
  url: string,
  { workers, batchSize }: { readonly workers: number; readonly batchSize: number },
): Promise<Peer> {
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
          void boss.work(queue, { batchSize, pollingIntervalSeconds: 0.5 }, handler)
      })
    },
    close: () => boss.stop({ graceful: false, wait: true }),
  }
}
