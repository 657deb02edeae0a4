// Run in an app's folder before it starts or is tested: installs the project and the app where that was not done yet, and
// builds the project where dist/ is missing or older than src/. So a fresh clone needs nothing else. It is part of the
// scripts `start` and `test` themselves, because npm leaves out `prestart` and `pretest` where it ignores install scripts.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const app = process.cwd()
const lock = join(root, 'apps', '.preparing')
/** By the lock file, which stays as it is; `npm ci` refuses one that was written on another platform. */
const install = ['install', '--no-save', '--ignore-scripts']

// Two apps that are started at once in a fresh clone: one prepares, the other waits and finds it done.
if (!isReady()) {
  await takeLock()
  try {
    for (const folder of [root, app]) if (!isInstalled(folder)) run('npm', install, folder)
    if (!isBuilt()) run(process.execPath, [join(root, 'scripts', 'build.mjs')], root)
  } finally {
    rmSync(lock, { force: true })
  }
}

function isReady() {
  return isInstalled(root) && isInstalled(app) && isBuilt()
}

/** npm writes this file when it has finished: an install that was broken off is made again. */
function isInstalled(folder) {
  return existsSync(join(folder, 'node_modules', '.package-lock.json'))
}

/** Making the command executable is the last thing that the build does. */
function isBuilt() {
  const command = statSync(join(root, 'dist', 'cli', 'main.js'), { throwIfNoEntry: false })
  const isWhole = command !== undefined && (command.mode & 0o100) !== 0
  return isWhole && newest(join(root, 'src')) <= newest(join(root, 'dist'))
}

function newest(folder) {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return Math.max(...files.map((file) => statSync(join(folder, file)).mtimeMs))
}

function run(command, args, cwd) {
  console.error(`Preparing: ${command === 'npm' ? 'npm install' : 'the build'} in ${cwd}`)
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw error ?? new Error(`${command} ${args.join(' ')} failed in ${cwd}`)
}

async function takeLock() {
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      return
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
      if (isLeftBehind()) rmSync(lock, { force: true })
      await pause(100)
    }
  }
}

/** Whether the process that took the lock is gone; text that is not written yet counts as somebody's. */
function isLeftBehind() {
  try {
    const pid = readFileSync(lock, 'utf8')
    if (pid !== '') process.kill(Number(pid), 0)
    return false
  } catch (error) {
    // Removed by its owner since we met it: whoever has it by now must keep it.
    if (error.code === 'ENOENT') return false
    if (error.code !== 'ESRCH') throw error
    return true
  }
}
