/**
 * `npm run rollout`: the way of streampay from SQLite to PostgreSQL, as its plan lists it, with real servers and callers who
 * go on through all of it. Ends with 0 lost, 0 diffs and 0 caller errors, or fails. `--to URL` names a target of your own;
 * else a PostgreSQL server is started for it, or, where there is none to start, a second SQLite file is the target. With
 * `--kills`, a server is killed with SIGKILL in the middle of each cutover, and replaced.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { type CutoverReport, maskSecrets, openStore } from 'underpin'
import { startPostgres } from '../../../scripts/postgres-server.ts'
import { domainName, domains } from '../lib/domain.ts'
import { schemaOf } from '../lib/repositories/open.ts'
import { postgresSchema, runAll } from '../lib/repositories/schema.ts'
import { quantile } from './client.ts'
import { type ServerProcess, startProcess } from './processes.ts'
import { Load } from './rollout/load.ts'
import {
  compareOrder,
  type Finding,
  orderOf,
  replay,
  singleWriter,
  sqlOrder,
  sqlReplay,
} from './rollout/parity.ts'

const { values } = parseArgs({
  options: {
    to: { type: 'string' },
    callers: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '2' },
    kills: { type: 'boolean', default: false },
  },
})
/** Milliseconds of traffic in each step. */
const stepMs = Number(values.seconds) * 1_000
/** Milliseconds after which every stream of an earlier time can be seen. */
const settleMs = 1_000

const folder = mkdtempSync(join(tmpdir(), 'streampay-rollout-'))
const started = values.to === undefined ? await startPostgres() : undefined
const target = values.to ?? (typeof started === 'object' ? started.url : `sqlite:${join(folder, 'next.db')}`)
const source = `sqlite:${join(folder, 'streampay.db')}`
const environment = {
  DATABASE_URL: source,
  EXPORT_FOLDER: join(folder, 'exports'),
  EXPORT_SECRET: 'a secret of more than thirty-two bytes',
}
const servers: ServerProcess[] = []
const load = new Load(() => servers.map(({ address }) => address))
const findings: Finding[] = []
const stop = new AbortController()

try {
  await rollOut()
} finally {
  stop.abort()
  await Promise.all(servers.map((server) => server.stop()))
  if (typeof started === 'object') await started.stop()
  rmSync(folder, { recursive: true, force: true })
}

async function rollOut(): Promise<void> {
  if (typeof started === 'string') say(`${started}; the target is a second SQLite file`)
  say(`1 default   three servers on ${source}, ${values.callers} callers`)
  servers.push(...(await Promise.all([1, 2, 3].map(() => startProcess(environment)))))
  load.begin(Number(values.callers))
  await pause(stepMs)

  say(`2 deploy    each server in turn is replaced by one that knows ${maskSecrets(target)} too`)
  for (let n = 0; n < 3; n++) {
    servers.push(await startDeployed(n))
    // Out of the callers' sight first; what they have asked it already is answered.
    const old = servers.shift()
    const code = await old?.stop()
    if (code !== 0) throw new Error(`A server ended with ${code}`)
  }
  const store = await openStore({ current: source, next: target }, { domains })
  try {
    await move(store)
  } finally {
    stop.abort()
    await store.close()
  }
}

function startDeployed(n: number): Promise<ServerProcess> {
  return startProcess({ ...environment, NEXT_DATABASE_URL: target, SERVER_NAME: `server-${n + 1}` })
}

/** Ends a server wherever it is, while the work is under way, and starts another in its place. */
async function killDuring<R>(n: number, work: Promise<R>): Promise<R> {
  if (!values.kills) return work
  const victim = servers.shift()
  await victim?.kill()
  servers.push(await startDeployed(n))
  return work
}

type Operator = Awaited<ReturnType<typeof openStore<typeof domains>>>

