/**
 * Takes a lock again and again and writes under it, until it is told to stop; see lock-proof.test.ts. Arguments: the URL,
 * the key, the lease's milliseconds, and `fenced` or `unfenced`: the latter is a planted bug. Told to `stand`, it stops
 * itself between two writes under one lease.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { isUnderpinError, openStore, systemClock } from '../../src/index.ts'

const [url = '', key = '', ttlMs = '', mode = ''] = process.argv.slice(2)
let jumpedMs = 0
let isOver = false
let shallStand = false
const clock = { ...systemClock, now: () => systemClock.now() + jumpedMs }
const store = await openStore(url, { domains: { app: {} }, clock, deadlineMs: 60_000 })
const app = store.domain('app')

process.on('message', (message: { jumpMs: number } | 'stop' | 'stand') => {
  if (message === 'stop') isOver = true
  else if (message === 'stand') shallStand = true
  else jumpedMs += message.jumpMs
})
process.send?.('ready')

async function stand(token: number): Promise<void> {
  shallStand = false
  await new Promise((resolve) => process.send?.({ stands: token }, resolve))
  process.kill(process.pid, 'SIGSTOP')
}

while (!isOver) {
  try {
    await app.withLock(
      key,
      async (lock) => {
        const domain = mode === 'fenced' ? lock.domain : app
        for (let n = 0; n < 3; n++) {
          await domain.log.append(key, { type: 'wrote', data: { pid: process.pid, token: lock.token, n } })
          if (shallStand && n === 0) await stand(lock.token)
          await pause(5)
        }
      },
      { ttlMs: Number(ttlMs), waitMs: 60_000 },
    )
  } catch (error) {
    if (!isUnderpinError(error)) throw error
    process.send?.({ refused: error.code })
  }
}
await store.close()
process.disconnect()
