/**
 * Locks: many programs may run the nightly report, one at a time does. Whoever was taken for dead and goes on late is
 * refused by the store. Run: `npm run build && npx tsx examples/locks.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { collection, isUnderpinError, openStore } from 'underpin'

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const url = `sqlite:${join(folder, 'app.db')}`
const domains = { reports: { collections: { nights: collection<{ runs: number }>() } } }
// Two stores on one file, as two processes would have.
const stores = [await openStore(url, { domains }), await openStore(url, { domains })]
const [here, there] = stores.map((store) => store.domain('reports'))
assert.ok(here && there)

/** Reads, works, writes: two at once would lose a run. */
const report = (reports: typeof here) =>
  reports.withLock(
    'nightly',
    async ({ domain, signal }) => {
      const nights = domain.documents('nights')
      const runs = (await nights.get('2026-11-21'))?.value.runs ?? 0
      signal.throwIfAborted() // long work looks now and then whether it still has the lock
      await nights.put('2026-11-21', { runs: runs + 1 }) // refused with lost-lease if it has not
    },
    { waitMs: 10_000 },
  )
await Promise.all([here, there, here, there].map(report))
assert.equal((await here.documents('nights').get('2026-11-21'))?.value.runs, 4)

// Not had in time: the error says who has it.
await here.withLock('nightly', async ({ token }) => {
  const refused = await there.withLock('nightly', () => 'never', { waitMs: 0 }).catch((error) => error)
  assert.ok(isUnderpinError(refused, 'locked'))
  console.log(refused.message, '| fencing token', token)
})

// What goes on after its lock is refused by the store, whatever it believes itself.
const late = await here.withLock('nightly', ({ domain }) => domain)
await assert.rejects(late.documents('nights').put('2026-11-21', { runs: 0 }), { code: 'lost-lease' })

for (const store of stores) await store.close()
rmSync(folder, { recursive: true })