async function move(store: Operator): Promise<void> {
  const moving = await store.move(domainName, { to: 'next' })
  // The target may be slower than a file in the same machine: that is known, and wanted.
  await moving.start({ by: 'rollout', settings: { gates: { latencyMs: 1_000 } } })
  say('3 tables    made at the target; nothing is read there')
  const began = performance.now()
  const copying = moving.run({ signal: stop.signal })
  await moving.catchUp()
  const client = await tablesOf(target)
  const { head } = await moving.verify()
  say(`4 backfill  ${head} positions in ${((performance.now() - began) / 1_000).toFixed(1)} s, under traffic`)
  await pause(stepMs)
  say('5 mirror    every commit follows')

  // A stream has its time before it is committed: those of the last moment can appear between two pages.
  const until = Date.now() - settleMs
  const kept = load.kept.slice(0, 60)
  const order = await orderOf(load, until)
  await moving.catchUp()
  const compared = await moving.verify()
  found({ what: 'records equal by content', compared: compared.compared, differences: compared.count })
  if (client !== undefined) {
    found(compareOrder('cursor order in the tables', order, await sqlOrder(client, until)))
    found(await sqlReplay(client, kept))
  }
  await parity('6 parity    before the cutover')

  for (const [n, [step, how]] of (
    [
      ['7 cutover', 'cutover'],
      ['8 rollback', 'rollback'],
      ['9 cutover', 'cutover'],
    ] as const
  ).entries()) {
    const report = await killDuring(n, moving[how]({ by: 'rollout' }))
    say(`${step.padEnd(11)} ${describe(report)}`)
    await pause(stepMs)
    await parity(`  parity    on ${report.to}`)
    await moving.catchUp()
    await moving.verify()
  }

  await load.end()
  await moving.catchUp()
  const last = await moving.verify()
  found({ what: 'records equal by content, at rest', compared: last.compared, differences: last.count })
  if (client !== undefined)
    found(
      compareOrder(
        'cursor order in the tables, at rest',
        await orderOf(load, Date.now()),
        await sqlOrder(client, Date.now()),
      ),
    )
  await client?.end()
  const lost = await load.judge()
  for (const what of lost) say(`  LOST      ${what}`)
  stop.abort()
  await copying
  conclude(lost.length)

  async function parity(title: string): Promise<void> {
    say(title)
    found(compareOrder('cursor order unchanged', order, await orderOf(load, until)))
    found(await replay(load, kept))
    found(await singleWriter(load))
  }
}

/** The tables of the copy, for queries only; undefined where the target is no PostgreSQL. */
async function tablesOf(url: string): Promise<pg.Client | undefined> {
  const schema = schemaOf(url) ?? 'underpin'
  if (!url.startsWith('postgres')) return undefined
  const plain = new URL(url)
  plain.searchParams.delete('schema')
  const client = new pg.Client({ connectionString: plain.href })
  await client.connect()
  await runAll(client, postgresSchema(schema))
  await client.query(`SET search_path = ${client.escapeIdentifier(schema)}`)
  return client
}

function found(finding: Finding): void {
  findings.push(finding)
  const { what, compared, differences } = finding
  say(`  ${differences === 0 ? 'ok ' : 'NOT'}       ${what}: ${compared} compared, ${differences} differ`)
}

function describe({ from, to, head, pauseMs, callers }: CutoverReport): string {
  const waited =
    callers === null
      ? ''
      : `; of the callers who met it, half waited up to ${callers.p50Ms.toFixed(0)} ms, 99 of 100 up to ${callers.p99Ms.toFixed(0)} ms`
  return `${from} → ${to} at position ${head}, ${pauseMs?.toFixed(1)} ms without authority${waited}`
}

function conclude(lost: number): void {
  const { requests, repeats, latenciesMs } = load.client.counts
  const errors = load.client.counts.errors + load.prober.counts.errors
  const differences = findings.reduce((sum, finding) => sum + finding.differences, 0)
  say(
    `${requests} requests, ${load.streams} streams, ${load.payments} payments; p50 ${quantile(latenciesMs, 0.5).toFixed(1)} ms, p99 ${quantile(latenciesMs, 0.99).toFixed(1)} ms, longest ${Math.max(...latenciesMs).toFixed(0)} ms; ${repeats} asked again`,
  )
  say(`${lost} lost, ${differences} diffs, ${errors} caller errors`)
  if (lost + differences + errors > 0) process.exitCode = 1
}

function say(line: string): void {
  console.log(line)
}
