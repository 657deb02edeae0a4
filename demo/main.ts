/**
 * The main job on real input: the history of a git repository, written by several processes into one SQLite file, one of
 * which is killed on the way; then everything is counted again. Run: `npm run demo -- [--repo PATH] [--writers N] [--keep]`.
 * `npm run demo -- move` is another one: a live domain moves to another store.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openStore, type Store, verifyDomain } from 'underpin'
import {
  type Check,
  check,
  countFeed,
  countWrongAuthors,
  countWrongFiles,
  examine,
  type History,
  type Remains,
} from './check.ts'
import { Writer } from './crew.ts'
import { resolveHead, UsageError } from './git.ts'
import { deadlineMs, domainName, domains } from './model.ts'
import { moveDemo } from './move/main.ts'
import { makePlan, type Plan } from './plan.ts'
import { recountAuthors } from './recount.ts'
import { printChecks, printFiles, printLine, printTitle } from './report.ts'
import type { WriterJob } from './writer.ts'

interface Options {
  readonly repo: string
  readonly writers: number
  readonly keep: boolean
}

process.exitCode = await main()

/** Returns the exit code: 0 if everything is equal, 1 if not, 2 if there is nothing to read. */
async function main(): Promise<number> {
  try {
    if (process.argv[2] === 'move') return (await moveDemo(process.argv.slice(3))) ? 0 : 1
    const options = readOptions()
    const head = await resolveHead(options.repo)
    const folder = await mkdtemp(join(tmpdir(), 'underpin-demo-'))
    try {
      return (await run(options, head, folder)) ? 0 : 1
    } finally {
      if (!options.keep) await rm(folder, { recursive: true, force: true })
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(error.message)
    return 2
  }
}

function readOptions(): Options {
  const own = fileURLToPath(new URL('..', import.meta.url))
  try {
    const { values } = parseArgs({
      options: {
        repo: { type: 'string', default: own },
        writers: { type: 'string', default: '3' },
        keep: { type: 'boolean', default: false },
      },
    })
    const writers = Number(values.writers)
    if (!Number.isInteger(writers) || writers < 1 || writers > 32)
      throw new UsageError(`--writers takes a number from 1 to 32, not ${values.writers}.`)
    return { repo: resolve(values.repo), writers, keep: values.keep }
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError(
      `${(error as Error).message}\nUsage: npm run demo -- [--repo PATH] [--writers N] [--keep]`,
    )
  }
}

async function run(options: Options, head: string, folder: string): Promise<boolean> {
  const { repo, writers, keep } = options
  printTitle(`The git history of ${repo} at ${head.slice(0, 10)}`)
  const plan = await makePlan(repo, head, folder, writers)
  printLine('read', `${plan.commits} commits, ${plan.changes} changes of files`)
  const url = `sqlite:${join(folder, 'history.db')}`
  await using store = await openStore(url, { domains, deadlineMs })
  const history: History = store.domain(domainName)
  const remains = await writeAll(history, plan, url)
  const checks = await checkAll(store, history, plan, remains, recountAuthors(repo, head))
  printChecks(checks)
  const { documents } = await history
    .documents('files')
    .list({ index: 'by_changes', backwards: true, limit: 10 })
  printFiles(documents)
  if (keep) printLine('kept', `npx underpin info -s '${url}'`)
  return checks.every(({ isEqual }) => isEqual)
}

/** Starts the writers, kills the busiest in the middle, looks at what it left, and lets another take over its list. */
async function writeAll(history: History, plan: Plan, url: string): Promise<Remains> {
  const busiest = plan.items.indexOf(Math.max(...plan.items))
  // One commit of git in one transaction; of a long history several, so that it takes some thousand transactions.
  const commitsAtOnce = Math.min(50, Math.ceil(plan.commits / 1_000))
  const jobs = plan.lists.map((list, i): WriterJob => {
    const items = plan.items[i] ?? 0
    return { url, name: `writer-${i + 1}`, list, items, commitsAtOnce, isDoomed: i === busiest }
  })
  const writers = jobs.map((job) => new Writer(job))
  try {
    await Promise.all(writers.map((writer) => writer.ready()))
    const began = performance.now()
    const [victim, others] = [writers[busiest] as Writer, writers.filter((_, i) => i !== busiest)]
    const othersFinished = Promise.allSettled(others.map((writer) => writer.finished()))
    for (const writer of others) writer.go()
    await victim.goAndDie(Math.floor(victim.job.items / 2))
    const remains = await examine(history, plan.order, victim.job, victim.acknowledged)
    printLine(
      'killed',
      `${victim.job.name} with SIGKILL after ${victim.transactions} acknowledged transactions; it left ${remains.found + remains.unheard} changes`,
    )
    const successor = new Writer({ ...victim.job, isDoomed: false })
    writers.push(successor)
    successor.go()
    await successor.finished()
    for (const result of await othersFinished) if (result.status === 'rejected') throw result.reason
    printWritten(plan, writers, performance.now() - began, commitsAtOnce)
    return remains
  } finally {
    for (const writer of writers) writer.stop()
  }
}

function printWritten(plan: Plan, writers: readonly Writer[], ms: number, commitsAtOnce: number): void {
  const transactions = writers.reduce((sum, writer) => sum + writer.transactions, 0)
  const reruns = writers.reduce((sum, writer) => sum + writer.reruns, 0)
  const perSecond = Math.round((plan.changes / ms) * 1_000)
  printLine(
    'written',
    `${plan.changes} events by ${counted(writers.length - 1, 'process', 'processes')} and a successor in ${(ms / 1_000).toFixed(1)} s: ${perSecond} events/s, kill and restart included`,
  )
  printLine(
    'commits',
    `${transactions} acknowledged transactions, up to ${counted(commitsAtOnce, 'git commit', 'git commits')} in each, each synced to the disk; ${reruns} ran again because writers met at an author's document`,
  )
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`
}

async function checkAll(
  store: Store<typeof domains>,
  history: History,
  plan: Plan,
  remains: Remains,
  recount: ReturnType<typeof recountAuthors>,
): Promise<readonly Check[]> {
  const [backend] = store.backends.values()
  if (backend === undefined) throw new Error('The store has no backend')
  const authors = await recount
  const feed = await countFeed(history, plan.order)
  const verified = await verifyDomain(backend, domainName)
  const counted = [...authors.values()].reduce((sum, { changes }) => sum + changes, 0)
  printLine(
    'holds',
    `${verified.events} events in ${feed.files.size} streams, ${verified.documents} documents`,
  )
  return [
    check(
      `of ${remains.acknowledged} changes acknowledged before the kill, found after it`,
      remains.found,
      remains.acknowledged,
    ),
    check('half transactions after the kill', remains.half, 0),
    check('doubled changes', feed.doubled, 0),
    check("events out of git's order", feed.disordered, 0),
    check('events, recounted by git', feed.events, counted),
    check(
      'authors whose document differs from the recount by git',
      await countWrongAuthors(history, authors),
      0,
    ),
    check('files whose document differs from their stream', await countWrongFiles(history, feed.files), 0),
    check('damaged records', verified.damaged.length, 0),
    check('digest, summed up from the feed', verified.found, verified.digest),
  ]
}
