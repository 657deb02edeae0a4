/** The operator: the command line, as a process of its own for each command, with the stores named in the environment. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { domainName, type Places } from './model.ts'

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export class Operator {
  readonly #env: NodeJS.ProcessEnv
  #mover: ChildProcess | undefined

  constructor(places: Places) {
    const stores = { UNDERPIN_STORE: places.old, UNDERPIN_TO: places.new, UNDERPIN_DOMAIN: domainName }
    this.#env = { ...process.env, ...stores }
  }

  /** Runs `underpin move …` in the open; rejects if it did not end with one of these exit codes. */
  async run(args: readonly string[], codes: readonly number[] = [0]): Promise<void> {
    console.log(`\n$ underpin move ${args.join(' ')}`)
    const child = this.#spawn(args, 'inherit')
    const [code] = await once(child, 'close')
    if (!codes.includes(code)) throw new Error(`underpin move ${args[0]} ended with ${code}`)
  }

  /** Lets a mover go on beside everything else, without a word. */
  mirror(): void {
    this.#mover = this.#spawn(['run', '--quiet', '--no-progress'], ['ignore', 'ignore', 'inherit'])
  }

  /** Ends the mover. Idempotent. */
  async rest(): Promise<void> {
    const mover = this.#mover
    this.#mover = undefined
    if (mover === undefined || mover.exitCode !== null) return
    mover.kill('SIGINT')
    await once(mover, 'close')
  }

  #spawn(args: readonly string[], stdio: 'inherit' | ['ignore', 'ignore', 'inherit']): ChildProcess {
    return spawn(process.execPath, [program, 'move', ...args], { env: this.#env, stdio })
  }
}
