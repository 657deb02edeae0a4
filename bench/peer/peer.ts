/** One store under test. A peer offers what it has; a case that needs more is left out for it. */
import type { FeedPage } from '../feed.ts'
import type { Happened } from '../work.ts'

export interface Peer {
  /** What an acknowledgement means here. */
  readonly durability: string
  append?(stream: string, event: Happened): Promise<unknown>
  /** Events kept, to see that none was lost. */
  count?(): Promise<number>
  /** Reads a whole stream, decoded; the number of events. */
  readStream?(stream: string): Promise<number>
  /** Reads all events in their order, decoded; the number of events. */
  readAll?(): Promise<number>
  /** Fills streams with events, as fast as it can. */
  fill?(streams: number, each: number): Promise<void>
  /** Folds a stream, and takes a snapshot if asked to; the last seq in it. */
  state?(stream: string, takesSnapshot: boolean): Promise<number>
  /** Decodes so many events; what it gives folds them all, from nothing. */
  fold?(count: number): Promise<() => void>
  /** Makes an empty copy that takes a feed, page by page. */
  follow?(): Promise<(page: FeedPage) => Promise<unknown>>
  /** Fills a source with so many records; what it gives copies them all into another store, and counts them. */
  copy?(count: number): Promise<() => Promise<number>>
  put?(id: string, value: unknown): Promise<unknown>
  get?(id: string): Promise<unknown>
  /** Takes a lock, does nothing, gives it back. */
  lock?(key: string): Promise<unknown>
  getSync?(id: string): unknown
  /** Enqueues one job. */
  enqueue?(n: number): Promise<unknown>
  /** Works, 64 at once, until so many jobs are done; their handlers do nothing. */
  workOff?(count: number): Promise<void>
  close(): Promise<void>
}

/** Opens it in an empty folder, or at the URL of an empty database; for a domain of this name, if it has such. */
export type OpenPeer = (place: string, domain?: string) => Promise<Peer>
