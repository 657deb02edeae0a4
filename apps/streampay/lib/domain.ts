/** The one domain in which everything of streampay is: what is committed together can be, and all of it moves as one. */
import {
  type CollectionsOf,
  collection,
  type Domain,
  type EventsOf,
  events,
  type Transaction,
} from 'underpin'
import type { Activity, User } from './db.ts'
import type { ActivityType, StreamRecord } from './stream.ts'

export const domainName = 'streampay'

/** The ledger of a stream, in the stream of its id: what moved money, in order, with the record as it left it. */
export type StreamEvent = {
  readonly type: ActivityType
  readonly data: { readonly amount: number; readonly at: number; readonly record: StreamRecord }
}

export const domains = {
  [domainName]: {
    events: events<StreamEvent>(),
    collections: {
      streams: collection<StreamRecord>({
        fields: { status: 'string', createdAt: 'number', sender: 'string' },
        indexes: {
          by_status: { fields: ['status', 'createdAt'] },
          by_created: { fields: ['createdAt'] },
          by_sender: { fields: ['sender', 'createdAt'] },
        },
      }),
      users: collection<User>(),
      activity: collection<Activity & { readonly sender: string }>({
        fields: { stream: 'string', type: 'string', at: 'number', sender: 'string' },
        indexes: {
          by_stream: { fields: ['stream', 'at'] },
          by_type: { fields: ['type', 'at'] },
          by_at: { fields: ['at'] },
          by_sender: { fields: ['sender', 'at'] },
        },
      }),
      /** What the SQL views were made from: see repositories/schema.ts. */
      views: collection<{ readonly sql: string; readonly copy: string | null }>(),
    },
  },
}

type Options = (typeof domains)[typeof domainName]
export type StreamDomain = Domain<EventsOf<Options>, CollectionsOf<Options>>
export type StreamTransaction = Transaction<EventsOf<Options>, CollectionsOf<Options>>
