/** `npm run smoke`: starts the app as a user would, runs the walk through of README.md as it is printed there, and stops it. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const app = fileURLToPath(new URL('..', import.meta.url))
const walk = /<!-- walk -->\s*```sh\n(.*?)```/s.exec(readFileSync(join(app, 'README.md'), 'utf8'))?.[1]
if (walk === undefined) throw new Error('README.md has no walk through')

const folder = mkdtempSync(join(tmpdir(), 'streampay-smoke-'))
const server = spawn('npm', ['start'], {
  cwd: app,
  env: {
    ...process.env,
    PORT: '0',
    DATABASE_URL: `sqlite:${join(folder, 'streampay.db')}`,
    EXPORT_FOLDER: join(folder, 'exports'),
    EXPORT_SECRET: 'a secret of more than thirty-two bytes',
  },
  stdio: ['ignore', 'pipe', 'inherit'],
})
const exited = once(server, 'exit')
try {
  const address = await addressOf()
  const { status } = spawnSync('bash', ['-euo', 'pipefail', '-c', walk], {
    cwd: folder,
    env: { ...process.env, A: address },
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error(`The walk through ended with ${status}`)
  server.kill('SIGTERM')
  await exited
  const isGone = await fetch(address).then(
    () => false,
    () => true,
  )
  if (!isGone) throw new Error('The server goes on behind SIGTERM')
  console.log('smoke: the walk through works, and the server ends when it is told to')
} finally {
  server.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}

async function addressOf(): Promise<string> {
  for await (const line of createInterface({ input: server.stdout })) {
    const [, address] = /listens on (http:\/\/\S+),/.exec(line) ?? []
    if (address !== undefined) return address
  }
  throw new Error('The server did not start')
}
