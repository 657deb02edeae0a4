/** Verifies a domain as a backend holds it: every record's checksum from its content, and the digest from all of them. */
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Change } from '../model/change.ts'
import { DigestSum, emptyDigest } from '../model/digest.ts'
import type { Position } from '../model/position.ts'
import { isTruncation } from '../model/truncation.ts'
import type { Backend, CallOptions } from './backend.ts'

/** A record whose content is not what its checksum was made of. */
export interface DamagedRecord {
  readonly position: Position
  readonly message: string
}

export interface Verification {
  readonly domain: string
  readonly head: Position
  readonly events: number
  readonly documents: number
  readonly tombstones: number
  readonly damaged: readonly DamagedRecord[]
  /** The digest that the fence names. */
  readonly digest: string
  /** The sum of the checksums that were found. */
  readonly found: string
  /** No record damaged, and the digests equal. */
  readonly isSound: boolean
}

export interface VerifyOptions extends CallOptions {
  /** Records read at a time; 1,000 if left out. */
  readonly pageItems?: number
  /** Called after each page with the position reached; what it returns is waited for. */
  readonly onProgress?: (position: Position, head: Position) => void | Promise<void>
}

/**
 * Reads the whole feed and recomputes what can be recomputed. The domain may be written to meanwhile: what is written
 * is verified too, and the digests are compared at a moment when the end is the head. Where streams are truncated
 * meanwhile, whose events were counted already, it begins again. Never repairs anything.
 */
export async function verifyDomain(
  backend: Backend,
  domain: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  for (let attempt = 1; ; attempt++) {
    const found = await verifyOnce(backend, domain, options)
    if (found !== 'truncated meanwhile') return found
    if (attempt === attempts)
      throw new UnderpinError('unavailable', `Streams of domain ${domain} were truncated all the while`, {
        hint: 'Verify while nobody compacts.',
      })
  }
}

const attempts = 10

async function verifyOnce(
  backend: Backend,
  domain: string,
  options: VerifyOptions,
): Promise<Verification | 'truncated meanwhile'> {
  const { signal, onProgress } = options
  const call = signal === undefined ? {} : { signal }
  const { head: began } = await backend.fence(domain, call)
  const live = new Tally(began)
  for (let after = 0; ; ) {
    const page = await readPage(backend, domain, after, options, live)
    after = page.next
    await onProgress?.(after, page.head)
    if (page.next < page.head) continue
    if (live.isOvertaken) return 'truncated meanwhile'
    const fence = await backend.fence(domain, call)
    if (fence.head === page.next) return live.toVerification(domain, fence.head, fence.digest)
  }
}

/** One page; where a record is damaged, ever smaller ones around it, so that each damaged record is named. */
async function readPage(
  backend: Backend,
  domain: string,
  after: Position,
  { pageItems = 1_000, signal }: VerifyOptions,
  live: Tally,
): Promise<{ next: Position; head: Position }> {
  for (let limit = pageItems; ; limit = Math.max(1, limit >> 2)) {
    try {
      const page = await backend.changes(domain, after, limit, signal === undefined ? {} : { signal })
      for (const change of page.items) live.add(change)
      return page
    } catch (error) {
      const position = damagedPosition(error)
      if (position === undefined || !isUnderpinError(error)) throw error
      if (limit > 1) continue
      live.damaged.push({ position, message: error.message })
      return { next: position, head: Number.POSITIVE_INFINITY }
    }
  }
}

function damagedPosition(error: unknown): Position | undefined {
  if (!isUnderpinError(error, 'damaged')) return undefined
  const { position } = error.details
  return typeof position === 'number' ? position : undefined
}

/** What was found so far. Of a document changed while it is being verified, only its latest state counts. */
class Tally {
  readonly damaged: DamagedRecord[] = []
  readonly #sum = new DigestSum(emptyDigest)
  readonly #documents = new Map<string, { checksum: string; isTombstone: boolean }>()
  #events = 0
  /** Whether events may have been counted that were truncated since. */
  isOvertaken = false
  readonly #began: Position

  constructor(began: Position) {
    this.#began = began
  }

  add(change: Change): void {
    if (isTruncation(change) && change.position > this.#began) this.isOvertaken = true
    this.#sum.add(change.checksum)
    if (change.kind === 'event') {
      this.#events++
      return
    }
    const key = `${change.collection}\0${change.id}`
    const before = this.#documents.get(key)
    if (before !== undefined) this.#sum.subtract(before.checksum)
    this.#documents.set(key, { checksum: change.checksum, isTombstone: change.kind === 'tombstone' })
  }

  toVerification(domain: string, head: Position, digest: string): Verification {
    const found = this.#sum.toString()
    let tombstones = 0
    for (const { isTombstone } of this.#documents.values()) if (isTombstone) tombstones++
    return {
      domain,
      head,
      events: this.#events,
      documents: this.#documents.size - tombstones,
      tombstones,
      damaged: this.damaged,
      digest,
      found,
      isSound: this.damaged.length === 0 && digest === found,
    }
  }
}
