/**
 * Durable work: enqueued in the commit that causes it, retried, and completed together with what it changes.
 * Run: `npm run build && npx tsx examples/jobs.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { collection, defineJobs, job, openStore } from 'underpin'

const definitions = defineJobs({
  sendMail: job<{ to: string }>({ retry: { attempts: 3, delayMs: 20 }, timeoutMs: 30_000 }),
  sumUp: job<{ order: string }, number>(),
})

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const store = await openStore(`sqlite:${join(folder, 'app.db')}`, {
  domains: { orders: { collections: { totals: collection<{ sum: number }>() } } },
})
const orders = store.domain('orders')
const jobs = orders.jobs(definitions)

// The order and its mail are one commit: there is never one without the other.
const { value: mail } = await orders.transaction(async (tx) => {
  tx.append('order-1', { type: 'placed', data: { total: 42 } })
  return tx.enqueue(jobs, 'sendMail', { to: 'ada@example.org' })
})
const sum = await jobs.enqueue('sumUp', { order: 'order-1' }, { group: 'order-1', dedupe: 'order-1' })
assert.equal((await jobs.enqueue('sumUp', { order: 'order-1' }, { dedupe: 'order-1' })).isDuplicate, true)

const sent: string[] = []
const worker = await jobs.work(
  {
    // At least once: the id and the attempt tell the mail server which mail this is.
    async sendMail({ to }, { id, attempt, progress }) {
      if (attempt === 1) throw new Error('the mail server is busy')
      progress(1, 'sent')
      sent.push(`${to} ${id}`)
    },
    // Exactly once: what is put and the completion of the job are one commit.
    async sumUp({ order }, { transaction }) {
      return transaction(async (tx) => {
        const events = await tx.read(order)
        const sum = events.reduce((total, { data }) => total + (data as { total: number }).total, 0)
        tx.put('totals', order, { sum })
        return sum
      })
    },
  },
  { concurrency: 5 },
)

const done = await jobs.finished(mail.id)
console.log(done?.name, done?.state, `after ${done?.attempt} attempts`)
assert.deepEqual([done?.state, done?.attempt], ['completed', 2])
assert.deepEqual(sent, [`ada@example.org ${mail.id}`])
assert.equal((await jobs.finished(sum.id))?.result, 42)
assert.equal((await orders.documents('totals').get('order-1'))?.value.sum, 42)

await worker.stop()
await store.close()
rmSync(folder, { recursive: true })
