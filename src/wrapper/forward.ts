/** What every wrapper starts from: a backend that passes each call on. Wrapped is used exactly as bare. */
import type { Backend } from '../backend/backend.ts'

export type Wrapper = (backend: Backend) => Backend

/** Whether a backend answers within the call and has nothing to sync: it needs no groups, deadlines or retries. */
export function isInMemory({ supports }: Backend): boolean {
  return supports.sync && supports.durability === 'none' && !supports.shared
}

/** Puts wrappers around a backend, the first outermost. */
export function wrap(backend: Backend, wrappers: readonly Wrapper[]): Backend {
  return wrappers.reduceRight((inner, wrapper) => wrapper(inner), backend)
}

export class Forward implements Backend {
  protected readonly inner: Backend

  constructor(inner: Backend) {
    this.inner = inner
  }

  get name() {
    return this.inner.name
  }

  get supports() {
    return this.inner.supports
  }

  get sync() {
    return this.inner.sync
  }

  open() {
    return this.inner.open()
  }

  close() {
    return this.inner.close()
  }

  domains(...call: Parameters<Backend['domains']>) {
    return this.inner.domains(...call)
  }

  fence(...call: Parameters<Backend['fence']>) {
    return this.inner.fence(...call)
  }

  commit(...call: Parameters<Backend['commit']>) {
    return this.inner.commit(...call)
  }

  read(...call: Parameters<Backend['read']>) {
    return this.inner.read(...call)
  }

  get(...call: Parameters<Backend['get']>) {
    return this.inner.get(...call)
  }

  scan(...call: Parameters<Backend['scan']>) {
    return this.inner.scan(...call)
  }

  changes(...call: Parameters<Backend['changes']>) {
    return this.inner.changes(...call)
  }

  apply(...call: Parameters<Backend['apply']>) {
    return this.inner.apply(...call)
  }

  transition(...call: Parameters<Backend['transition']>) {
    return this.inner.transition(...call)
  }

  watch(...call: Parameters<Backend['watch']>) {
    return this.inner.watch(...call)
  }

  /** Bare: a wrapper that also belongs around calls in a caller's transaction says so. Groups and retries do not. */
  within(client: unknown): Backend {
    return this.inner.within(client)
  }
}
