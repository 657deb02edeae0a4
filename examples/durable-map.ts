/**
 * A Map and an array that survive a restart, for code that is synchronous today. Runs itself in one process after the
 * other over one file. Run: `npm run build && npx tsx examples/durable-map.ts`.
 */
import { strict as assert } from 'node:assert'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DurableArray, DurableMap, openStoreSync } from 'underpin/sync'

interface User {
  readonly name: string
  readonly visits: number
}

/** What an application does with its state. It takes a Map and does not know that it is a durable one. */
function visit(users: Map<string, User>, audit: { push(line: string): number }, name: string) {
  const visits = (users.get(name)?.visits ?? 0) + 1
  users.set(name, { name, visits })
  audit.push(`${name} came, visit ${visits}`)
}

/** One life of the application's process. */
function live(file: string, names: readonly string[]) {
  using store = openStoreSync(`sqlite:${file}`, { domains: { app: {} } })
  const users = new DurableMap<string, User>(store.domain('app'), 'users')
  const audit = new DurableArray<string>(store.domain('app'), 'audit')
  console.log(`process ${process.pid} finds ${users.size} users and ${audit.length} lines of audit`)
  for (const name of names) visit(users, audit, name)
}

function main() {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-example-'))
  try {
    const file = join(folder, 'app.db')
    for (const names of ['zoe,adam', 'adam,mia', '']) {
      const args = [...process.execArgv, fileURLToPath(import.meta.url), file, names]
      process.stdout.write(execFileSync(process.execPath, args))
    }
    check(file)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What survived is what a Map and an array would hold had the process never ended, in the same order. */
function check(file: string) {
  using store = openStoreSync(`sqlite:${file}`, { domains: { app: {} } })
  const users = new DurableMap<string, User>(store.domain('app'), 'users')
  const audit = new DurableArray<string>(store.domain('app'), 'audit')
  for (const [name, { visits }] of users) console.log(`${name}: ${visits}`)
  assert.deepEqual(
    [...users.values()].map(({ name, visits }) => [name, visits]),
    [
      ['zoe', 1],
      ['adam', 2],
      ['mia', 1],
    ],
  )
  assert.equal(audit.length, 4)
  assert.equal(audit.at(-1), 'mia came, visit 1')
  console.log('Everything survived, in its order.')
}

const [file, names] = process.argv.slice(2)
if (file === undefined) main()
else
  live(
    file,
    (names ?? '').split(',').filter((name) => name !== ''),
  )
