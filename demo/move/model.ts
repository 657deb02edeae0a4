/** What the demo of a move writes: streams of numbered notes, one for each caller of each writer, in one domain. */
import { collection, events } from 'underpin'

export interface Note {
  readonly type: 'noted'
  /** Counts from 1 in its stream. */
  readonly data: { readonly n: number; readonly text: string }
}

/** How far a caller has come, put in the same commit as its note. */
export interface Progress {
  readonly n: number
}

export const domainName = 'orders'

export const domains = {
  [domainName]: {
    events: events<Note>(),
    collections: { progress: collection<Progress>() },
  },
}

export const deadlineMs = 30_000

/** Both stores by name, as every process of the application names them. Which one holds the domain, none of them says. */
export interface Places {
  readonly old: string
  readonly new: string
}

/** Before the writers come: streams of their own, so that there is something to copy. */
export const olderStreams = 50

export function streamOf(writer: number, caller: number): string {
  return `writer-${writer}/caller-${caller}`
}
