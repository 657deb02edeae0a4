/** Runs commands of the built command line in a thread that has it loaded: what a process of its own needs half a second of work for. */
import { Readable } from 'node:stream'
import { workerData } from 'node:worker_threads'
import { runCommandLine } from '../dist/cli/command-line.js'

const { port, done } = workerData
const never = new AbortController().signal
const given = { ...process.env }

port.on('message', async ({ args, input, env }) => {
  const printed = { out: '', err: '' }
  process.argv = ['node', 'underpin', ...args]
  process.env = { ...given, ...env }
  process.stdout.write = takeInto(printed, 'out')
  process.stderr.write = takeInto(printed, 'err')
  Object.defineProperty(process, 'stdin', {
    value: Readable.from(input.length === 0 ? [] : [input]),
    configurable: true,
  })
  try {
    port.postMessage({ code: await runCommandLine(args, never), ...printed })
  } catch (error) {
    port.postMessage({ error })
  }
  Atomics.store(done, 0, 1)
  Atomics.notify(done, 0)
})

function takeInto(printed, name) {
  return (text) => {
    printed[name] += text
    return true
  }
}
