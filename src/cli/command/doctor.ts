/** `underpin doctor`: what could break a promise on this machine, in this store. */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { inspectSqlite } from '../../backend/sqlite/sqlite.ts'
import { isUnderpinError } from '../../index.ts'
import type { Summary } from '../output.ts'
import { filePath, type GlobalFlags, Session, storeUrl } from '../session.ts'
import { showNumber, toTable } from '../text.ts'

interface Finding {
  readonly check: string
  readonly result: 'ok' | 'warning' | 'failure'
  readonly detail: string
}

export async function doctor(flags: GlobalFlags): Promise<Summary> {
  const findings = [node(), clock()]
  if (flags.store !== undefined) {
    const url = storeUrl(flags)
    const path = filePath(url)
    findings.push(...(path === undefined ? [] : file(path)))
    const found = await store(flags)
    findings.push(...found)
    if (path !== undefined && found.every(({ result }) => result !== 'failure')) findings.push(...sqlite(url))
  }
  const isOk = findings.every(({ result }) => result !== 'failure')
  const rows = findings.map(({ result, check, detail }) => [
    result === 'ok' ? 'ok' : result.toUpperCase(),
    check,
    detail,
  ])
  return { isOk, data: { findings }, lines: toTable(['', 'check', ''], rows) }
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isFit = major > 20 || (major === 20 && minor >= 19)
  return {
    check: 'node',
    result: isFit ? 'ok' : 'failure',
    detail: `${process.version}${isFit ? '' : '; 20.19 or later is needed'}`,
  }
}

/** Clocks order nothing, so a wrong one loses nothing; but records expire and are dated by it. */
function clock(): Finding {
  const year = new Date().getUTCFullYear()
  const isPlausible = year >= 2025 && year < 2100
  return {
    check: 'clock',
    result: isPlausible ? 'ok' : 'warning',
    detail: `${new Date().toISOString()}${isPlausible ? '' : '; times and expiry will be wrong'}`,
  }
}

function file(path: string): Finding[] {
  if (!existsSync(path)) return [{ check: 'file', result: 'failure', detail: `there is none at ${path}` }]
  const { mode, size } = statSync(path)
  const isPrivate = (mode & 0o077) === 0
  const findings: Finding[] = [
    {
      check: 'file',
      result: isPrivate ? 'ok' : 'warning',
      detail: `${showNumber(size)} bytes, mode ${(mode & 0o777).toString(8)}${isPrivate ? '' : '; others than its owner can read it'}`,
    },
  ]
  const folder = dirname(resolve(path))
  try {
    accessSync(folder, constants.W_OK)
    accessSync(path, constants.W_OK)
  } catch (error) {
    findings.push({ check: 'permissions', result: 'failure', detail: (error as Error).message })
  }
  const { bavail, bsize } = statfsSync(folder)
  const free = bavail * bsize
  findings.push({
    check: 'disk',
    result: free > 1e9 ? 'ok' : 'warning',
    detail: `${showNumber(Math.round(free / 1e6))} MB free`,
  })
  return findings
}

async function store(flags: GlobalFlags): Promise<Finding[]> {
  try {
    const session = await Session.open(flags)
    try {
      const { backend } = session
      const names = await backend.domains()
      const fences = await Promise.all(names.map(async (name) => ({ name, ...(await backend.fence(name)) })))
      return [
        {
          check: 'store',
          result: 'ok',
          detail: `${backend.name}, durability ${backend.supports.durability}`,
        },
        ...fences.map(({ name, role, epoch, head }) => ({
          check: `domain ${name}`,
          result: role === 'authority' || role === 'follower' ? ('ok' as const) : ('warning' as const),
          detail: `${role}, epoch ${epoch}, head ${showNumber(head)}`,
        })),
      ]
    } finally {
      await session.close()
    }
  } catch (error) {
    if (!isUnderpinError(error)) throw error
    const hint = error.hint === undefined ? '' : ` ${error.hint}`
    return [{ check: 'store', result: 'failure', detail: `${error.message}.${hint}` }]
  }
}

/** From this version on, a restart of the write-ahead log cannot lose a commit of another connection. */
const soundSqlite = [3, 51, 3]

function sqlite(url: string): Finding[] {
  const { driver, version, journalMode, synchronous, migrations, walBytes } = inspectSqlite(url)
  const isSound = compare(version.split('.').map(Number), soundSqlite) >= 0
  return [
    {
      check: 'SQLite',
      result: isSound ? 'ok' : 'warning',
      detail: `${version}, by ${driver}${isSound ? '' : '; versions before 3.51.3 can, very rarely, damage a file that several processes write (the WAL-reset bug)'}`,
    },
    {
      check: 'journal',
      result: journalMode === 'wal' ? 'ok' : 'failure',
      detail: `${journalMode}, synchronous ${synchronous}, ${showNumber(walBytes)} bytes in the write-ahead log`,
    },
    { check: 'migrations', result: 'ok', detail: `${migrations.length} applied: ${migrations.join(', ')}` },
  ]
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return (a[i] ?? 0) - (b[i] ?? 0)
  return 0
}
