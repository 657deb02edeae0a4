/** `desk serve`, `replay`, `rebuild`, `verify`: the process itself, and its data. */
import { once } from 'node:events'
import type { Command } from 'commander'
import type { EventStore } from '../event-store.ts'
import { readSequence } from '../event-stream.ts'
import { serve } from '../serve.ts'
import { rebuildProjections, verifyProjections } from '../shadow.ts'
import { dropSnapshots, saveSnapshot } from '../snapshot.ts'
import { DeskState } from '../state.ts'
import { configOf, exitCodes, print, tell, withDesk } from './session.ts'

export function addUpkeep(program: Command): void {
  program
    .command('serve')
    .description('HTTP with server-sent events, on 127.0.0.1')
    .option('--port <number>', '0 takes a free one')
    .action((_, command) => serveUntilToldToStop(command))
  program
    .command('replay')
    .description('prints the events as JSON lines')
    .option('--from <sequence>', 'only those behind it', '0')
    .option('--count', 'how many there are of each type, instead')
    .action((flags: { from: string; count?: true }, command: Command) => replay(command, flags))
  program
    .command('rebuild')
    .description('makes the tables for readers and the snapshot anew from the events')
    .action((_, command) => rebuild(command))
  program
    .command('verify')
    .description('compares checksums, tables and the state in memory with what the events say')
    .action((_, command) => verify(command))
}

/** What fails meanwhile is told, and is no reason to end with another exit code: the server goes on. */
async function serveUntilToldToStop(command: Command): Promise<void> {
  const stop = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
  const { url, desk, close } = await serve(configOf(command), tell)
  const { snapshot, replayed } = desk.start
  process.stdout.write(`desk: listening on ${url} (snapshot of event ${snapshot}, ${replayed} replayed)\n`)
  await stop
  await close()
}

function replay(command: Command, { from, count }: { from: string; count?: true }): Promise<void> {
  return withDesk(command, async ({ desk, reader }) => {
    if (count) return print(reader.eventCounts())
    for (const event of desk.events.replayFrom(readSequence(from, desk.state.sequence)))
      if (!process.stdout.write(`${JSON.stringify(event)}\n`)) await once(process.stdout, 'drain')
  })
}

function rebuild(command: Command): Promise<void> {
  return withDesk(command, ({ desk }) => {
    const sequence = rebuildProjections(desk.file)
    dropSnapshots(desk.handle)
    saveSnapshot(desk.handle, stateAt(desk.state.sequence, desk.events), new Date())
    print({ rebuilt: sequence })
  })
}

function verify(command: Command): Promise<void> {
  return withDesk(command, async ({ desk }) => {
    const stored = await desk.verifyStored()
    const tables = verifyProjections(desk.file)
    const isStateEqual = stateAt(desk.state.sequence, desk.events).toText() === desk.state.toText()
    print({ sequence: tables.sequence, damaged: stored.damaged, tables: tables.differences, isStateEqual })
    if (stored.damaged.length > 0 || tables.differences.length > 0 || !isStateEqual)
      process.exitCode = exitCodes.different
  })
}

/** The state that all events up to a sequence give, without a snapshot. */
function stateAt(sequence: number, events: EventStore): DeskState {
  const state = new DeskState()
  for (const event of events.replayAll()) {
    if (event.sequence > sequence) break
    state.take(event)
  }
  return state
}
