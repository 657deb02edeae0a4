/** A place of its own for each test of a file, on the server that the whole run shares. */
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { beforeEach, inject } from 'vitest'

export interface Scratch {
  /** The server's; empty if there is none, and then every test is skipped. */
  readonly url: string
  /** Not made yet; dropped behind the test, with all that it holds by then. */
  readonly schema: string
  /** A session beside those of the stores. */
  readonly admin: pg.Client
}

/** For the top of a test file, whose tests run one after another. What it gives is that of the test under way. */
export function scratchForEach(): Scratch {
  const server = inject('postgres')
  const scratch = { url: 'url' in server ? server.url : '' } as Scratch
  beforeEach(async ({ skip }) => {
    if ('reason' in server) skip(server.reason)
    const opened = await openScratch(scratch.url)
    Object.assign(scratch, opened)
    return () => opened[Symbol.asyncDispose]()
  })
  return scratch
}

/** For a test that runs beside others of its file. */
export async function openScratch(url: string): Promise<Scratch & AsyncDisposable> {
  const schema = `t_${randomBytes(4).toString('hex')}`
  const admin = new pg.Client(url)
  await admin.connect()
  return {
    ...{ url, schema, admin },
    async [Symbol.asyncDispose]() {
      await admin.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`)
      await admin.end()
    },
  }
}
