/** One side of a comparison, read from one end to the other: page by page, the next one asked for while one is compared. */
import type { Backend } from '../../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { RecordKey } from '../../model/change.ts'
import { encodeCursor, type Served } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { type Damage, isDamage, type Seen } from './difference.ts'

/** Whether what a side answers still counts: it must be the side that it was. */
export type CheckServed = (served: Served) => void

/** Records in order, complete up to `until`; undefined when the side has no more. */
export interface Part<K> {
  readonly items: readonly Seen[]
  readonly until: K | undefined
  /** Of the feed: records that stand behind the head of the copy. */
  readonly beyond: readonly Seen[]
  readonly head: Position
}

/** Reads ahead by one part. */
export class Ahead<K> {
  readonly #read: (after: K) => Promise<Part<K>>
  #next: Promise<Part<K>>

  constructor(from: K, read: (after: K) => Promise<Part<K>>) {
    this.#read = read
    this.#next = this.#start(from)
  }

  async take(): Promise<Part<K>> {
    const part = await this.#next
    if (part.until !== undefined) this.#next = this.#start(part.until)
    return part
  }

  #start(after: K): Promise<Part<K>> {
    const reading = this.#read(after)
    // Waited for when it is taken; a comparison that ends before that needs no answer.
    void Promise.allSettled([reading])
    return reading
  }
}

export interface ReadOptions {
  readonly pageItems: number
  readonly signal?: AbortSignal | undefined
  readonly check: CheckServed
}

/** A part of the feed behind a position, up to `last`. */
export function feedPart(backend: Backend, domain: string, last: Position, options: ReadOptions) {
  const { check, signal } = options
  const call = signal === undefined ? {} : { signal }
  return async (after: Position): Promise<Part<Position>> => {
    const { answer, damage } = await around(options.pageItems, after, (limit) =>
      backend.changes(domain, after, limit, call),
    )
    if (damage !== undefined)
      return { items: [damage], until: beforeLast(damage.position, last), beyond: [], head: last }
    check(answer)
    const { items, next, head } = answer
    const beyond = items.filter(({ position }) => position > head)
    // A record that stands behind the head must not take the reader past what comes before it.
    const reached = Math.min(next, head)
    return {
      items: beyond.length === 0 ? items : items.filter(({ position }) => position <= head),
      ...{ until: reached <= after ? undefined : beforeLast(reached, last), beyond, head },
    }
  }
}

function beforeLast(position: Position, last: Position): Position | undefined {
  return position >= last ? undefined : position
}

/** A part of a collection behind an id, in the order of the ids; null to begin. */
export function idPart(backend: Backend, domain: string, collection: string, options: ReadOptions) {
  const call = options.signal === undefined ? {} : { signal: options.signal }
  return async (id: string | null): Promise<Part<string | null>> => {
    const after = id === null ? null : encodeCursor({ key: [], id })
    const query = { collection, by: 'id', prefix: '', backwards: false, after } as const
    const { answer, damage } = await around(options.pageItems, undefined, (limit) =>
      backend.scan(domain, { ...query, limit }, call),
    ).catch((error: unknown) => {
      // Not declared on this side: it has none of these documents.
      if (isUnderpinError(error, 'invalid')) return { answer: undefined, damage: undefined }
      throw error
    })
    if (damage !== undefined) return { items: [damage], until: idOf(damage), beyond: [], head: 0 }
    if (answer === undefined) return { items: [], until: undefined, beyond: [], head: 0 }
    options.check(answer)
    const { items, next, head } = answer
    return { items, until: next === null ? undefined : items.at(-1)?.id, beyond: [], head }
  }
}

/** A part of a stream behind a seq. */
export function streamPart(backend: Backend, domain: string, stream: string, options: ReadOptions) {
  const call = options.signal === undefined ? {} : { signal: options.signal }
  return async (after: number): Promise<Part<number>> => {
    const range = { after, before: Number.POSITIVE_INFINITY, backwards: false }
    const { answer, damage } = await around(options.pageItems, undefined, (limit) =>
      backend.read(domain, stream, { ...range, limit }, call),
    )
    if (damage !== undefined) return { items: [damage], until: seqOf(damage), beyond: [], head: 0 }
    options.check(answer)
    const { items, next, head } = answer
    return { items, until: next ?? undefined, beyond: [], head }
  }
}

/** The id of a document, in whatever state it is. */
export function idOf(seen: Seen): string {
  return ((isDamage(seen) ? seen.key : seen) as { id: string }).id
}

/** The seq of an event, in whatever state it is. */
export function seqOf(seen: Seen): number {
  return ((isDamage(seen) ? seen.key : seen) as { seq: number }).seq
}

type Around<A> =
  | { readonly answer: A; readonly damage?: undefined }
  | { readonly answer?: undefined; readonly damage: Damage }

/** A page; where a record is damaged, the page before it; then that record alone. */
async function around<A>(
  most: number,
  after: Position | undefined,
  read: (limit: number) => Promise<A>,
): Promise<Around<A>> {
  for (let limit = most; ; ) {
    try {
      return { answer: await read(limit) }
    } catch (error) {
      const damage = damageOf(error)
      if (damage === undefined) throw error
      if (limit === 1) return { damage }
      const room = after === undefined ? limit : damage.position - after - 1
      limit = Math.max(1, Math.min(limit >> 2, room))
    }
  }
}

/** The damage that an error tells of; undefined if it tells of another trouble, or not of which record. */
export function damageOf(error: unknown): Damage | undefined {
  if (!isUnderpinError(error, 'damaged')) return undefined
  const { position, expected, found } = error.details
  if (typeof position !== 'number') return undefined
  const key = keyIn(error)
  if (key === undefined) return undefined
  return {
    ...{ kind: 'damage', position, key, message: error.message },
    ...{ expected: String(expected), found: String(found) },
  }
}

function keyIn({ details }: UnderpinError): RecordKey | undefined {
  const { collection, id, stream, seq } = details
  if (typeof collection === 'string' && typeof id === 'string') return { collection, id }
  return typeof stream === 'string' && typeof seq === 'number' ? { stream, seq } : undefined
}

/** Refuses answers of a side that is not what it was when the comparison began. */
export function checkOf(
  backend: Backend,
  domain: string,
  roles: readonly Served['role'][],
  epoch?: number,
): CheckServed {
  return (served) => {
    if (roles.includes(served.role) && (epoch === undefined || served.epoch === epoch)) return
    throw new UnderpinError(
      'fenced',
      `Domain ${domain} changed sides while it was compared: ${backend.name} is ${served.role} now`,
      { hint: 'Compare again.', details: { domain, role: served.role, epoch: served.epoch } },
    )
  }
}
