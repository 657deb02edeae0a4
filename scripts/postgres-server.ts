/**
 * A PostgreSQL server for the tests, the demo and the benchmarks: the one that POSTGRES_URL names, else one that is
 * started here, on a free loopback port in a temporary folder, as a user that is not root, and stopped at the end.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface PostgresServer {
  readonly url: string
  /** Stops at once, as a crash would, and starts again. Undefined for a server that was not started here. */
  readonly restart: (() => Promise<void>) | undefined
  stop(): Promise<void>
}

/** The server, or a text that says why there is none. */
export async function startPostgres(settings: readonly string[] = []): Promise<PostgresServer | string> {
  const url = process.env.POSTGRES_URL
  if (url !== undefined && settings.length === 0) return { url, restart: undefined, async stop() {} }
  const bin = findBinaries()
  if (bin === undefined) return 'no PostgreSQL: set POSTGRES_URL, or install Debian’s package postgresql'
  const owner = findOwner()
  if (owner === undefined) return 'PostgreSQL does not run as root, and there is no user postgres or nobody'
  const folder = mkdtempSync(join(tmpdir(), 'underpin-postgres-'))
  if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid)
  const data = join(folder, 'data')
  execFileSync(
    join(bin, 'initdb'),
    ['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--no-sync'],
    {
      stdio: 'ignore',
      cwd: folder,
      ...owner,
    },
  )
  const port = await freePort()
  let server = await launch(bin, data, folder, port, owner, settings)
  const halt = async (signal: NodeJS.Signals) => {
    const ended = once(server, 'exit')
    server.kill(signal)
    await ended
  }
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    async restart() {
      await halt('SIGQUIT')
      server = await launch(bin, data, folder, port, owner, settings)
    },
    async stop() {
      await halt('SIGINT')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Nothing to change, or the user to run as. */
export type Owner = { readonly uid?: never } | { readonly uid: number; readonly gid: number }

function findBinaries(): string | undefined {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root)
    ? readdirSync(root)
        .map(Number)
        .filter((version) => version >= 14)
    : []
  const found = versions
    .sort((a, b) => b - a)
    .map((version) => join(root, String(version), 'bin'))
    .find((bin) => existsSync(join(bin, 'initdb')))
  return found
}

/** PostgreSQL refuses to run as root, so root hands it to somebody else. */
export function findOwner(): Owner | undefined {
  if (process.getuid?.() !== 0) return {}
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string) =>
        Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }))
      return { uid: id('-u'), gid: id('-g') }
    } catch {
      // There is no such user.
    }
  }
  return undefined
}

/** Resolves when the server says that it takes connections. */
async function launch(
  bin: string,
  data: string,
  folder: string,
  port: number,
  owner: Owner,
  settings: readonly string[],
): Promise<ChildProcess> {
  const flags = [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    `unix_socket_directories=${folder}`,
    // Processes of tests have a pool for each of their stores.
    'max_connections=300',
    ...settings,
  ]
  const server = spawn(join(bin, 'postgres'), ['-D', data, ...flags.flatMap((flag) => ['-c', flag])], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
    ...owner,
  })
  let log = ''
  for await (const part of server.stderr) {
    log += part
    if (log.includes('database system is ready to accept connections')) {
      server.stderr.resume()
      return server
    }
  }
  throw new Error(`PostgreSQL did not start:\n${log}`)
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  await once(probe, 'close')
  return port
}
