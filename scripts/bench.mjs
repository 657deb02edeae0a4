// `npm run bench`: builds, installs the peers into bench/ (their drivers are compiled the first time), and measures.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

function run(command, args, cwd = root) {
  const { status } = spawnSync(command, args, { cwd, stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}

run(process.execPath, ['scripts/build.mjs'])
if (!existsSync(`${root}/bench/node_modules/graphile-worker`)) {
  console.log('Installing the peers; compiling their drivers takes some minutes the first time.')
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts=false'], `${root}/bench`)
}
run(process.execPath, ['--import', 'tsx', 'bench/main.ts', ...process.argv.slice(2)])
