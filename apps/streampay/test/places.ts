/** Where the servers of the tests keep their data: a SQLite file, or a schema of a PostgreSQL server started for them. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, inject } from 'vitest'
import { type ServerProcess, startProcess } from '../scripts/processes.ts'

export const kinds = ['sqlite', 'postgres'] as const
export type Kind = (typeof kinds)[number]

const folders: string[] = []
afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** Why there is no such place here; empty if there is. */
export function missing(kind: Kind): string {
  return kind === 'postgres' ? inject('postgresMissing') : ''
}

export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'streampay-test-'))
  folders.push(folder)
  return folder
}

export function newUrl(kind: Kind): string {
  if (kind === 'sqlite') return `sqlite:${join(newFolder(), 'streampay.db')}`
  const url = new URL(inject('postgresUrl'))
  url.searchParams.set('schema', `test_${randomBytes(6).toString('hex')}`)
  return url.href
}

/** Servers of one store, and those that take the place of servers that were killed. */
export class Fleet {
  readonly #environment
  readonly servers: ServerProcess[] = []

  constructor(url: string, nextUrl?: string) {
    this.#environment = {
      DATABASE_URL: url,
      ...(nextUrl === undefined ? {} : { NEXT_DATABASE_URL: nextUrl }),
      EXPORT_FOLDER: join(newFolder(), 'exports'),
      EXPORT_SECRET: 'a secret of more than thirty-two bytes',
    }
  }

  get addresses(): readonly string[] {
    return this.servers.map(({ address }) => address)
  }

  async start(count: number): Promise<void> {
    const started = Array.from({ length: count }, () => startProcess(this.#environment))
    this.servers.push(...(await Promise.all(started)))
  }

  /** Kills a server, and starts another in its place. */
  async replace(index: number): Promise<void> {
    const [victim] = this.servers.splice(index, 1)
    await victim?.kill()
    await this.start(1)
  }

  async stop(): Promise<readonly (number | null)[]> {
    return Promise.all(this.servers.splice(0).map((server) => server.stop()))
  }
}
