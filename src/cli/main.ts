#!/usr/bin/env node
/** `underpin`: the command line. An application like any other: it imports the public surface only. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { isUnderpinError } from '../index.ts'
import { conformance, verify } from './command/check.ts'
import { doctor } from './command/doctor.ts'
import { get, list, put } from './command/documents.ts'
import { exportDomain } from './command/export.ts'
import { importFile } from './command/import.ts'
import { info } from './command/info.ts'
import { append, read, tail } from './command/streams.ts'
import { exit, exitCodeOf } from './exit.ts'
import { fieldValue, fieldValues, numberOr, seconds, wholeNumber } from './input.ts'
import { Output, type Summary } from './output.ts'
import type { GlobalFlags } from './session.ts'

const interrupt = new AbortController()

/** `| head -1` closes the pipe: there is nobody left to tell anything, and nothing went wrong. */
process.stdout.on('error', (error: { code?: string }) => {
  if (error.code === 'EPIPE') process.exit(exit.ok)
  throw error
})
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    interrupt.abort()
    // A second one does not wait for the work to reach a safe end; what was acknowledged is safe either way.
    process.once(signal, () => process.exit(exit.interrupted))
  })

/** Runs a command, prints what came of it, and sets the exit code. */
async function run<F extends GlobalFlags>(
  command: Command,
  work: (flags: F, output: Output) => Promise<Summary>,
  exitWhenNotOk: number = exit.failure,
): Promise<void> {
  const flags = command.optsWithGlobals() as F
  const output = new Output(flags)
  try {
    const summary = await work(flags, output)
    await output.finish(summary)
    process.exitCode = interrupt.signal.aborted
      ? exit.interrupted
      : summary.isOk === false
        ? exitWhenNotOk
        : exit.ok
  } catch (error) {
    output.fail(error)
    process.exitCode = interrupt.signal.aborted
      ? exit.interrupted
      : isUnderpinError(error)
        ? exitCodeOf(error.code)
        : exit.failure
  }
}

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

const program = new Command('underpin')
  .description('Durable state: look into a store, change it, copy it, prove it.')
  .version(version)
  .addOption(new Option('-s, --store <url>', 'the store, for example sqlite:./app.db').env('UNDERPIN_STORE'))
  .addOption(
    new Option('-d, --domain <name>', 'the domain; may be left out when there is one').env('UNDERPIN_DOMAIN'),
  )
  .option('--json', 'print JSON: records line by line, then one envelope')
  .option('-q, --quiet', 'print results only')
  .option('--no-progress', 'show no progress')
  .option('--timeout <seconds>', 'end every call to the store within this time', seconds)
  .showSuggestionAfterError()
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  underpin info -s sqlite:./app.db
  underpin append orders-1 -s sqlite:./app.db --type placed --data '{"total":42}' --expect none
  underpin tail -s sqlite:./app.db --after 0 --no-follow --json | jq .type
  underpin export orders.ndjson.gz -s sqlite:./app.db -d orders
  underpin verify -s sqlite:./app.db

