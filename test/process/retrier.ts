/** Asks for operations, each once by its token, as often as it is told; see once-proof.test.ts. Argument: the URL. */
import { openStore } from '../../src/index.ts'
import { type Asked, askAll } from './asking.ts'

const [url = ''] = process.argv.slice(2)
const store = await openStore(url, { domains: { app: {} }, deadlineMs: 60_000 })

process.on('message', async (asked: Asked) => {
  const replies = await askAll(store.domain('app'), asked)
  if (process.connected) process.send?.(replies)
})
process.send?.('ready')
