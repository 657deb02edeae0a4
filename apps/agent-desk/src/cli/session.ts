/** What every command of the command line does around its own work. */
import type { Command } from 'commander'
import { isUnderpinError } from 'underpin'
import { type Config, type ConfigFlags, readConfig } from '../config.ts'
import { Desk } from '../desk.ts'
import { Reader } from '../read.ts'
import { Refusal } from '../refusal.ts'

export interface Session {
  readonly desk: Desk
  readonly reader: Reader
  readonly config: Config
}

/** Exit codes: 1 for what failed, 2 for what was refused, 4 for a verification that found differences. */
export const exitCodes = { failed: 1, refused: 2, different: 4 } as const

/** Opens the desk, runs `work` and closes it, whatever comes of it. */
export async function withDesk<T>(command: Command, work: (session: Session) => T | Promise<T>): Promise<T> {
  const config = configOf(command)
  const desk = await Desk.open(config.dataDir, { onError: tell })
  try {
    return await work({ desk, reader: new Reader(desk.handle), config })
  } finally {
    await desk.close()
  }
}

export function configOf(command: Command): Config {
  return readConfig(command.optsWithGlobals<ConfigFlags>())
}

export function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`)
}

/** Says what failed, and sets the exit code. */
export function report(error: unknown): void {
  if (isReaderGone(error)) return
  tell(error)
  process.exitCode = error instanceof Refusal ? exitCodes.refused : exitCodes.failed
}

/** Says what failed. */
export function tell(error: unknown): void {
  if (error instanceof Refusal || isUnderpinError(error)) {
    process.stderr.write(`${error.code}: ${error.message}\n`)
    if (error.hint !== undefined) process.stderr.write(`${error.hint}\n`)
    return
  }
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
}

/** `desk replay | head`: whoever read the output has gone, and nobody is left to be told. */
function isReaderGone(error: unknown): boolean {
  return (error as { code?: unknown }).code === 'EPIPE'
}
