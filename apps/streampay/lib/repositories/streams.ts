/** Streams, users and activity over an Underpin domain. */
import type { Clock } from 'underpin'
import {
  type ChangeOptions,
  type PageOptions,
  type StreamRepository,
  type User,
  VersionMismatch,
} from '../db.ts'
import type { StreamDomain, StreamTransaction } from '../domain.ts'
import {
  type ActivityType,
  type Command,
  created,
  type Decision,
  decide,
  type Status,
  type StreamRecord,
  type StreamTerms,
} from '../stream.ts'
import { pageOf } from './page.ts'

/** The key of the lock of a stream: of those who settle and withdraw over HTTP, too. */
export function lockOf(id: string): string {
  return `stream/${id}`
}

export class DomainStreams implements StreamRepository {
  readonly #domain: StreamDomain
  readonly #clock: Pick<Clock, 'now' | 'id'>

  constructor(domain: StreamDomain, clock: Pick<Clock, 'now' | 'id'>) {
    this.#domain = domain
    this.#clock = clock
  }

  async get(id: string): Promise<StreamRecord | undefined> {
    return (await this.#domain.documents('streams').get(id))?.value
  }

  async list({ status, ...options }: PageOptions & { readonly status?: Status | undefined } = {}) {
    const order =
      status === undefined
        ? { index: 'by_created', equals: [] }
        : { index: 'by_status', equals: [status as string] }
    const time = ({ createdAt }: StreamRecord) => createdAt
    return pageOf(this.#domain.documents('streams'), { ...order, time }, options)
  }

  async user(wallet: string): Promise<User | undefined> {
    return (await this.#domain.documents('users').get(wallet))?.value
  }

  async activity({
    stream,
    type,
    ...options
  }: PageOptions & { readonly stream?: string | undefined; readonly type?: ActivityType | undefined } = {}) {
    if (stream !== undefined && type !== undefined)
      throw new TypeError('Activity is listed by stream or by type, not by both')
    const order =
      stream !== undefined
        ? { index: 'by_stream', equals: [stream] }
        : type !== undefined
          ? { index: 'by_type', equals: [type as string] }
          : { index: 'by_at', equals: [] }
    return pageOf(this.#domain.documents('activity'), { ...order, time: ({ at }) => at }, options)
  }

  async create(transaction: StreamTransaction, terms: StreamTerms): Promise<StreamRecord> {
    const now = this.#clock.now()
    const id = `stream_${this.#clock.id()}`
    for (const wallet of new Set([terms.sender, terms.recipient]))
      if ((await transaction.get('users', wallet)) === undefined)
        transaction.put('users', wallet, { wallet, createdAt: now })
    return record(transaction, created(id, terms, now))
  }

  async change(
    transaction: StreamTransaction,
    id: string,
    command: Command,
    { versions }: ChangeOptions = {},
  ): Promise<StreamRecord | undefined> {
    const found = await transaction.get('streams', id)
    if (found === undefined) return undefined
    if (versions !== undefined && !versions.includes(found.value.version))
      throw new VersionMismatch(id, found.value.version)
    return record(transaction, decide(found.value, command, this.#clock.now()))
  }

  withLock<R>(id: string, work: (transaction: StreamTransaction) => Promise<R>): Promise<R> {
    return this.#domain.withLock(lockOf(id), async ({ domain }) => (await domain.transaction(work)).value)
  }
}

/** Writes the record, the ledger and the activity, in the transaction's one commit. */
function record(transaction: StreamTransaction, { record: stream, happenings }: Decision): StreamRecord {
  const { id, version, sender, updatedAt: at } = stream
  transaction.put('streams', id, stream)
  for (const [n, { type, amount = 0 }] of happenings.entries()) {
    transaction.append(id, { type, data: { amount, at, record: stream } })
    // In order of what happened, also within a millisecond.
    const activity = `${id}.${String(version).padStart(10, '0')}.${n}`
    transaction.put('activity', activity, { id: activity, stream: id, type, at, amount, version, sender })
  }
  return stream
}
