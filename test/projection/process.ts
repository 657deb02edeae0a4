/** `process.ts run|append URL SEED`: runs the asynchronous projection, or appends, until it is killed. */
import { setTimeout as pause } from 'node:timers/promises'
import { later, openLedger } from './ledger.ts'

const [task, url, seed] = process.argv.slice(2) as [string, string, string]
const store = await openLedger(url)
const ledger = store.domain('ledger')
// Whoever started it is gone.
process.on('disconnect', () => process.exit())
process.send?.('ready')
if (task === 'run') {
  await ledger.projection(later).run({ signal: new AbortController().signal, batch: 50, leaseMs: 1_000 })
} else {
  const write = async (caller: number) => {
    for (let n = caller; ; n += 4) {
      await ledger.log.append(`${seed}-${n % 3}`, { type: 'booked', data: { account: `a${n % 5}`, n } })
      // The runner is to keep up on a slow machine, too.
      await pause(20)
    }
  }
  await Promise.all([0, 1, 2, 3].map(write))
}
