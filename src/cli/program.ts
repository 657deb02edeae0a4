/** The commands with their arguments, options and help. */
import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { maskSecrets } from '../index.ts'
import { commandWith, sameCommand } from './again.ts'
import { conformance, verify } from './command/check.ts'
import { doctor } from './command/doctor.ts'
import { get, type ListFlags, list, type PutFlags, put } from './command/documents.ts'
import { type ExportFlags, exportDomain } from './command/export.ts'
import { type ImportFlags, importFile } from './command/import.ts'
import { info } from './command/info.ts'
import { type MigrateFlags, migrate } from './command/migrate.ts'
import { checkSchema, type SchemaFlags } from './command/schema.ts'
import { type AppendFlags, append, type ReadFlags, read, type TailFlags, tail } from './command/streams.ts'
import { type ExitCode, exit } from './exit.ts'
import { fieldValue, fieldValues, numberOr, positiveNumber, seconds, time, wholeNumber } from './input.ts'
import { addMoves } from './move/program.ts'
import { type Run, toRun } from './run.ts'

/** All of `underpin`. The signal aborts when the command is interrupted; `end` is told its exit code. */
export function toProgram(signal: AbortSignal, end: (code: ExitCode) => void): Command {
  const program = new Command('underpin')
  const run = toRun(signal, end)
  addGlobalOptions(program)
  program.helpCommand('help [command]', 'the help of a command')
  addLooking(program, run, signal)
  addChanging(program, run)
  addMigrating(program, run)
  addCopying(program, run, signal)
  addProving(program, run, signal)
  addMoves(program, run, signal)
  return program
}

function addGlobalOptions(program: Command): void {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  const store = new Option('-s, --store <url>', 'the store, for example sqlite:./app.db')
  const domain = new Option('-d, --domain <name>', 'the domain; may be left out when there is one')
  program
    .description('Durable state: look into a store, change it, copy it, prove it, move it.')
    .version(version)
    .addOption(store.env('UNDERPIN_STORE'))
    .addOption(domain.env('UNDERPIN_DOMAIN'))
    .option('--json', 'print JSON: records line by line, then one envelope')
    .option('-q, --quiet', 'print results only')
    .option('-v, --verbose', 'print also times, and where errors come from')
    .option('-y, --yes', 'confirm: replace a file, use a store that is in use')
    .option('--no-progress', 'show no progress')
    .option('--no-color', 'use no colors (so does the variable NO_COLOR)')
    .option('--timeout <seconds>', 'end every call to the store within this time; 10 if left out', seconds)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(maskSecrets(text)) })
    .addHelpText('after', examples)
}

const examples = `
Examples:
  underpin info -s sqlite:./app.db
  underpin append order-1 -s sqlite:./app.db -d orders --create --type placed --data '{"total":42}'
  underpin tail -s sqlite:./app.db --no-follow --json | jq .type
  underpin export orders.ndjson.gz -s sqlite:./app.db -d orders
  underpin verify -s sqlite:./app.db
  underpin migrate -s postgres://owner@localhost/app --domains ./dist/domains.js --grant app
  underpin move status -s sqlite:./app.db --to postgres://localhost/app -d orders

Exit codes: 0 done, 1 failure, 2 usage or confirmation needed, 3 pending, 4 a verification found a difference,
5 conflict, 6 store out of reach, 7 a gate of a move is in the way, 130 interrupted.`

function addLooking(program: Command, run: Run, signal: AbortSignal): void {
  program
    .command('info')
    .description('what the store can do, its domains, their heads and digests')
    .action((_, command) => run(command, info))
  program
    .command('read <stream>')
    .description('the events of a stream')
    .option('--from <seq>', 'begin at this seq', wholeNumber)
    .option('--to <seq>', 'end at this seq', wholeNumber)
    .option('--limit <n>', 'at most so many', positiveNumber)
    .option('--backwards', 'the last first')
    .action((stream, _, command) => run(command, (flags: ReadFlags, output) => read(stream, flags, output)))
  program
    .command('tail')
    .description('the changes of a domain as they come, until interrupted')
    .option(
      '--from <position>',
      'begin at this position (0: the start); behind the head if left out',
      wholeNumber,
    )
    .option('--stream <prefix>', 'only events of streams that begin with this')
    .option('--type <types>', 'only events of these types, separated by commas')
    .option('--limit <n>', 'end after so many', positiveNumber)
    .option('--no-follow', 'end at the head; begins at the start if --from is left out')
    .action((_, command) => run(command, (flags: TailFlags, output) => tail(flags, output, signal)))
  program
    .command('get <collection> <id>')
    .description('a document; exit code 1 if it is not there')
    .action((collection, id, _, command) => run(command, (flags) => get(collection, id, flags)))
  program
    .command('list <collection>')
    .description('the documents of a collection, by id or in the order of an index')
    .option('--prefix <text>', 'only ids that begin with this')
    .option('--index <name>', 'in the order of a declared index')
    .option('--equals <values>', 'the first fields of the index, separated by commas', fieldValues)
    .option('--from <value>', 'the next field from this value on', fieldValue)
    .option('--below <value>', 'the next field below this value', fieldValue)
    .option('--backwards', 'the last first')
    .option('--limit <n>', 'at most so many', positiveNumber)
    .option('--after <cursor>', 'go on where a list with --limit ended')
    .action((collection, _, command) =>
      run(command, (flags: ListFlags, output) => list(collection, flags, output)),
    )
}

