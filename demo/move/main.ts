/**
 * A domain moves from a SQLite file to PostgreSQL while several processes write to it: there, back, there again and for
 * good, by the commands of `underpin move`. Then every acknowledged commit is looked for.
 * Run: `npm run demo -- move [--writers N] [--records N] [--to URL] [--keep]`.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { openStore, type Store } from 'underpin'
import { startPostgres } from '../../scripts/postgres-server.ts'
import type { Check } from '../check.ts'
import { UsageError } from '../git.ts'
import { printChecks, printLine, printTitle } from '../report.ts'
import { checkAll } from './check.ts'
import { Crew } from './crew.ts'
import { deadlineMs, domainName, domains, olderStreams, type Places } from './model.ts'
import { Operator } from './operator.ts'

interface Options {
  readonly writers: number
  readonly records: number
  /** The store to move to; a PostgreSQL server that is started for it, if left out. */
  readonly to: string | undefined
  readonly keep: boolean
}

type DemoStore = Store<typeof domains>

const callersEach = 4
const restMs = 10

/** Returns whether everything is equal. */
export async function moveDemo(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args)
  const folder = await mkdtemp(join(tmpdir(), 'underpin-move-'))
  const server = options.to === undefined ? await startPostgres() : undefined
  try {
    printTitle('A live domain moves to another store, and back, and there')
    if (typeof server === 'string') printLine('note', `${server}. So it moves to another SQLite file.`)
    const own = typeof server === 'object' ? schemaOf(server.url) : `sqlite:${join(folder, 'new.db')}`
    const places = { old: `sqlite:${join(folder, 'old.db')}`, new: options.to ?? own }
    return await run(options, places)
  } finally {
    if (typeof server === 'object') await server.stop()
    if (!options.keep) await rm(folder, { recursive: true, force: true })
  }
}

/** A server that was not started here may hold anything: the demo keeps to a schema of its own. */
function schemaOf(url: string): string {
  const own = new URL(url)
  own.searchParams.set('schema', `underpin_demo_${randomBytes(4).toString('hex')}`)
  return own.href
}

function readOptions(args: readonly string[]): Options {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        writers: { type: 'string', default: '4' },
        records: { type: 'string', default: '100000' },
        to: { type: 'string' },
        keep: { type: 'boolean', default: false },
      },
    })
    const writers = wholeNumber('writers', values.writers, 32)
    const records = wholeNumber('records', values.records, 100_000_000)
    return { writers, records, to: values.to, keep: values.keep }
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError(
      `${(error as Error).message}\nUsage: npm run demo -- move [--writers N] [--records N] [--to URL] [--keep]`,
    )
  }
}

function wholeNumber(name: string, text: string, most: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= most) return value
  throw new UsageError(`--${name} takes a number from 1 to ${most}, not ${text}.`)
}

async function run({ writers, records }: Options, places: Places): Promise<boolean> {
  await using store = await openStore({ ...places }, { domains, deadlineMs })
  await fill(store, records)
  const crew = new Crew()
  const operator = new Operator(places)
  try {
    for (let writer = 1; writer <= writers; writer++)
      crew.start({ places, writer, callers: callersEach, restMs })
    await crew.working(writers * callersEach)
    printLine(
      'writers',
      `${writers} processes with ${callersEach} callers each; they know both stores by name`,
    )
    await there(operator, crew)
    await crew.stop()
    printLine('stopped', `the writers, after ${crew.commits} acknowledged commits and no error`)
    const isEqual = await digestsMeet(store)
    await operator.rest()
    await operator.run(['complete', '--yes', '--confirm', domainName])
    await operator.run(['report'])
    const backend = store.backends.get('new')
    if (backend === undefined) throw new Error('The store has no backend named new')
    const checks: readonly Check[] = [
      isEqual,
      ...(await checkAll(store.domain(domainName), backend, crew.acknowledged)),
    ]
    printChecks(checks)
    return checks.every((found) => found.isEqual)
  } finally {
    crew.kill()
    await operator.rest()
  }
}

/** There, back, and there again, under the writers. */
async function there(operator: Operator, crew: Crew): Promise<void> {
  const confirmed = ['--yes', '--confirm', domainName]
  await operator.run(['plan'])
  await operator.run(['start', '--until-caught-up'])
  tellWaits(crew, 'while it was copied')
  operator.mirror()
  await operator.run(['verify'])
  crew.takeWaits()
  for (const verb of ['cutover', 'rollback', 'cutover']) {
    await operator.run(verb === 'cutover' ? [verb, ...confirmed] : [verb])
    await pause(2_000)
    tellWaits(crew, `around the ${verb}`)
  }
  await operator.run(['status'])
}

function tellWaits(crew: Crew, when: string): void {
  const waits = crew.takeWaits()
  const at = (part: number) =>
    (waits[Math.min(waits.length - 1, Math.floor(waits.length * part))] ?? 0).toFixed(1)
  printLine(
    'writers',
    `${waits.length} commits ${when}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`,
  )
}

/** What the application wrote before the move was thought of. */
async function fill(store: DemoStore, records: number): Promise<void> {
  const { log } = store.domain(domainName)
  const began = performance.now()
  const each = Math.ceil(records / olderStreams)
  const text = 'what was there before'
  for (let stream = 0; stream < olderStreams; stream++)
    for (let n = 1; n <= each; n += 1_000) {
      const size = Math.min(1_000, each - n + 1)
      const notes = Array.from(
        { length: size },
        (_, i) => ({ type: 'noted', data: { n: n + i, text } }) as const,
      )
      await log.append(`older-${stream}`, notes)
    }
  printLine(
    'filled',
    `${each * olderStreams} events in ${((performance.now() - began) / 1_000).toFixed(1)} s`,
  )
}

/** Nobody writes any more: the old side arrives at the same head, with the same digest. */
async function digestsMeet(store: DemoStore): Promise<Check> {
  const [before, after] = [store.backends.get('old'), store.backends.get('new')]
  if (before === undefined || after === undefined) throw new Error('The store lacks one of its backends')
  for (const until = performance.now() + deadlineMs; ; await pause(50)) {
    const [old, next] = [await before.fence(domainName), await after.fence(domainName)]
    if (old.head === next.head || performance.now() > until) {
      const what = `digest of both sides at head ${next.head}`
      return {
        what,
        found: old.digest === next.digest ? old.digest : 'DIFFERENT',
        isEqual: old.head === next.head && old.digest === next.digest,
      }
    }
  }
}
