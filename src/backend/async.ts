/** Promises for a backend whose work is synchronous. */
import { systemClock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import type { Backend, CallOptions, Supports, SyncBackend } from './backend.ts'

/** Tells watchers of a backend which domains moved. */
export class Heads {
  readonly #listeners = new Map<string, Set<() => void>>()

  moved(domain: string): void {
    for (const listener of this.#listeners.get(domain) ?? []) listener()
  }

  movedAll(): void {
    for (const listeners of this.#listeners.values()) for (const listener of listeners) listener()
  }

  /** Calls `run` whenever the domain may have moved; the returned function ends that. */
  listen(domain: string, run: () => void): () => void {
    const listeners = this.#listeners.get(domain) ?? new Set()
    this.#listeners.set(domain, listeners.add(run))
    return () => {
      listeners.delete(run)
    }
  }

  get isWatched(): boolean {
    for (const listeners of this.#listeners.values()) if (listeners.size > 0) return true
    return false
  }
}

/** A backend made of synchronous verbs. Subclasses give `sync` and say when heads move. */
export abstract class EmbeddedBackend implements Backend {
  abstract readonly name: string
  abstract readonly supports: Supports
  abstract readonly sync: SyncBackend
  protected readonly heads = new Heads()
  #closing = new AbortController()

  async open(): Promise<void> {
    if (this.#closing.signal.aborted) this.#closing = new AbortController()
    this.sync.open()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.sync.close()
  }

  async domains(options?: CallOptions) {
    refuseAborted(options)
    return this.sync.domains()
  }

  async fence(domain: string, options?: CallOptions) {
    refuseAborted(options)
    return this.sync.fence(domain)
  }

  async commit(...[domain, epoch, commits, options]: Parameters<Backend['commit']>) {
    refuseAborted(options)
    return this.sync.commit(domain, epoch, commits)
  }

  async read(...[domain, stream, range, options]: Parameters<Backend['read']>) {
    refuseAborted(options)
    return this.sync.read(domain, stream, range)
  }

  async get(...[domain, keys, options]: Parameters<Backend['get']>) {
    refuseAborted(options)
    return this.sync.get(domain, keys)
  }

  async scan(...[domain, query, options]: Parameters<Backend['scan']>) {
    refuseAborted(options)
    return this.sync.scan(domain, query)
  }

  async changes(...[domain, after, limit, options]: Parameters<Backend['changes']>) {
    refuseAborted(options)
    return this.sync.changes(domain, after, limit)
  }

  async apply(...[domain, epoch, page, options]: Parameters<Backend['apply']>) {
    refuseAborted(options)
    this.sync.apply(domain, epoch, page)
  }

  async transition(...[domain, from, to, options]: Parameters<Backend['transition']>) {
    refuseAborted(options)
    return this.sync.transition(domain, from, to)
  }

  async *watch(domain: string, signal: AbortSignal): AsyncGenerator<Position> {
    // Of its own: any number may watch at once, with one signal of the caller's.
    const over = AbortSignal.any([signal, this.#closing.signal])
    let wake: () => void = () => {}
    let isDue = true
    const stop = this.heads.listen(domain, () => {
      isDue = true
      wake()
    })
    const end = () => wake()
    over.addEventListener('abort', end)
    const release = keepAlive()
    let isWatching = false
    try {
      this.watchBegins()
      isWatching = true
      let seen = ''
      while (!over.aborted) {
        if (!isDue) await new Promise<void>((resolve) => (wake = resolve))
        if (over.aborted) return
        isDue = false
        const { head, role, epoch } = this.sync.fence(domain)
        const found = `${head} ${role} ${epoch}`
        if (found !== seen) yield head
        seen = found
      }
    } finally {
      release()
      stop()
      over.removeEventListener('abort', end)
      if (isWatching) this.watchEnds()
    }
  }

  within(): Backend {
    throw new UnderpinError('unsupported', `The ${this.name} backend cannot commit in a transaction of yours`)
  }

  /** Called when a watcher comes: the place to start looking for commits of other processes. */
  protected watchBegins(): void {}
  protected watchEnds(): void {}
}

/** A process must not end under a reader that waits for what comes, though nothing else may be going on in it. */
function keepAlive(): () => void {
  const aDayMs = 86_400_000
  let cancel = () => {}
  const renew = () => {
    cancel = systemClock.timer(aDayMs, renew)
  }
  renew()
  return () => cancel()
}

function refuseAborted(options?: CallOptions): void {
  if (options?.signal?.aborted)
    throw new UnderpinError('aborted', 'The call was aborted before it began', {
      cause: options.signal.reason,
    })
}
