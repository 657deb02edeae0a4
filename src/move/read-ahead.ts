/** Pages of a feed, read while those before are applied: as many as memory allows, each where the one before ended. */
import type { Backend, CallOptions } from '../backend/backend.ts'
import { isUnderpinError } from '../error.ts'
import type { FeedPart } from '../model/page.ts'
import type { Position } from '../model/position.ts'
import { isTruncation } from '../model/truncation.ts'
import { isVerified, noteVerified } from '../model/verified.ts'
import type { Sides } from './sides.ts'
import { type Amount, amountOf } from './survey.ts'

export interface Read {
  /** Where it was read from. */
  readonly after: Position
  readonly page: FeedPart
  readonly amount: Amount
  /** How many records were wanted; a commit is not parted, so there may be more. */
  readonly limit: number
}

/** Pages that wait at most, and bytes of them, after which nothing more is read. */
const mostPages = 3
const mostBytes = 33_554_432
/** A page is read in parts of so many bytes at most, as far as the size of the records before tells. */
const pageBytes = 8_388_608
/** Of a store that reads within the call, which lets nothing else run meanwhile. */
const partItems = 500
/** Records in the first part: nobody knows yet how large they are. */
const firstItems = 1_000

export class ReadAhead {
  readonly #source: Backend
  readonly #domain: string
  readonly #options: CallOptions
  #mostPages = mostPages
  #after: Position
  #limit = firstItems
  /** Bytes of a record, as it was lately. */
  #recordBytes = 0
  #isReading = false
  #isEnd = false
  #bytes = 0
  readonly #pages: Promise<Read>[] = []

  constructor({ source, domain }: Sides, after: Position, options: CallOptions) {
    this.#source = source
    this.#domain = domain
    this.#after = after
    this.#options = options
  }

  /** The next page, of about `limit` records; those behind it are read from then on, if there is time for it. */
  async next(limit: number, isAhead: boolean): Promise<Read> {
    this.#limit = limit
    this.#mostPages = isAhead ? mostPages : 0
    if (this.#pages.length === 0) this.#read()
    const read = await (this.#pages[0] as Promise<Read>)
    this.#pages.shift()
    this.#bytes -= read.amount.bytes
    this.#more()
    return read
  }

  #more(): void {
    const isFull = this.#pages.length >= this.#mostPages || this.#bytes >= mostBytes
    if (!this.#isReading && !this.#isEnd && !isFull) this.#read()
  }

  #read(): void {
    this.#isReading = true
    const reading = this.#readPage()
    this.#pages.push(reading)
    const goOn = ({ amount }: Read) => {
      this.#isReading = false
      this.#bytes += amount.bytes
      this.#more()
    }
    // Whoever asks for the page meets the failure.
    void Promise.allSettled([reading.then(goOn)])
  }

  /** From where the page before ended, in as many parts as it takes. */
  async #readPage(): Promise<Read> {
    const [after, limit] = [this.#after, this.#limit]
    // So that what is applied meanwhile is on its way before this process is busy with reading.
    await nextTurn()
    const parts = [await this.#readPart(after)]
    let page = parts[0] as FeedPart
    let amount = this.#take(page)
    while (this.#source.supports.sync && mayGoOn(page, amount, limit)) {
      await nextTurn()
      const part = await this.#readPart(page.next).catch(notIfDamaged)
      if (part === undefined || part.items.some(isTruncation)) break
      const more = this.#take(part)
      amount = { records: amount.records + more.records, bytes: amount.bytes + more.bytes }
      parts.push(part)
      page = part
    }
    this.#after = page.next
    this.#isEnd = page.next >= page.head
    return { after, page: joined(parts), amount, limit }
  }

  /** Fewer records at once where one of them is damaged, so that what is before it is copied. */
  async #readPart(after: Position): Promise<FeedPart> {
    const known = this.#recordBytes === 0 ? firstItems : Math.floor(pageBytes / this.#recordBytes)
    const most = this.#source.supports.sync ? partItems : this.#limit
    for (let limit = Math.max(1, Math.min(this.#limit, known, most)); ; limit >>= 1) {
      try {
        return await this.#source.changes(this.#domain, after, limit, this.#options)
      } catch (error) {
        if (limit === 1 || !isUnderpinError(error, 'damaged')) throw error
      }
    }
  }

  #take({ items }: FeedPart): Amount {
    const amount = amountOf(items)
    if (items.length > 0) this.#recordBytes = Math.max(1, amount.bytes / items.length)
    return amount
  }
}

/** What is before a damaged record is a page of its own; the next one says what is wrong. */
function notIfDamaged(error: unknown): undefined {
  if (!isUnderpinError(error, 'damaged')) throw error
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function mayGoOn({ next, head }: FeedPart, { records, bytes }: Amount, limit: number): boolean {
  return next < head && records < limit && bytes < pageBytes
}

/** Parts as one page. Read one after the other, they may hold two states of a document, of which the later one counts. */
function joined(parts: readonly FeedPart[]): FeedPart {
  const last = parts.at(-1) as FeedPart
  if (parts.length === 1) return last
  const items = parts.flatMap((part) => part.items)
  const areVerified = parts.every((part) => isVerified(part.items))
  return {
    ...last,
    items: areVerified ? noteVerified(items) : items,
    truncations: parts.flatMap(({ truncations = [] }) => truncations),
  }
}
