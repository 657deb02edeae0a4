/** What strace does here: kills at the n-th system call on a file, and says which calls there were. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Calls that change a file or make a change durable. */
const writing = 'write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,ftruncate,fallocate,unlink,unlinkat'

const strace = (log: string, options: readonly string[]) => [
  ...['strace', '-f', '-o', log, '-e', `trace=${writing}`],
  ...options,
]

/** Stops the process at no other calls: several times as fast. */
const fast = '--seccomp-bpf'

/** Why strace cannot be used here, or undefined if it can. */
export function whyNoStrace(): string | undefined {
  const [file = '', ...args] = strace('/dev/null', [fast, 'true'])
  const { error, status, stderr } = spawnSync(file, args, { encoding: 'utf8' })
  if (error !== undefined) return `strace is not installed (${error.message})`
  return status === 0 ? undefined : `strace may not trace here (${stderr.trim()})`
}

/** Only calls on the file and on what SQLite puts beside it. */
const onlyOn = (path: string) => ['', '-wal', '-shm', '-journal'].flatMap((end) => ['-P', `${path}${end}`])

/** A call of a run: the n-th of those with its name. */
export interface Call {
  readonly name: string
  readonly nth: number
}

/**
 * The command, killed when it enters a call on the file: that call does not happen. Not the fast way: with it, strace
 * 6.1 counts the call but sends no signal.
 */
export function killedAt({ name, nth }: Call, path: string, command: readonly string[]): readonly string[] {
  const inject = `inject=${name}:signal=KILL:when=${nth}`
  return [...strace('/dev/null', [...onlyOn(path), '-e', inject]), ...command]
}

/** The command, with its writing calls on the file written to a log. */
export function counted(log: string, path: string, command: readonly string[]): readonly string[] {
  return [...strace(log, [fast, ...onlyOn(path)]), ...command]
}

/** The command, with all its writing calls written to a log, files by name. */
export function traced(log: string, command: readonly string[]): readonly string[] {
  return [...strace(log, [fast, '-y', '-s', '64']), ...command]
}

/** The calls in a log. */
export function callsIn(log: string): readonly Call[] {
  const counts = new Map<string, number>()
  return readFileSync(log, 'utf8')
    .split('\n')
    .flatMap((line) => {
      // Another line, `+++ exited with 0 +++`, is not of a call.
      const name = /^\d+ +(\w+)\(/.exec(line)?.[1]
      if (name === undefined) return []
      counts.set(name, (counts.get(name) ?? 0) + 1)
      return { name, nth: counts.get(name) ?? 0 }
    })
}
