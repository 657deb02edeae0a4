/** One store under test. A peer offers what it has; a case that needs more is left out for it. */
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
  put?(id: string, value: unknown): Promise<unknown>
  get?(id: string): Promise<unknown>
  getSync?(id: string): unknown
  close(): Promise<void>
}

export type OpenPeer = (folder: string) => Promise<Peer>
