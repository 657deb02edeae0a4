/** Programs of tests as plain JavaScript: a process that is started hundreds of times must not compile itself each time. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))
const made = new Map<string, string>()

/** The subscriptions' worker. */
export function compiledWorker(): string {
  return compiled(relative(root, fileURLToPath(new URL('./worker.ts', import.meta.url))))
}

/** Compiles a program, by its path in the repository, once; removed together with node_modules/.cache. */
export function compiled(program: string): string {
  const folder = made.get(program) ?? compile(program)
  made.set(program, folder)
  return join(folder, program.replace(/\.ts$/, '.js'))
}

function compile(program: string): string {
  const cache = join(root, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'underpin-worker-'))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const options = '--noCheck --rewriteRelativeImportExtensions --module nodenext --target es2022'.split(' ')
  const args = [tsc, join(root, program), '--ignoreConfig', '--outDir', folder, '--rootDir', root, ...options]
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} cannot be compiled: ${stdout}`)
  cpSync(join(root, 'src'), join(folder, 'src'), { recursive: true, filter: (path) => !path.endsWith('.ts') })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  return folder
}
