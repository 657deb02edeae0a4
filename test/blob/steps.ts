/** Stops a piece of work before any of its calls to the file system: for ever, as if killed, or until it is resumed. */
import { AsyncLocalStorage } from 'node:async_hooks'
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { devNull } from 'node:os'

interface Flow {
  readonly at: number
  readonly calls: string[]
  readonly stop: () => Promise<void>
}

const flows = new AsyncLocalStorage<Flow>()
const calls = ['open', 'rename', 'mkdir', 'rm', 'link', 'readdir', 'stat'] as const
const fileCalls = ['read', 'write', 'writeFile', 'readFile', 'sync', 'truncate', 'utimes'] as const

let told: (name: string) => void = () => {}

/** Is told of every call of the process. */
export function watchSteps(tell: (name: string) => void): void {
  told = tell
}

/** A call that a piece of work can be stopped before. */
export async function step(name: string): Promise<void> {
  told(name)
  const flow = flows.getStore()
  if (flow === undefined) return
  flow.calls.push(name)
  // Nothing behind that step happens either, until it is resumed.
  if (flow.at > 0 && flow.calls.length >= flow.at) await flow.stop()
}

// biome-ignore lint/suspicious/noExplicitAny: every call of the file system, whatever it takes.
function watch(holder: any, name: string, label: string): void {
  const original = holder[name]
  holder[name] = async function (this: unknown, ...args: unknown[]) {
    await step(
      `${label}${args
        .filter((arg) => typeof arg === 'string')
        .map((arg) => ` ${arg}`)
        .join('')}`,
    )
    return original.apply(this, args)
  }
}

let isWatching = false

/** Puts the calls of this process under watch. */
export async function watchFiles(): Promise<void> {
  if (isWatching) return
  isWatching = true
  const file = await fs.open(devNull)
  const prototype = Object.getPrototypeOf(file)
  await file.close()
  for (const name of fileCalls) watch(prototype, name, name)
  for (const name of calls) watch(fs, name, name)
  syncBuiltinESMExports()
}

export interface Stopped<T> {
  /** Whether it was stopped before it had ended. */
  readonly isStopped: boolean
  /** What it called. */
  readonly calls: readonly string[]
  /** Lets it go on to its end. */
  resume(): Promise<T>
}

/** Runs work until its call number `at` (from 1), or to its end. */
export async function runUntil<T>(at: number, work: () => Promise<T>): Promise<Stopped<T>> {
  let resume = () => {}
  const resumed = new Promise<void>((resolve) => {
    resume = resolve
  })
  const called: string[] = []
  const ended = Symbol('ended')
  let stopped: () => void = () => {}
  const reached = new Promise<void>((resolve) => {
    stopped = resolve
  })
  const flow: Flow = {
    at,
    calls: called,
    stop: () => {
      stopped()
      return resumed
    },
  }
  const running = flows.run(flow, work)
  const first = await Promise.race([reached, running.then(() => ended)])
  return {
    isStopped: first !== ended,
    calls: called,
    resume: () => {
      resume()
      return running
    },
  }
}
