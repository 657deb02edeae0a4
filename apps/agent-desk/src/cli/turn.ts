/** `desk turn …`. A turn that is started here is run by this process, and its text is printed as it is stored. */
import type { Command } from 'commander'
import type { Desk } from '../desk.ts'
import { threadStream } from '../event.ts'
import { Runner } from '../runner.ts'
import { report, type Session, withDesk } from './session.ts'
import { dispatch, show } from './things.ts'

interface StartFlags {
  readonly turnId?: string
  readonly seed?: string
  readonly deltas: string
  readonly delayMs: string
}

export function addTurns(program: Command): void {
  const turns = program.command('turn').description('a prompt, and what an agent makes of it')
  turns
    .command('start <thread> <prompt>')
    .option('--turn-id <id>')
    .option('--seed <text>', 'what the simulated agent draws its words from; the prompt if left out')
    .option('--deltas <count>', 'how many the agent streams', '40')
    .option('--delay-ms <ms>', 'between two of them', '25')
    .action((threadId: string, prompt: string, flags: StartFlags, command: Command) => {
      const { turnId, seed = prompt.slice(0, 100), deltas, delayMs } = flags
      const agent = { kind: 'simulated', seed, deltas: Number(deltas), delayMs: Number(delayMs) }
      return run(command, { type: 'turn.start', threadId, prompt, agent, ...(turnId && { turnId }) })
    })
  turns
    .command('resume <turn>')
    .description('goes on with an interrupted turn where it was')
    .action((turnId, _, command) => run(command, { type: 'turn.resume', turnId }))
  turns
    .command('interrupt <turn>')
    .action((turnId, _, command) => dispatch(command, { type: 'turn.interrupt', turnId }))
  turns
    .command('abandon <turn>')
    .action((turnId, _, command) => dispatch(command, { type: 'turn.abandon', turnId }))
  turns
    .command('show <turn>')
    .action((turnId, _, command) =>
      show(command, ({ reader }) => ({ ...reader.turn(turnId), messages: reader.messages(turnId) })),
    )
  turns
    .command('interrupted')
    .description('the turns that wait to be resumed or abandoned')
    .action((_, command) => show(command, ({ reader }) => reader.interrupted()))
}

/** Runs a turn in this process until it ends. An interrupt (Ctrl-C) leaves it interrupted. */
function run(command: Command, input: object): Promise<void> {
  return withDesk(command, async ({ desk, reader, config }: Session) => {
    const runner = await Runner.begin(desk, { leaseMs: config.leaseMs, onError: report })
    const over = new AbortController()
    const stop = () => void runner.stop().catch(report)
    process.once('SIGINT', stop).once('SIGTERM', stop)
    try {
      const { command: done, events } = await runner.dispatch(input)
      if (!('turnId' in done)) return
      const printed = printDeltas(desk, done.turnId, (events[0]?.sequence ?? 1) - 1, over.signal)
      await runner.finished(done.turnId)
      over.abort()
      await printed
      const { state, reason } = reader.turn(done.turnId)
      process.stdout.write('\n')
      process.stderr.write(`turn ${done.turnId}: ${state}${reason === null ? '' : ` (${reason})`}\n`)
    } finally {
      over.abort()
      process.off('SIGINT', stop).off('SIGTERM', stop)
      await runner.stop()
    }
  })
}

/** Prints what is stored of a turn's text, as it comes; to its end when the signal aborts. */
async function printDeltas(desk: Desk, turnId: string, after: number, signal: AbortSignal): Promise<void> {
  let shown = after
  const threadId = desk.state.turns.get(turnId)?.threadId ?? ''
  const filter = { streams: threadStream(threadId), types: ['message.delta'] }
  for await (const item of desk.feed.live({ after, filter, signal })) {
    if (item.kind !== 'event' || item.type !== 'message.delta' || item.data.turnId !== turnId) continue
    process.stdout.write(item.data.text)
    shown = item.position
  }
  for (const { type, data } of desk.events.replayFrom(shown))
    if (type === 'message.delta' && data.turnId === turnId) process.stdout.write(data.text)
}
