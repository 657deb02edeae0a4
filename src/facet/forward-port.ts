/** A port that passes everything on: what facets that see the commits of others, or add to them, are made from. */
import type { CallOptions } from '../backend/backend.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import type { DocumentKey } from '../model/document.ts'
import type { Query, Range } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import type { OwnCollections, Port } from './port.ts'

export abstract class ForwardPort implements Port {
  protected readonly inner: Port

  constructor(inner: Port) {
    this.inner = inner
  }

  /** The same around another port: what {@link within} needs. */
  protected abstract around(inner: Port): Port

  get domain() {
    return this.inner.domain
  }

  get events() {
    return this.inner.events
  }

  get clock() {
    return this.inner.clock
  }

  get limits() {
    return this.inner.limits
  }

  get deadlineMs() {
    return this.inner.deadlineMs
  }

  collection(name: string) {
    return this.inner.collection(name)
  }

  ensure(collections: OwnCollections) {
    return this.inner.ensure(collections)
  }

  commit(commit: Commit, options?: CallOptions): Promise<Outcome> {
    return this.inner.commit(commit, options)
  }

  read(stream: string, range: Range, options?: CallOptions) {
    return this.inner.read(stream, range, options)
  }

  get(keys: readonly DocumentKey[], options?: CallOptions) {
    return this.inner.get(keys, options)
  }

  scan(query: Query, options?: CallOptions) {
    return this.inner.scan(query, options)
  }

  changes(after: Position, limit: number, options?: CallOptions) {
    return this.inner.changes(after, limit, options)
  }

  head(options?: CallOptions) {
    return this.inner.head(options)
  }

  watch(signal: AbortSignal) {
    return this.inner.watch(signal)
  }

  within(client: unknown): Port {
    return this.around(this.inner.within(client))
  }
}
