/** A backend at the far end of a line that the test holds, cuts and mends: what wrappers are tested around. */
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import type { Commit } from '../src/model/commit.ts'
import { vacantFence } from '../src/model/fence.ts'
import { Forward } from '../src/wrapper/forward.ts'

export class Line extends Forward {
  /** The groups that were sent, in order. */
  readonly groups: (readonly Commit[])[] = []
  /** The verbs that were called, in order. */
  readonly calls: string[] = []
  /** What calls fail with before they reach the backend, the next call with the first; the last one stays. */
  failures: unknown[] = []
  #gate: Promise<void> = Promise.resolve()
  #open: () => void = () => {}

  /** Calls from now on wait for `release`. */
  hold(): void {
    this.#gate = new Promise((resolve) => (this.#open = resolve))
  }

  release(): void {
    this.#open()
  }

  override get supports() {
    return { ...this.inner.supports, sync: false, durability: 'durable' } as const
  }

  override get sync() {
    return undefined
  }

  override fence(...call: Parameters<Backend['fence']>) {
    return this.#send('fence', () => this.inner.fence(...call))
  }

  override domains(...call: Parameters<Backend['domains']>) {
    return this.#send('domains', () => this.inner.domains(...call))
  }

  override commit(...call: Parameters<Backend['commit']>) {
    this.groups.push(call[2])
    return this.#send('commit', () => this.inner.commit(...call))
  }

  override read(...call: Parameters<Backend['read']>) {
    return this.#send('read', () => this.inner.read(...call))
  }

  override get(...call: Parameters<Backend['get']>) {
    return this.#send('get', () => this.inner.get(...call))
  }

  override scan(...call: Parameters<Backend['scan']>) {
    return this.#send('scan', () => this.inner.scan(...call))
  }

  override changes(...call: Parameters<Backend['changes']>) {
    return this.#send('changes', () => this.inner.changes(...call))
  }

  override apply(...call: Parameters<Backend['apply']>) {
    return this.#send('apply', () => this.inner.apply(...call))
  }

  override transition(...call: Parameters<Backend['transition']>) {
    return this.#send('transition', () => this.inner.transition(...call))
  }

  async #send<T>(verb: string, deliver: () => Promise<T>): Promise<T> {
    this.calls.push(verb)
    await this.#gate
    const failure = this.failures.length > 1 ? this.failures.shift() : this.failures[0]
    if (failure !== undefined) throw failure
    return deliver()
  }
}

/** A line to a memory backend that holds authority over each of these domains, at epoch 1. */
export async function openLine(...domains: string[]): Promise<Line> {
  const line = new Line(memory())
  for (const domain of domains) {
    const to = { ...vacantFence, role: 'authority', epoch: 1, incarnation: domain } as const
    await line.transition(domain, vacantFence, to)
  }
  line.calls.length = 0
  return line
}

/** Every verb as a call that is well-formed, and whether it writes. */
export const verbs: readonly (readonly [
  verb: string,
  writes: boolean,
  call: (backend: Backend, signal?: AbortSignal) => Promise<unknown>,
])[] = [
  ['domains', false, (backend, signal) => backend.domains(...options(signal))],
  ['fence', false, (backend, signal) => backend.fence('app', ...options(signal))],
  ['read', false, (backend, signal) => backend.read('app', 's', range, ...options(signal))],
  [
    'get',
    false,
    (backend, signal) => backend.get('app', [{ collection: '$commits', id: 'a' }], ...options(signal)),
  ],
  ['scan', false, (backend, signal) => backend.scan('app', query, ...options(signal))],
  ['changes', false, (backend, signal) => backend.changes('app', 0, 10, ...options(signal))],
  ['commit', true, (backend, signal) => backend.commit('app', 1, [], ...options(signal))],
  ['apply', true, (backend, signal) => backend.apply('app', 1, page, ...options(signal))],
  [
    'transition',
    true,
    (backend, signal) => backend.transition('app', vacantFence, vacantFence, ...options(signal)),
  ],
]

const range = { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 10 }
const query = {
  collection: '$commits',
  by: 'id',
  prefix: '',
  backwards: false,
  limit: 10,
  after: null,
} as const
const page = { items: [], next: 0, epoch: 1, role: 'authority', head: 0 } as const

function options(signal: AbortSignal | undefined): [{ signal: AbortSignal }] | [] {
  return signal === undefined ? [] : [{ signal }]
}
