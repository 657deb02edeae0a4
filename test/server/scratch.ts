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
  const url = 'url' in server ? server.url : ''
  const scratch = { url } as { -readonly [K in keyof Scratch]: Scratch[K] }
  beforeEach(async ({ skip }) => {
    if ('reason' in server) skip(server.reason)
    scratch.schema = `t_${randomBytes(4).toString('hex')}`
    scratch.admin = new pg.Client(url)
    await scratch.admin.connect()
    return () => clear(scratch)
  })
  return scratch
}

async function clear({ schema, admin }: Scratch): Promise<void> {
  await admin.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`)
  await admin.end()
}
