/** Runs the built command line as a process of its own, in a folder of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

export class Cli {
  readonly folder = mkdtempSync(join(tmpdir(), 'underpin-cli-'))
  #stores = 0

  path(file: string): string {
    return join(this.folder, file)
  }

  /** Runs a command to its end. */
  run(args: readonly string[], input?: string | Buffer, env: NodeJS.ProcessEnv = {}): Ended {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
      cwd: this.folder,
      encoding: 'utf8',
      maxBuffer: 1e9,
      env: { ...process.env, ...env },
      ...(input === undefined ? {} : { input }),
    })
    return { code: status, out: stdout, err: stderr }
  }

  /** The envelope at the end of a command with --json. */
  // biome-ignore lint/suspicious/noExplicitAny: what a test expects of it is in its expectations.
  envelope(args: readonly string[], input?: string | Buffer): any {
    return json(this.run([...args, '--json'], input).out).at(-1)
  }

  start(args: readonly string[]): ChildProcess {
    return spawn(process.execPath, [main, ...args], { cwd: this.folder })
  }

  /** Flags that name a new store, which is not there yet. */
  store(domain: string): [string, string, string, string] {
    return ['-s', `sqlite:./store-${++this.#stores}.db`, '-d', domain]
  }

  remove(): void {
    rmSync(this.folder, { recursive: true })
  }
}

export function json(text: string) {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** What a stopped process printed, and how it ended. */
export async function ended(child: ChildProcess): Promise<Ended & { readonly signal: string | null }> {
  let out = ''
  let err = ''
  child.stdout?.on('data', (part) => (out += part))
  child.stderr?.on('data', (part) => (err += part))
  const [code, signal] = await once(child, 'close')
  return { code, signal, out, err }
}
