// Type-checks the TypeScript samples of some pages of the documentation, each in a block of its own, against the built library.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = new URL('..', import.meta.url)
const folder = new URL('dist/samples/', root)

const pages = ['attending', 'moves', 'operating-moves', 'placement', 'replicas', 'repositories', 'verify']

/** What the samples take for given. */
const given = `
import type { Domain, Move, Store } from 'underpin'
import { openStore } from 'underpin'
import { PostgresFence, route } from 'underpin/repository'
import type { Pool, PoolClient } from 'pg'
declare const store: Store<{ orders: object }>
declare const move: Move
declare const domains: { orders: object }
declare const backends: Record<string, string>
declare function show(value: unknown): void
interface User { readonly name: string }
interface Users {
  get(id: string): Promise<User | undefined>
  list(): Promise<readonly User[]>
  put(id: string, user: User): Promise<void>
  remove(id: string): Promise<void>
  ids(after: string | undefined): Promise<readonly string[]>
}
declare const sqliteUsers: Users
declare const postgresUsers: Users
declare const pool: Pool
declare const client: PoolClient
`

const compilerOptions = {
  ...{ target: 'es2023', module: 'nodenext', types: ['node'], lib: ['es2023', 'esnext.disposable'] },
  ...{ strict: true, exactOptionalPropertyTypes: true, skipLibCheck: true, noEmit: true },
}

/** Whether all of them compile; what does not is printed. */
export function samplesCompile() {
  mkdirSync(folder, { recursive: true })
  try {
    for (const page of pages) writeFileSync(new URL(`${page}.ts`, folder), programOf(page))
    writeFileSync(new URL('tsconfig.json', folder), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    const tsc = fileURLToPath(new URL('node_modules/typescript/bin/tsc', root))
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', fileURLToPath(folder)], {
      encoding: 'utf8',
    })
    if (status !== 0) console.error(`Samples of docs do not compile:\n${stdout}`)
    return status === 0
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The samples stand on the lines of their page, so that an error names the right one. */
function programOf(page) {
  const imports = given.trim().split('\n')
  let isSample = false
  const lines = readFileSync(new URL(`docs/${page}.md`, root), 'utf8')
    .split('\n')
    .map((line) => {
      if (line === '```ts' || (isSample && line === '```')) {
        isSample = line === '```ts'
        return isSample ? '{' : '}'
      }
      return isSample && !line.startsWith('import ') ? line : ''
    })
  return [...lines, ...imports].join('\n')
}
