/** One run of the command line, from its arguments to its exit code. What belongs to a process of its own is in `main`. */
import { CommanderError } from 'commander'
import { type ExitCode, exit } from './exit.ts'
import { Output } from './output.ts'
import { toProgram } from './program.ts'

/** Runs `underpin` with these arguments. The signal aborts when the command is interrupted. */
export async function runCommandLine(args: readonly string[], signal: AbortSignal): Promise<ExitCode> {
  let code: ExitCode = exit.ok
  try {
    await toProgram(signal, (ended) => {
      code = ended
    }).parseAsync(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return exit.ok
    if (args.includes('--json')) await new Output({ json: true }).usage(error.message)
    return exit.usage
  }
  return code
}
