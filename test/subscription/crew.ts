/** Writers and consumers: processes that are killed, or, on memory, stores that fall silent in the middle of a call. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Backend } from '../../src/index.ts'
import { Forward } from '../../src/wrapper/forward.ts'
import { compiledWorker } from './compiled.ts'
import { Random } from './random.ts'
import { consume, openApp, type Which, write } from './work.ts'

/** Four of them, each with a store of its own. */
export interface Writers {
  /** Ends them, and tells what each did. */
  stop(): Promise<readonly { commits: number; rollbacks: number }[]>
}

export interface Consumer {
  /** Ends it without a chance to do anything more. */
  kill(): Promise<void>
}

export interface Crew {
  write(seed: number): Promise<Writers>
  consume(tell: (which: Which) => void): Promise<Consumer>
}

/** Processes on a store that several can open. */
export function processes(url: string, ttlMs: number): Crew {
  return {
    async write(seed) {
      const child = await start('write', url, seed)
      return {
        async stop() {
          const done = once(child, 'message')
          const ended = once(child, 'exit')
          child.send('stop')
          const [result] = await done
          await ended
          return result as Awaited<ReturnType<Writers['stop']>>
        },
      }
    },
    async consume(tell) {
      const child = await start('consume', url, ttlMs)
      child.on('message', tell)
      return {
        async kill() {
          const ended = once(child, 'exit')
          child.kill('SIGKILL')
          const [code, signal] = await ended
          if (signal !== 'SIGKILL') throw new Error(`A consumer had ended by itself (${code ?? signal})`)
        },
      }
    },
  }
}

async function start(role: string, url: string, number: number): Promise<ChildProcess> {
  const child = fork(compiledWorker(), [role, url, String(number)], { execArgv: [] })
  await once(child, 'message')
  return child
}

/** Views of one backend in this process. */
export function views(backend: Backend, ttlMs: number): Crew {
  return {
    async write(seed) {
      const stores = await Promise.all([1, 2, 3, 4].map(() => openApp(backend)))
      const ending = new AbortController()
      const writing = Promise.all(
        stores.map((store, i) =>
          write(store.domain('app'), ending.signal, new Random(seed + i), false, false),
        ),
      )
      return {
        stop() {
          ending.abort()
          return writing
        },
      }
    },
    async consume(tell) {
      const mortal = new Mortal(backend)
      const app = (await openApp(mortal)).domain('app')
      const consuming = consume(app, ttlMs, new AbortController().signal, (which) => {
        if (!mortal.isDead) tell(which)
      })
      const failed = consuming.then(
        () => new Error('A consumer had ended by itself'),
        (error: unknown) => error,
      )
      return {
        async kill() {
          mortal.isDead = true
          const early = await Promise.race([failed, Promise.resolve(undefined)])
          if (early !== undefined) throw early
        },
      }
    },
  }
}

/** A backend that answers nothing any more once it is dead. What it was doing may have been done: half of it is. */
class Mortal extends Forward {
  isDead = false
  #calls = 0

  override async commit(...call: Parameters<Backend['commit']>) {
    if (this.isDead && ++this.#calls % 2 === 0) return silence<never>()
    return this.#unlessDead(await this.inner.commit(...call))
  }

  override async changes(...call: Parameters<Backend['changes']>) {
    return this.#unlessDead(await this.inner.changes(...call))
  }

  override async get(...call: Parameters<Backend['get']>) {
    return this.#unlessDead(await this.inner.get(...call))
  }

  override async scan(...call: Parameters<Backend['scan']>) {
    return this.#unlessDead(await this.inner.scan(...call))
  }

  #unlessDead<T>(result: T): T | Promise<T> {
    return this.isDead ? silence<T>() : result
  }
}

function silence<T>(): Promise<T> {
  return new Promise(() => {})
}
