/** Commits once with a table of its own, then kills itself in the handler of the second commit. */
import { openStoreSync } from '../../src/sync.ts'

const store = openStoreSync(`sqlite:${process.argv[2]}`, { domains: { app: {} } })
for (const n of [1, 2]) {
  store.domain('app').transaction((tx) => {
    tx.append('s', { type: 'x', data: n })
    tx.tables((handle: { exec(sql: string): unknown }) => {
      if (n === 1) handle.exec('CREATE TABLE own (n INTEGER)')
      handle.exec(`INSERT INTO own VALUES (${n})`)
      if (n === 2) process.kill(process.pid, 'SIGKILL')
    })
  })
}
