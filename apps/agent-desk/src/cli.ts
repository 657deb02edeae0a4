/** The command line of the desk. */
import { Command } from 'commander'
import { report } from './cli/session.ts'
import { addThings } from './cli/things.ts'
import { addTurns } from './cli/turn.ts'
import { addUpkeep } from './cli/upkeep.ts'

const program = new Command('desk')
  .description('The event core of a coding-agent desk. Works beside a running server, on the same data.')
  .option('--data-dir <folder>', 'where the data is; DESK_DATA_DIR, else ./data')
addThings(program)
addTurns(program)
addUpkeep(program)

process.stdout.on('error', report)
try {
  await program.parseAsync()
} catch (error) {
  report(error)
}
