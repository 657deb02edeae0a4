import { openStore } from 'underpin'

const store = await openStore('memory:', { domains: { streampay: {} } })
console.log((await store.health()).isHealthy)
await store.close()
