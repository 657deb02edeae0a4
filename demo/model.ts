/** What the demo keeps: a stream for each file, and documents for files, authors and writers, in one domain. */
import { collection, events } from 'underpin'

/** What git says of a file in a commit. */
export type Status = 'added' | 'modified' | 'deleted' | 'renamed' | 'copied' | 'retyped' | 'other'

/** One file changed in one commit. Its event lies in the stream of the file, under the name it has afterwards. */
export interface ChangeEvent {
  readonly type: Status
  readonly data: {
    readonly commit: string
    readonly author: string
    /** ISO 8601. */
    readonly time: string
    /** The name before a rename or copy. */
    readonly from: string | null
    readonly added: number
    readonly deleted: number
  }
}

export interface FileDocument {
  readonly changes: number
  readonly added: number
  readonly deleted: number
  readonly lastCommit: string
  readonly lastStatus: Status
}

/** What an author did. Every writer adds to it, so the writers contend for it. */
export interface AuthorDocument {
  readonly commits: number
  readonly changes: number
  readonly added: number
  readonly deleted: number
}

/**
 * How far a writer has come, put in the same commit as what it wrote: that is what makes a resume exact. (A commit id
 * for each transaction would do as well, at the price of one more document and one more read for each.)
 */
export interface WriterDocument {
  /** Items of the writer's list that are written. */
  readonly done: number
}

export const domainName = 'history'

export const domains = {
  [domainName]: {
    events: events<ChangeEvent>(),
    collections: {
      files: collection<FileDocument>({
        fields: { changes: 'number' },
        indexes: { by_changes: { fields: ['changes'] } },
      }),
      authors: collection<AuthorDocument>(),
      writers: collection<WriterDocument>(),
    },
  },
}

export const deadlineMs = 60_000
