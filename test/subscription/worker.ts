/** A process with four writers, or one that consumes until it is killed: `worker.ts write URL SEED` or `… consume URL TTL`. */
import { Random } from './random.ts'
import { consume, openApp, write } from './work.ts'

const [role, url = '', number = '0'] = process.argv.slice(2)
const store = await openApp(url)
const app = store.domain('app')
const ending = new AbortController()
process.on('message', () => ending.abort())
// Nobody is left to be told anything: the test has ended.
process.on('disconnect', () => process.exit())
process.send?.('ready')
if (role === 'write') {
  const stores = await Promise.all([1, 2, 3, 4].map(() => openApp(url)))
  const done = await Promise.all(
    stores.map((each, i) => {
      const random = new Random(Number(number) + i)
      return write(each.domain('app'), ending.signal, random, true, url.startsWith('postgres'))
    }),
  )
  await Promise.all(stores.map((each) => each.close()))
  process.send?.(done)
} else {
  await consume(app, Number(number), ending.signal, (which) => process.connected && process.send?.(which))
}
await store.close()
process.disconnect?.()
