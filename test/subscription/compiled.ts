/** The worker as plain JavaScript: a process that is started hundreds of times must not compile itself each time. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
let made: string | undefined

/** Compiles it once; removed together with node_modules/.cache. */
export function compiledWorker(): string {
  made ??= compile()
  return join(made, 'test/subscription/worker.js')
}

function compile(): string {
  const cache = join(root, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'underpin-worker-'))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const worker = fileURLToPath(new URL('./worker.ts', import.meta.url))
  const options = '--noCheck --rewriteRelativeImportExtensions --module nodenext --target es2022'.split(' ')
  const args = [tsc, worker, '--ignoreConfig', '--outDir', folder, '--rootDir', root, ...options]
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`The worker cannot be compiled: ${stdout}`)
  cpSync(join(root, 'src'), join(folder, 'src'), { recursive: true, filter: (path) => !path.endsWith('.ts') })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  return folder
}
