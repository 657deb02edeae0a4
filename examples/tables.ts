/**
 * Our transaction: a table for SQL queries, kept by a handler in the commit of the events that it sums up. It never lags
 * behind them, and never shows what was not committed.
 * Run: `npm run build && npx tsx examples/tables.ts`.
 */
import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { events, openStore } from 'underpin'
import { openHandle, type SqliteHandle } from 'underpin/sqlite'

type AccountEvent = { type: 'deposited' | 'withdrawn'; data: { cents: number } }

const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
const file = join(folder, 'bank.db')
const store = await openStore(`sqlite:${file}`, {
  domains: { bank: { events: events<AccountEvent>() } },
})
const bank = store.domain('bank')

/** Books an amount and the new balance in one commit. The table's own rule, no balance below zero, holds for both. */
function book(account: string, cents: number) {
  return bank.transaction((tx) => {
    const type = cents < 0 ? 'withdrawn' : 'deposited'
    tx.append(account, { type, data: { cents: Math.abs(cents) } })
    tx.tables<SqliteHandle>((db, { positions }) => {
      db.exec(
        'CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, cents INTEGER CHECK (cents >= 0), position INTEGER)',
      )
      db.prepare('INSERT OR IGNORE INTO balances VALUES (?, 0, 0)').run(account)
      db.prepare('UPDATE balances SET cents = cents + ?, position = ? WHERE account = ?').run(
        cents,
        positions[0] as number,
        account,
      )
    })
  })
}

await Promise.all([book('ada', 100), book('eve', 50), book('ada', -30)])
await assert.rejects(book('eve', -51), /CHECK/)
assert.equal(await bank.log.seq('eve'), 1)

// The table says what the events say, and up to which of them.
const own = openHandle(file)
const balances = own.prepare('SELECT account, cents, position FROM balances ORDER BY account').all()
own.close()
for (const row of balances) console.log({ ...(row as object) })
const sums = new Map<string, number>()
for (const item of (await bank.changes()).items) {
  if (item.kind !== 'event') continue
  const sign = item.type === 'deposited' ? 1 : -1
  sums.set(item.stream, (sums.get(item.stream) ?? 0) + sign * item.data.cents)
}
assert.deepEqual(
  balances.map((row) => [(row as { account: string }).account, (row as { cents: number }).cents]),
  [...sums].sort(),
)
await store.close()
rmSync(folder, { recursive: true })
