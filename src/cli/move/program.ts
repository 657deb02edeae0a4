/** `underpin move …`: the commands that move domains, with their options and help. */
import { type Command, Option } from 'commander'
import {
  type MoveSummary,
  moveGaps,
  moveReport,
  moveStatus,
  type PlanFlags,
  planMove,
  type WatchFlags,
} from '../command/move.ts'
import {
  type CutFlags,
  cancelMove,
  completeMove,
  cutOver,
  drillMove,
  goMove,
  reopenMove,
  rollBack,
} from '../command/move-cutover.ts'
import {
  pauseMove,
  resumeMove,
  runMove,
  type SoakFlags,
  type StartFlags,
  setMove,
  soakMove,
  startMove,
} from '../command/move-drive.ts'
import {
  type RepairFlags,
  repairMove,
  type ShadowFlags,
  shadowMove,
  type VerifyFlags,
  verifyMove,
} from '../command/move-prove.ts'
import { exit } from '../exit.ts'
import { part, positiveNumber, secondsOrNone, wholeNumber } from '../input.ts'
import type { Output } from '../output.ts'
import type { Run } from '../run.ts'
import type { MoverFlags } from './mover.ts'
import { moveCommand, stepsAfterRefusal } from './next.ts'
import type { MoveFlags } from './pair.ts'
import { addSetting, type Setting } from './setting.ts'

export function addMoves(program: Command, run: Run, signal: AbortSignal): void {
  const to = new Option('--to <url>', 'the store that it moves to; --store is the one that it moves from')
  const move = program
    .command('move')
    .description('move live domains (-d, several with commas) to another store, and back')
    .addOption(to.env('UNDERPIN_TO'))
    .option(
      '--names <from,to>',
      'what the application calls the two backends; if left out, as the move was begun, or the kinds of the stores (old,new for two of a kind)',
    )
    .addHelpText('after', examples)
  const take: Take = (work) => (_, command) =>
    run(command, (flags, output) => work(flags as never, output), whenNotOk)
  addLooking(move, take, signal)
  addMirroring(move, run, take, signal)
  addProving(move, run, take, signal)
  addSwitching(move, take, signal)
  addEnding(move, take, signal)
}

const examples = `
--store and --to are the same in every phase: which side leads is found out from the stores.

  export UNDERPIN_STORE=sqlite:./app.db UNDERPIN_TO=postgres://localhost/app UNDERPIN_DOMAIN=orders
  underpin move plan
  underpin move start
  underpin move verify
  underpin move cutover --yes --confirm orders
  underpin move rollback
  underpin move complete --yes --confirm orders

Exit codes beside the usual ones: 3 a dry run found something to do, 4 both sides differ, 7 a gate is in the way.`

/** An action out of what a command does. */
type Take = <F extends MoveFlags>(
  work: (flags: F, output: Output) => Promise<MoveSummary>,
) => (_: unknown, command: Command) => Promise<void>

const dryRun = [
  '--dry-run',
  'only say what would be done; exit code 3 if that is anything, 7 if it would be refused',
] as const
const hold = ['--hold', 'wait, ready, until underpin move go'] as const
const by = ['--by <name>', 'who does it, for the record; user and host if left out'] as const
const confirmation = [
  '--confirm <domains>',
  'with --yes: the domains, spelled out, instead of being asked for them',
] as const

function addLooking(move: Command, take: Take, signal: AbortSignal): void {
  move
    .command('plan')
    .description('what a move would meet: counts, limits, time and pause; changes nothing')
    .option('--probe', 'measure the target by writing into an empty copy of another domain, underpin-probe')
    .option('--max-records <n>', 'read at most so many records, evenly spread', positiveNumber)
    .action(take((flags: PlanFlags, output) => planMove(flags, output, signal)))
  move
    .command('status')
    .description('where the move stands, its gates, and what can be done')
    .option('--watch', 'look again every second, until interrupted or the move has ended')
    .action(take((flags: WatchFlags, output) => moveStatus(flags, output, signal)))
  move
    .command('gaps')
    .description('what the target does not take; exit code 7 if there is any')
    .action(take(moveGaps))
  move
    .command('report')
    .description('the cutovers of the domain: when, by whom, how long callers waited')
    .action(take(moveReport))
}

const whenNotOk = {
  exitWhenNotOk: ({ exitCode }: MoveSummary) => exitCode ?? exit.failure,
  stepsAfter: stepsAfterRefusal,
}

