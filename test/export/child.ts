/** Leads the life of an export and kills itself at one of its steps; a line on stdout says how far it came. */
import { writeSync } from 'node:fs'
import type { Backend } from '../../src/backend/backend.ts'
import { openBackend, openStore } from '../../src/index.ts'
import { watchFiles, watchSteps } from '../blob/steps.ts'
import { domains, live, openExports } from './life.ts'

const [url = '', folder = '', id = '', at = ''] = process.argv.slice(2)
let steps = 0

function step(what: string): void {
  if (++steps !== Number(at)) return
  writeSync(1, `killed at ${what}\n`)
  process.kill(process.pid, 'SIGKILL')
  // The signal is there before this call returns, but it need not be.
  for (;;);
}

const backend = await openBackend(url)
const commit = backend.commit.bind(backend)
;(backend as { commit: Backend['commit'] }).commit = async (...args) => {
  step('the beginning of a commit')
  const outcomes = await commit(...args)
  step('the end of a commit')
  return outcomes
}
const store = await openStore(backend, { domains })
const exports = await openExports(store.domain('app'), folder)
await watchFiles()
watchSteps((call) => {
  if (/^(open .*incoming|write|rename)/.test(call)) step(`a file's ${call.split(' ')[0]}`)
})
const bytes = await live(exports, id)
writeSync(1, `ended after ${steps} steps with ${bytes.length} bytes\n`)
await store.close()
