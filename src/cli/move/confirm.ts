/** The typed confirmation of what callers notice or what cannot be undone: the names of the domains, spelled out. */
import { createInterface } from 'node:readline/promises'
import { UnderpinError } from '../../index.ts'
import { commandWithAll } from '../again.ts'
import type { Output } from '../output.ts'
import type { MoveFlags } from './pair.ts'

/**
 * Returns if `--yes --confirm NAMES` were given, or somebody at a terminal types the names; else `invalid`, with the line
 * that confirms. `what` is told to whoever is asked.
 */
export async function confirm(
  what: readonly string[],
  domains: readonly string[],
  flags: MoveFlags,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const wanted = domains.join(',')
  if (flags.yes && flags.confirm === wanted) return
  if (flags.confirm === undefined && !output.isJson && process.stdin.isTTY && process.stderr.isTTY) {
    for (const line of what) process.stderr.write(`${line}\n`)
    if ((await ask(`Type ${wanted} to go on: `, signal)).trim() === wanted) return
    throw new UnderpinError('invalid', 'Not confirmed: nothing was done')
  }
  throw new UnderpinError('invalid', `This needs a confirmation that names ${wanted}: nothing was done`, {
    hint: `Confirm: ${commandWithAll([['--yes'], ['--confirm', wanted]])}`,
  })
}

/** `aborted` if the input ends, by Ctrl-C or Ctrl-D, or the signal aborts. */
async function ask(question: string, signal: AbortSignal): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const ended = new Promise<never>((_, reject) => terminal.once('close', () => reject(unconfirmed())))
  try {
    return await Promise.race([terminal.question(question, { signal }), ended])
  } catch (cause) {
    throw unconfirmed(cause)
  } finally {
    terminal.close()
  }
}

function unconfirmed(cause?: unknown): UnderpinError {
  return new UnderpinError('aborted', 'Not confirmed: nothing was done', { cause })
}