Exit codes: 0 done, 1 failure, 2 usage, 4 a verification found a difference, 5 conflict, 6 store out of reach, 130 interrupted.`,
  )

program
  .command('info')
  .description('what the store can do, its domains, their heads and digests')
  .action((_, command) => run(command, info))

program
  .command('append <stream>')
  .description('append one event')
  .requiredOption('--type <type>', 'the type of the event')
  .requiredOption('--data <json>', 'the data: JSON, @FILE, or - for standard input')
  .option('--meta <json>', 'who, why, from what: a JSON object')
  .option('--expect <seq>', 'the last seq of the stream: a number, none or some', numberOr('none', 'some'))
  .option('--id <id>', 'append once, however often this is run')
  .option('--create', 'make the store and the domain if they are not there')
  .action((stream, _, command) =>
    run(command, (flags: Parameters<typeof append>[1]) => append(stream, flags)),
  )

program
  .command('read <stream>')
  .description('the events of a stream')
  .option('--after <seq>', 'only events with a higher seq', wholeNumber)
  .option('--before <seq>', 'only events with a lower seq', wholeNumber)
  .option('--limit <n>', 'at most so many', wholeNumber)
  .option('--backwards', 'the last first')
  .action((stream, _, command) =>
    run(command, (flags: Parameters<typeof read>[1], output) => read(stream, flags, output)),
  )

program
  .command('tail')
  .description('the changes of a domain as they come, until interrupted')
  .option(
    '--after <position>',
    'begin behind this position (0: from the start); the head if left out',
    wholeNumber,
  )
  .option('--stream <prefix>', 'only events of streams that begin with this')
  .option('--type <types>', 'only events of these types, separated by commas')
  .option('--limit <n>', 'end after so many', wholeNumber)
  .option('--no-follow', 'end at the head; begins at 0 if --after is left out')
  .action((_, command) =>
    run(command, (flags: Parameters<typeof tail>[0], output) => tail(flags, output, interrupt.signal)),
  )

program
  .command('get <collection> <id>')
  .description('a document')
  .action((collection, id, _, command) => run(command, (flags) => get(collection, id, flags)))

program
  .command('put <collection> <id>')
  .description('put a document')
  .requiredOption('--data <json>', 'the value: JSON, @FILE, or - for standard input')
  .option(
    '--expect <revision>',
    'the revision it has: a number, absent or present',
    numberOr('absent', 'present'),
  )
  .option('--expires-at <time>', 'from when on it counts as absent, in ISO 8601')
  .option('--id <id>', 'put once, however often this is run')
  .option('--create', 'make the store, the domain and the collection if they are not there')
  .action((collection, id, _, command) =>
    run(command, (flags: Parameters<typeof put>[2]) => put(collection, id, flags)),
  )

program
  .command('list <collection>')
  .description('the documents of a collection, by id or in the order of an index')
  .option('--prefix <text>', 'only ids that begin with this')
  .option('--index <name>', 'in the order of a declared index')
  .option('--equals <values>', 'the first fields of the index, separated by commas', fieldValues)
  .option('--from <value>', 'the next field from this value on', fieldValue)
  .option('--below <value>', 'the next field below this value', fieldValue)
  .option('--backwards', 'the last first')
  .option('--limit <n>', 'at most so many', wholeNumber)
  .action((collection, _, command) =>
    run(command, (flags: Parameters<typeof list>[1], output) => list(collection, flags, output)),
  )

program
  .command('import <file>')
  .description(
    'NDJSON (plain or gzip, - for standard input) into a domain; run again, it goes on where it ended',
  )
  .option('--name <name>', 'under which its progress is kept; the name of the file if left out')
  .option('--create', 'make the store and the domain if they are not there')
  .action((file, _, command) =>
    run(command, (flags: Parameters<typeof importFile>[1], output) =>
      importFile(file, flags, output, interrupt.signal),
    ),
  )

program
  .command('export <file>')
  .description('a domain as NDJSON (- for standard output)')
  .option('--gzip', 'pack it; so is a file whose name ends with .gz')
  .option('--resume', 'go on with an export that was stopped')
  .option('--force', 'replace a file that is there')
  .action((file, _, command) =>
    run(command, (flags: Parameters<typeof exportDomain>[1]) => exportDomain(file, flags, interrupt.signal)),
  )

program
  .command('verify')
  .description('recompute the checksum of every record and the digest of every domain')
  .action((_, command) => run(command, (flags) => verify(flags, interrupt.signal), exit.mismatch))

program
  .command('doctor')
  .description('what on this machine or in this store could break a promise')
  .action((_, command) => run(command, doctor))

program
  .command('conformance [url]')
  .description('put a store to the laws, in scratch domains, and print the scoreboard')
  .action((url, _, command) => run(command, (flags, output) => conformance(url, flags, output)))

try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof CommanderError)) throw error
  process.exitCode = error.exitCode === 0 ? exit.ok : exit.usage
}
