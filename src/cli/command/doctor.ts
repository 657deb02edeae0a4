/** `underpin doctor`: what could break a promise on this machine, in this store. Looks before it opens anything. */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { inspectPostgres } from '../../backend/postgres/postgres.ts'
import { inspectSqlite } from '../../backend/sqlite/sqlite.ts'
import { type Backend, isUnderpinError, systemClock } from '../../index.ts'
import type { Summary } from '../output.ts'
import { filePath, type GlobalFlags, isPostgres, Session } from '../session.ts'
import { counted, showNumber, showTime, toTable } from '../text.ts'

type Result = 'ok' | 'pending' | 'warning' | 'failure'

interface Finding {
  readonly check: string
  readonly result: Result
  readonly detail: string
}

export interface Diagnosis extends Summary {
  /** Nothing failed, but there are migrations to apply. */
  readonly isPending: boolean
}

export async function doctor(flags: GlobalFlags): Promise<Diagnosis> {
  const findings = [node(), clock()]
  if (flags.store === undefined) findings.push(...(await attempt('driver', () => driver('sqlite::memory:'))))
  else findings.push(...(await examine(flags.store, flags)))
  const has = (wanted: Result) => findings.some(({ result }) => result === wanted)
  const rows = findings.map(({ result, check, detail }) => [
    result === 'ok' ? 'ok' : result.toUpperCase(),
    check,
    detail,
  ])
  return {
    isOk: !has('failure') && !has('pending'),
    isPending: !has('failure') && has('pending'),
    data: { findings },
    lines: toTable(['', 'check', ''], rows),
  }
}

/** A store is opened last, and only if that does not change it. */
async function examine(url: string, flags: GlobalFlags): Promise<Finding[]> {
  const path = filePath(url)
  const found: Finding[] = []
  if (path !== undefined) {
    found.push(...(await attempt('file', () => file(path))))
    if (found.every(({ result }) => result !== 'failure'))
      found.push(...(await attempt('SQLite', () => [...driver(url), ...database(url)])))
  }
  if (isPostgres(url)) found.push(...(await attempt('PostgreSQL', () => server(url))))
  const mayOpen = found.every(({ result }) => result === 'ok' || result === 'warning')
  return mayOpen ? [...found, ...(await attempt('store', () => store(flags)))] : found
}

/** What an examination finds, or that it failed. */
async function attempt(check: string, run: () => Finding[] | Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await run()
  } catch (error) {
    const hint = isUnderpinError(error) && error.hint !== undefined ? `. ${error.hint}` : ''
    return [{ check, result: 'failure', detail: `${(error as Error).message}${hint}` }]
  }
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isFit = major > 20 || (major === 20 && minor >= 19)
  const detail = `${process.version}${isFit ? '' : '; 20.19 or later is needed'}`
  return { check: 'node', result: isFit ? 'ok' : 'failure', detail }
}

/** Clocks order nothing, so a wrong one loses nothing; but records are dated by it, and expire by it. */
function clock(): Finding {
  const now = showTime(systemClock.now())
  const year = Number(now.slice(0, 4))
  if (year >= 2025 && year < 2100) return { check: 'clock', result: 'ok', detail: now }
  return { check: 'clock', result: 'warning', detail: `${now}; times and expiry will be wrong` }
}

function file(path: string): Finding[] {
  if (!existsSync(path)) return [{ check: 'file', result: 'failure', detail: `there is none at ${path}` }]
  const folder = dirname(resolve(path))
  accessSync(folder, constants.W_OK)
  accessSync(path, constants.W_OK)
  const { mode, size } = statSync(path)
  const isPrivate = (mode & 0o077) === 0
  const permissions = `${showNumber(size)} bytes, mode ${(mode & 0o777).toString(8)}`
  const { bavail, bsize } = statfsSync(folder)
  const free = bavail * bsize
  return [
    isPrivate
      ? { check: 'file', result: 'ok', detail: permissions }
      : { check: 'file', result: 'warning', detail: `${permissions}; others than its owner can open it` },
    {
      check: 'disk',
      result: free > 1e9 ? 'ok' : 'warning',
      detail: `${showNumber(Math.round(free / 1e6))} MB free`,
    },
  ]
}

/** From this version on, a restart of the write-ahead log cannot lose a commit of another connection. */
const soundSqlite = [3, 51, 3]

function driver(url: string): Finding[] {
  const { driver, version } = inspectSqlite(url)
  const isSound = compare(version.split('.').map(Number), soundSqlite) >= 0
  const why =
    '; versions before 3.51.3 can, very rarely, damage a file that several processes write (the WAL-reset bug)'
  const detail = `${version}, by ${driver}${isSound ? '' : why}`
  return [{ check: 'SQLite', result: isSound ? 'ok' : 'warning', detail }]
}

function database(url: string): Finding[] {
  const { journalMode, synchronous, walBytes, applied, pending } = inspectSqlite(url)
  if (applied.length + pending.length === 0) return []
  const wal = `${showNumber(walBytes)} bytes in the write-ahead log`
  return [
    {
      check: 'journal',
      result: journalMode === 'wal' ? 'ok' : 'failure',
      detail: `${journalMode}, synchronous ${synchronous}, ${wal}`,
    },
    migrations(applied, pending),
  ]
}

async function server(url: string): Promise<Finding[]> {
  const { version, schema, applied, pending } = await inspectPostgres(url)
  const found: Finding = { check: 'PostgreSQL', result: 'ok', detail: `${version}, schema ${schema}` }
  if (applied.length > 0) return [found, migrations(applied, pending)]
  return [found, { check: 'store', result: 'failure', detail: `there is none in the schema ${schema}` }]
}

function migrations(applied: readonly string[], pending: readonly string[]): Finding {
  if (pending.length === 0)
    return { check: 'migrations', result: 'ok', detail: `${applied.length} applied, none pending` }
  const detail = `${pending.join(', ')}: applied by \`underpin migrate\`, or by the next process that opens the store`
  return { check: 'migrations', result: 'pending', detail }
}

async function store(flags: GlobalFlags): Promise<Finding[]> {
  await using session = await Session.open(flags)
  const { backend } = session
  const findings: Finding[] = [
    { check: 'store', result: 'ok', detail: `${backend.name}, durability ${backend.supports.durability}` },
  ]
  for (const name of await session.domainNames())
    findings.push(await domain(backend, name, await session.truncatedStreams(name)))
  return findings
}

async function domain(backend: Backend, name: string, truncatedStreams: number): Promise<Finding> {
  const { role, epoch, head } = await backend.fence(name)
  const truncated =
    truncatedStreams === 0 ? '' : `, ${counted(truncatedStreams, 'stream', 'streams')} truncated`
  const detail = `${role}, epoch ${epoch}, head ${showNumber(head)}${truncated}`
  const { items } = await backend.changes(name, Math.max(0, head - 1), 1)
  const aheadMs = (items.at(-1)?.at ?? 0) - systemClock.now()
  if (aheadMs > 60_000) {
    const ahead = `; its last record is dated ${showNumber(Math.round(aheadMs / 1_000))} s ahead of this machine's clock`
    return { check: `domain ${name}`, result: 'warning', detail: `${detail}${ahead}` }
  }
  const isServing = role === 'authority' || role === 'follower'
  return { check: `domain ${name}`, result: isServing ? 'ok' : 'warning', detail }
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return (a[i] ?? 0) - (b[i] ?? 0)
  return 0
}
