#!/usr/bin/env node
/** `underpin`: the command line. An application like any other: it imports the public surface only. */
import { runCommandLine } from './command-line.ts'
import { exit } from './exit.ts'

const interrupt = new AbortController()

/** `| head -1` closes the pipe: there is nobody left to tell anything, and nothing went wrong. */
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: { code?: string }) => {
    process.exit(error.code === 'EPIPE' ? exit.ok : exit.failure)
  })

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    interrupt.abort()
    // A second one does not wait for the work to reach a safe end; what was acknowledged is safe either way.
    process.once(signal, () => process.exit(exit.interrupted))
  })

process.exitCode = await runCommandLine(process.argv.slice(2), interrupt.signal)
