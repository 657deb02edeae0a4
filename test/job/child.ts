/** A process that works on jobs until it is killed: one first attempt in twenty fails by itself. */
import { setTimeout as pause } from 'node:timers/promises'
import { effects, openApp } from './app.ts'

const { url, leaseMs } = JSON.parse(process.argv[2] ?? '{}') as { url: string; leaseMs: number }
const { jobs } = await openApp(url)
let hasBegun = false

const effect: NonNullable<Parameters<typeof jobs.work>[0]['effect']> = async (
  { n },
  { attempt, transaction },
) => {
  if (!hasBegun) process.send?.('begun')
  hasBegun = true
  await pause(Math.random() * 120)
  if (attempt === 1 && n % 20 === 0) throw new Error('The first attempt fails')
  return transaction(async (tx) => {
    tx.append(effects, { type: 'done', data: { n } })
    await pause(Math.random() * 5)
    return n
  })
}

await jobs.work({ effect, limited: effect }, { concurrency: 8, leaseMs })
process.on('disconnect', () => process.exit())