function addMirroring(move: Command, run: Run, take: Take, signal: AbortSignal): void {
  move
    .command('start')
    .description('begin, copy, and go on copying what comes until interrupted')
    .option('--detach', 'only begin; underpin move run copies')
    .option('--until-caught-up', 'end when the copy holds what was there')
    .option('--watch', 'show the gates as well')
    .option('--set <name=value>', 'a setting to begin with, as of move set; may be given again', addSetting)
    .option(...by)
    .option(...dryRun)
    .action((_, command: Command) =>
      run(command, (flags: StartFlags, output) => startMove(flags, output, signal), {
        ...whenNotOk,
        resume: () => moveCommand('run', command.optsWithGlobals()),
      }),
    )
  move
    .command('run')
    .description('copy: the backfill, what comes, and behind a cutover back to the old side')
    .option('--until-caught-up', 'end when the copy holds what was there')
    .option('--watch', 'show the gates as well')
    .option(...dryRun)
    .action((_, command: Command) =>
      run(command, (flags: MoverFlags, output) => runMove(flags, output, signal), {
        ...whenNotOk,
        resume: () => moveCommand('run', command.optsWithGlobals()),
      }),
    )
  move
    .command('pause')
    .description('stop movers in every process; callers notice nothing')
    .option(...dryRun)
    .action(take(pauseMove))
  move
    .command('resume')
    .description('let movers go on')
    .option(...dryRun)
    .action(take(resumeMove))
  move
    .command('set')
    .argument('[name=value...]', 'for example maxRate=5000 gates.lag=100 mirror=await', addSetting)
    .description(
      'change how movers work and what gates ask for, at once in every process; without any, show it',
    )
    .option(...dryRun)
    .action((given: readonly Setting[] | undefined, _, command: Command) =>
      run(command, (flags: MoveFlags) => setMove(given ?? [], flags), whenNotOk),
    )
}

function addProving(move: Command, run: Run, take: Take, signal: AbortSignal): void {
  const ways = new Option(
    '--comparing <by>',
    'only by positions or by keys; left out, by both: a full comparison',
  )
  move
    .command('verify')
    .description('compare both sides by content, show what differs; exit code 4 if anything does')
    .addOption(ways.choices(['positions', 'keys', 'both']))
    .option('--max-rate <n>', 'compare at most so many records a second', positiveNumber)
    .option('--listed <n>', 'show at most so many differences; 100 if left out', wholeNumber)
    .action(take((flags: VerifyFlags, output) => verifyMove(flags, output, signal)))
  move
    .command('repair')
    .description('bring the copy to what its source holds')
    .option('--fresh', 'empty the copy and fill it again, whatever differs')
    .option(...dryRun)
    .action(take((flags: RepairFlags) => repairMove(flags, signal)))
  move
    .command('shadow')
    .description('what processes found that made reads on both sides; exit code 4 if they differed')
    .option(
      '--sample <part>',
      'from 0 to 1: the part of their reads that they make on both sides from now on',
      part,
    )
    .option(...dryRun)
    .action(take((flags: ShadowFlags) => shadowMove(flags, signal)))
  move
    .command('soak')
    .description('watch the gates until they have held for a time')
    .option(
      '--for <seconds>',
      'the time; gates.soakMs of the settings if left out; 0: no soak is asked for any more',
      secondsOrNone,
    )
    .option(...dryRun)
    .action((_, command: Command) =>
      run(command, (flags: SoakFlags, output) => soakMove(flags, output, signal), {
        ...whenNotOk,
        resume: () => moveCommand('soak', command.optsWithGlobals()),
      }),
    )
}

function addSwitching(move: Command, take: Take, signal: AbortSignal): void {
  const cut = (name: string) =>
    move
      .command(name)
      .option(
        '--max-pause <ms>',
        'callers may wait so long; then it is given up, and nothing has changed',
        positiveNumber,
      )
      .option('--force', 'override the gates, but for those without which something could be lost')
      .option(...by)
      .option(...dryRun)
  cut('cutover')
    .description('the target takes over; asks for the name of the domain')
    .option(...hold)
    .option(...confirmation)
    .action(take((flags: CutFlags, output) => cutOver(flags, output, signal)))
  cut('rollback')
    .description('the source takes over again, as often as wanted, until complete')
    .option(...hold)
    .action(take((flags: CutFlags, output) => rollBack(flags, output, signal)))
  cut('drill')
    .description('a cutover and a rollback, with both reports; asks for the name of the domain')
    .option(...confirmation)
    .action(take((flags: CutFlags, output) => drillMove(flags, output, signal)))
  move
    .command('go')
    .description('let a cutover that was held go on')
    .option(...dryRun)
    .action(take(goMove))
  move
    .command('reopen')
    .description('give up a cutover that nobody goes on with, before its decision')
    .option(...dryRun)
    .action(take(reopenMove))
}

function addEnding(move: Command, take: Take, signal: AbortSignal): void {
  move
    .command('complete')
    .description('stay on the target and give the old side up; asks for the name of the domain')
    .option(...by)
    .option(...dryRun)
    .option(...confirmation)
    .action(take((flags: MoveFlags, output) => completeMove(flags, output, signal)))
  move
    .command('cancel')
    .description('stay on the source and give the copy up; asks for the name of the domain')
    .option(...by)
    .option(...dryRun)
    .option(...confirmation)
    .action(take((flags: MoveFlags, output) => cancelMove(flags, output, signal)))
}
