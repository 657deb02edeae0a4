/** Prints how many milliseconds it takes to open a store and read its head: `tsx bench/open.ts URL`. */
import { openStore } from 'underpin'

const since = performance.now()
const store = await openStore(process.argv[2] as string, { domains: { bench: {} } })
await store.domain('bench').head()
console.log((performance.now() - since).toFixed(1))
await store.close()
