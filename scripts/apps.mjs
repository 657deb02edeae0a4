// `node scripts/apps.mjs check|test`: type-checks every app with its own tsconfig, or runs `npm test` in its folder.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
const commands = {
  check: [
    [process.execPath, [join(root, 'apps', 'prepare.mjs')]],
    [process.execPath, [tsc, '--noEmit', '-p', 'tsconfig.json']],
  ],
  test: [['npm', ['test']]],
}
const steps = commands[process.argv[2]]
if (steps === undefined) throw new Error(`Usage: node scripts/apps.mjs ${Object.keys(commands).join('|')}`)

const apps = readdirSync(join(root, 'apps')).filter((app) =>
  existsSync(join(root, 'apps', app, 'package.json')),
)
for (const app of apps) {
  console.log(`== apps/${app}: ${process.argv[2]}`)
  const isGood = steps.every(
    ([command, args]) =>
      spawnSync(command, args, { cwd: join(root, 'apps', app), stdio: 'inherit' }).status === 0,
  )
  if (!isGood) process.exitCode = 1
}
