/** Runs a command, prints what came of it, and tells the exit code. */
import type { Command } from 'commander'
import { type ExitCode, exit, exitCodeOf } from './exit.ts'
import { type NextStep, Output, type Summary } from './output.ts'
import type { GlobalFlags } from './session.ts'

export interface RunOptions<S extends Summary> {
  /** The exit code when the work was done and its result is not good; `failure` if left out. */
  readonly exitWhenNotOk?: (summary: S) => ExitCode
  /** The command that goes on when this one was interrupted. */
  readonly resume?: () => string
  /** What can be done where this one failed. */
  readonly stepsAfter?: (error: unknown, flags: GlobalFlags) => Promise<readonly NextStep[]>
}

export type Run = <F extends GlobalFlags, S extends Summary>(
  command: Command,
  work: (flags: F, output: Output) => Promise<S>,
  options?: RunOptions<S>,
) => Promise<void>

export function toRun(signal: AbortSignal, end: (code: ExitCode) => void): Run {
  return async (command, work, { exitWhenNotOk, resume, stepsAfter } = {}) => {
    const flags = command.optsWithGlobals() as Parameters<typeof work>[0]
    const output = new Output(flags)
    try {
      const summary = await work(flags, output)
      await output.finish(summary)
      end(summary.isOk === false ? (exitWhenNotOk?.(summary) ?? exit.failure) : exit.ok)
    } catch (error) {
      const canResume = signal.aborted && resume !== undefined
      const steps = canResume
        ? [{ why: 'Go on with it', command: resume() }]
        : await stepsAfter?.(error, flags)
      await output.fail(error, steps)
      end(exitCodeOf(error))
    }
    if (signal.aborted) end(exit.interrupted)
  }
}
