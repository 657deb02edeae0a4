/**
 * A PgBouncer before a PostgreSQL server, for the tests: it hands out its sessions by transaction. Started on a free
 * loopback port in a temporary folder, as a user that is not root, and stopped at the end.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findOwner, freePort, type Owner } from './postgres.ts'

export interface Pgbouncer {
  /** The same database, through the pooler. */
  readonly url: string
  /** Its version, for example `1.18.0`. */
  readonly version: string
  stop(): Promise<void>
}

/** The pooler, or a text that says why there is none. */
export async function startPgbouncer(
  server: string,
  settings: readonly string[] = [],
): Promise<Pgbouncer | string> {
  const version = findVersion()
  if (version === undefined) return 'no PgBouncer: install Debian’s package pgbouncer'
  const owner = findOwner()
  if (owner === undefined) return 'PgBouncer does not run as root, and there is no user postgres or nobody'
  const folder = mkdtempSync(join(tmpdir(), 'underpin-pgbouncer-'))
  const port = await freePort()
  const file = join(folder, 'pgbouncer.ini')
  writeFileSync(file, configure(new URL(server), port, settings))
  if (owner.uid !== undefined) for (const path of [folder, file]) chownSync(path, owner.uid, owner.gid)
  const pooler = await launch(file, folder, owner)
  const url = new URL(server)
  url.host = `127.0.0.1:${port}`
  return {
    url: url.href,
    version,
    async stop() {
      const ended = once(pooler, 'exit')
      pooler.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function findVersion(): string | undefined {
  try {
    const text = execFileSync('pgbouncer', ['--version'], { encoding: 'utf8', stdio: 'pipe' })
    return /PgBouncer (\S+)/i.exec(text)?.[1]
  } catch {
    return undefined
  }
}

/** Three sessions for everybody; whoever connects is the server's user. */
function configure(server: URL, port: number, settings: readonly string[]): string {
  const password = server.password === '' ? '' : ` password=${decodeURIComponent(server.password)}`
  return [
    '[databases]',
    `* = host=${server.hostname} port=${server.port || 5432} user=${decodeURIComponent(server.username)}${password}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    'default_pool_size = 3',
    'max_client_conn = 500',
    ...settings,
    '',
  ].join('\n')
}

/** Resolves when it says that it is up. */
async function launch(file: string, folder: string, owner: Owner): Promise<ChildProcess> {
  const pooler = spawn('pgbouncer', [file], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], ...owner })
  let log = ''
  for await (const part of pooler.stderr.iterator({ destroyOnReturn: false })) {
    log += part
    if (log.includes('process up')) {
      pooler.stderr.resume()
      return pooler
    }
  }
  throw new Error(`PgBouncer did not start:\n${log}`)
}