function addChanging(program: Command, run: Run): void {
  const seq = numberOr('none', 'some')
  const revision = numberOr('absent', 'present')
  program
    .command('append <stream>')
    .description('append one event')
    .requiredOption('--type <type>', 'the type of the event')
    .requiredOption('--data <json>', 'the data: JSON, @FILE, or - for standard input')
    .option('--meta <json>', 'who, why, from what: a JSON object')
    .option('--expect <seq>', 'the last seq of the stream: a number, none or some', seq)
    .option('--id <id>', 'append once, however often this is run')
    .option('--create', 'make the store and the domain if they are not there')
    .action((stream, _, command) => run(command, (flags: AppendFlags) => append(stream, flags)))
  program
    .command('put <collection> <id>')
    .description('put a document')
    .requiredOption('--data <json>', 'the value: JSON, @FILE, or - for standard input')
    .option('--expect <revision>', 'the revision it has: a number, absent or present', revision)
    .option('--expires-at <time>', 'from when on it counts as absent, in ISO 8601', time)
    .option('--id <id>', 'put once, however often this is run')
    .option('--create', 'make the store, the domain and the collection if they are not there')
    .action((collection, id, _, command) => run(command, (flags: PutFlags) => put(collection, id, flags)))
}

function addMigrating(program: Command, run: Run): void {
  program
    .command('migrate')
    .description('bring a store up to date: schema, domains (-d, several with commas), collections, rights')
    .option('--domains <module>', 'the domains as openStore takes them: a module or a JSON file')
    .option('--backend <name>', 'only domains placed on this backend')
    .option(
      '--facets',
      'the collections of locks, idempotency and the other facets too, in each of these domains',
    )
    .option('--grant <role>', 'grant this role what running needs, and no more (PostgreSQL)')
    .option('--dry-run', 'only say what would be done; exit code 3 if that is anything')
    .action((_, command) =>
      run(command, (flags: MigrateFlags) => migrate(flags), { exitWhenNotOk: () => exit.pending }),
    )
}

function addCopying(program: Command, run: Run, signal: AbortSignal): void {
  program
    .command('export <file>')
    .description('a domain as NDJSON (- for standard output)')
    .option('--gzip', 'pack it; so is a file whose name ends with .gz')
    .option('--resume', 'go on with an export that was stopped')
    .action((file, _, command) =>
      run(command, (flags: ExportFlags, output) => exportDomain(file, flags, output, signal), {
        resume: () => (file === '-' ? sameCommand() : commandWith('--resume')),
      }),
    )
  program
    .command('import <file>')
    .description(
      'NDJSON (plain or gzip, - for standard input) into a domain; run again, it goes on where it ended',
    )
    .option('--name <name>', 'under which its progress is kept; the name of the file if left out')
    .option('--create', 'make the store, the domain and the collections if they are not there')
    .action((file, _, command) =>
      run(command, (flags: ImportFlags, output) => importFile(file, flags, output, signal), {
        resume: sameCommand,
      }),
    )
}

function addProving(program: Command, run: Run, signal: AbortSignal): void {
  program
    .command('verify')
    .description('recompute the checksum of every record and the digest of every domain')
    .action((_, command) =>
      run(command, (flags, output) => verify(flags, output, signal), { exitWhenNotOk: () => exit.mismatch }),
    )
  program
    .command('schema')
    .description('what the definitions of an application say of stored events')
    .command('check')
    .description('read every stored event by its definition: known version, upcasters, schema')
    .requiredOption('--domains <module>', 'the domains as openStore takes them, with defineEvents')
    .option('--failures <n>', 'show at most so many failures; 20 if left out', wholeNumber)
    .action((_, command) =>
      run(command, (flags: SchemaFlags, output) => checkSchema(flags, output, signal), {
        exitWhenNotOk: () => exit.mismatch,
      }),
    )
  program
    .command('doctor')
    .description('what on this machine or in this store could break a promise')
    .action((_, command) =>
      run(command, doctor, { exitWhenNotOk: ({ isPending }) => (isPending ? exit.pending : exit.failure) }),
    )
  program
    .command('conformance [url]')
    .description('put a store to the laws, in scratch domains, and print the scoreboard')
    .action((url, _, command) => run(command, (flags, output) => conformance(url, flags, output, signal)))
}
