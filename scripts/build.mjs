// Compiles src/ to dist/, copies the SQL migrations beside the code that reads them, makes the command executable.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
rmSync(`${root}/dist`, { recursive: true, force: true })
const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url))
const { status } = spawnSync(process.execPath, [tsc, '-p', `${root}/tsconfig.build.json`], {
  stdio: 'inherit',
})
if (status !== 0) process.exit(status ?? 1)
cpSync(`${root}/src`, `${root}/dist`, { recursive: true, filter: (path) => !path.endsWith('.ts') })
chmodSync(`${root}/dist/cli/main.js`, 0o755)
