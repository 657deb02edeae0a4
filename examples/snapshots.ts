/**
 * The state of a stream: folded from its events, from a snapshot on, at any seq or time; and a long stream made short
 * without losing anything: what the snapshot covers is archived, then truncated.
 * Run: `npm run build && npx tsx examples/snapshots.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { archiveFolder, events, type Fold, isUnderpinError, openStore } from 'underpin'

type AccountEvent = { type: 'deposited' | 'withdrawn'; data: { cents: number } }

const balance: Fold<{ cents: number }, AccountEvent> = {
  name: 'balance',
  version: 1,
  seed: { cents: 0 },
  step: ({ cents }, { type, data }) => ({
    cents: type === 'deposited' ? cents + data.cents : cents - data.cents,
  }),
}

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const store = await openStore(`sqlite:${join(folder, 'bank.db')}`, {
  domains: { bank: { events: events<AccountEvent>() } },
})
const bank = store.domain('bank')
for (let n = 1; n <= 500; n++)
  await bank.log.append('account-1', { type: n % 5 === 0 ? 'withdrawn' : 'deposited', data: { cents: n } })

// A snapshot is taken when 100 events have had to be folded, and used from then on.
const first = await bank.state(balance, 'account-1', { snapshot: { events: 100 } })
const again = await bank.state(balance, 'account-1', { snapshot: { events: 100 } })
assert.deepEqual([first.fromSeq, first.seq, again.fromSeq], [0, 500, 500])
assert.deepEqual(again.state, first.state)
assert.equal((await bank.state(balance, 'account-1', { at: { seq: 2 } })).state.cents, 3)

// All but the last 50 events go to a folder of archives, are read back, and only then removed.
const archive = archiveFolder(join(folder, 'archives'))
const done = await bank.compact('account-1', balance, { archive, keep: 50 })
console.log(`removed ${done.removed} events; ${done.archive} has them`)
assert.deepEqual([done.before, done.removed], [451, 450])
assert.deepEqual((await bank.state(balance, 'account-1')).state, first.state)

// Who reads from before is told; the whole stream is still to be had, for a new fold say.
await assert.rejects(bank.log.read('account-1'), (error) => isUnderpinError(error, 'truncated'))
let count = 0
for await (const _ of bank.history('account-1', archive)) count++
assert.equal(count, 500)

await store.close()
rmSync(folder, { recursive: true })
