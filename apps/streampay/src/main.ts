/**
 * `npm start`: a server, configured by the environment. See README.md for what can be set. Prints where it listens; ends
 * on SIGTERM or SIGINT, when the requests under way are answered.
 */
import { randomBytes } from 'node:crypto'
import { maskSecrets } from 'underpin'
import { startServer } from './server.ts'

const {
  PORT = '8080',
  DATABASE_URL = 'sqlite:./streampay.db',
  NEXT_DATABASE_URL,
  PUBLIC_URL,
  EXPORT_FOLDER = './exports',
  EXPORT_SECRET,
  SERVER_NAME,
} = process.env

const port = Number(PORT)
if (!Number.isInteger(port) || port < 0 || port > 65_535)
  fail(`PORT must be a number from 0 to 65535, not ${JSON.stringify(PORT)}`)
if (EXPORT_SECRET !== undefined && Buffer.byteLength(EXPORT_SECRET) < 32)
  fail('EXPORT_SECRET must have 32 bytes or more: make one with openssl rand -hex 32')
if (EXPORT_SECRET === undefined)
  console.error('EXPORT_SECRET is not set: links to exports end with this process, and are good for it alone')

const server = await startServer({
  url: DATABASE_URL,
  nextUrl: NEXT_DATABASE_URL,
  port,
  publicUrl: PUBLIC_URL,
  exports: {
    folder: EXPORT_FOLDER,
    keys: [{ id: EXPORT_SECRET === undefined ? 'process' : 'env', secret: EXPORT_SECRET ?? randomBytes(32) }],
  },
  name: SERVER_NAME ?? `streampay:${process.pid}`,
  env: process.env,
  onDefect: (error) => console.error(error),
}).catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)))

const stores = [DATABASE_URL, NEXT_DATABASE_URL].filter((url) => url !== undefined).map(maskSecrets)
console.log(`streampay listens on ${server.address}, on ${stores.join(' and ')}`)

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    server.stop().then(
      () => process.exit(0),
      (error) => fail(String(error)),
    )
  })

function fail(message: string): never {
  console.error(maskSecrets(message))
  process.exit(1)
}
