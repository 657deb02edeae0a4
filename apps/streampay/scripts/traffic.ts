/**
 * `npm run traffic -- [--server URL]… [--callers N] [--seconds N] [--streams N]`: callers of a running server, or of several
 * of one store, who create, start, settle, withdraw, read and list; then the figures. Fails if a caller saw an error.
 */
import { appendFileSync, mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { Client, quantile } from './client.ts'

const { values } = parseArgs({
  options: {
    server: { type: 'string', multiple: true, default: ['http://127.0.0.1:8080'] },
    callers: { type: 'string', default: '16' },
    seconds: { type: 'string', default: '10' },
    streams: { type: 'string', default: '16' },
  },
})
const [callers, seconds, streams] = [values.callers, values.seconds, values.streams].map(Number) as [
  number,
  number,
  number,
]
const servers = values.server.map((url) => url.replace(/\/$/, ''))
const terms = { sender: 'traffic-a', recipient: 'traffic-b', currency: 'EUR', deposit: 10 ** 12 }
const operations = ['create', 'read', 'list', 'settle', 'withdraw'] as const
type Operation = (typeof operations)[number]

const client = new Client(() => servers)
const latencies = new Map<Operation, number[]>(operations.map((operation) => [operation, []]))
const refused = new Map<number, number>()

const ids = await Promise.all(
  Array.from({ length: streams }, async () => {
    const { status, body, text } = await client.post('/streams', {
      body: { ...terms, ratePerHour: 3_600_000 },
    })
    if (status !== 201) throw new Error(`No stream could be created: ${status} ${text}`)
    await client.post(`/streams/${body.id}/start`)
    return body.id as string
  }),
)

const since = performance.now()
const until = since + seconds * 1_000
await Promise.all(Array.from({ length: callers }, (_, number) => call(number)))
report((performance.now() - since) / 1_000)
if (client.counts.errors > 0) process.exitCode = 1

async function call(number: number): Promise<void> {
  for (let n = number; performance.now() < until; n += 7) {
    const operation = operations[n % operations.length] as Operation
    const id = ids[n % ids.length] as string
    const began = performance.now()
    const { status } = await perform(operation, id)
    latencies.get(operation)?.push(performance.now() - began)
    if (status >= 400) refused.set(status, (refused.get(status) ?? 0) + 1)
  }
}

function perform(operation: Operation, id: string) {
  switch (operation) {
    case 'create':
      return client.post('/streams', { body: { ...terms, ratePerHour: 3_600_000 } })
    case 'read':
      return client.get(`/streams/${id}`)
    case 'list':
      return client.get('/streams?status=active&limit=20')
    case 'settle':
      return client.post(`/streams/${id}/settle`)
    case 'withdraw':
      return client.post(`/streams/${id}/withdraw`, { body: { amount: 1 } })
  }
}

function report(elapsed: number): void {
  const all = operations.flatMap((operation) => latencies.get(operation) ?? [])
  const { repeats, errors } = client.counts
  const perSecond = all.length / elapsed
  console.log(
    `${all.length} requests in ${elapsed.toFixed(1)} s by ${callers} callers of ${servers.length} servers: ${perSecond.toFixed(0)}/s, ${errors} errors, ${repeats} asked again`,
  )
  for (const [status, count] of refused) console.log(`  ${count} answered ${status}`)
  for (const operation of operations) {
    const found = latencies.get(operation) ?? []
    console.log(
      `  ${operation.padEnd(9)} ${String(found.length).padStart(6)}  p50 ${quantile(found, 0.5).toFixed(1)} ms  p99 ${quantile(found, 0.99).toFixed(1)} ms`,
    )
  }
  mkdirSync('reports', { recursive: true })
  const figures = { at: new Date().toISOString(), callers, servers: servers.length, requests: all.length }
  const line = { ...figures, perSecond, p50: quantile(all, 0.5), p99: quantile(all, 0.99), errors }
  appendFileSync('reports/traffic.jsonl', `${JSON.stringify(line)}\n`)
}
