/**
 * Compares both sides behind the decision of a cutover, before whoever decided opens the target. Everything is looked at:
 * each record with its position, revision, time, expiry and text, so with all checkpoints, locks and results; and the pages
 * that a reader would be given, with their cursors. A caller that waits may open the target meanwhile: what came behind the
 * head of the cutover is told from what differs at it.
 */
import type { Backend } from '../../../src/backend/backend.ts'
import type { Change } from '../../../src/model/change.ts'
import type { Fence } from '../../../src/model/fence.ts'
import type { Page } from '../../../src/model/page.ts'
import { Forward } from '../../../src/wrapper/forward.ts'

export interface Comparisons {
  /** The heads at which both sides were compared. */
  readonly heads: number[]
  records: number
  /** Records and pages of one side that are not those of the other, as text. */
  readonly differences: string[]
  /** Milliseconds that callers were held up by the comparison alone. */
  ms: number
}

export const noComparisons = (): Comparisons => ({ heads: [], records: 0, differences: [], ms: 0 })

type Pair = Readonly<Record<'a' | 'b', Backend>>

/** Both backends; when one hands off, the two are compared, as they are without what is around them. */
export function compared(given: Pair, into: Comparisons, bare: Pair = given): Pair {
  return {
    a: new Comparing(given.a, [bare.a, bare.b], into),
    b: new Comparing(given.b, [bare.b, bare.a], into),
  }
}

class Comparing extends Forward {
  readonly #own: Backend
  readonly #other: Backend
  readonly #into: Comparisons

  constructor(inner: Backend, [own, other]: readonly [Backend, Backend], into: Comparisons) {
    super(inner)
    this.#own = own
    this.#other = other
    this.#into = into
  }

  override async transition(domain: string, from: Fence, to: Fence): Promise<boolean> {
    const isTaken = await this.inner.transition(domain, from, to)
    if (isTaken && to.role === 'handed-off') await this.#compare(domain)
    return isTaken
  }

  async #compare(domain: string): Promise<void> {
    const since = performance.now()
    const into = this.#into
    const { head } = await this.#own.fence(domain)
    const [left, right] = [await recordsOf(this.#own, domain), await recordsOf(this.#other, domain)]
    for (const key of new Set([...left.keys(), ...right.keys()])) {
      const [own, other] = [left.get(key), right.get(key)]
      const isNewer = (own?.position ?? 0) > head || (other?.position ?? 0) > head
      if (!isNewer) compare(into, key, own && show(own), other && show(other))
    }
    into.records += left.size
    into.heads.push(head)
    await this.#comparePages(domain, head, new Set([...left.values()].flatMap(collectionOf)))
    into.ms += performance.now() - since
  }

  /** Of what did not move on meanwhile. */
  async #comparePages(domain: string, head: number, collections: ReadonlySet<string>): Promise<void> {
    for (const collection of collections) {
      const own = await pagesOf(this.#own, domain, collection)
      const other = await pagesOf(this.#other, domain, collection)
      const heads = [(await this.#own.fence(domain)).head, (await this.#other.fence(domain)).head]
      if (heads.every((one) => one === head)) compare(this.#into, `pages of ${collection}`, own, other)
    }
  }
}

const collectionOf = (change: Change) => (change.kind === 'event' ? [] : [change.collection])

/** Names sort, so that two objects alike are two texts alike. */
function show(change: object): string {
  return JSON.stringify(change, Object.keys(change).sort())
}

function compare(
  { differences }: Comparisons,
  what: string,
  own: string | undefined,
  other: string | undefined,
): void {
  if (own !== other) differences.push(`${what}: ${own} on the old side, ${other} on the new one`)
}

/** The records of the feed, each under what it is one of. */
async function recordsOf(backend: Backend, domain: string): Promise<Map<string, Change>> {
  const records = new Map<string, Change>()
  for (let [after, head] = [0, 1]; after < head; ) {
    const page = await backend.changes(domain, after, 1_000)
    for (const item of page.items)
      records.set(
        item.kind === 'event' ? `${item.stream}#${item.seq}` : `${item.collection}/${item.id}`,
        item,
      )
    ;[after, head] = [page.next, page.head]
  }
  return records
}

/** The pages of a collection by id, small ones, as a text. */
async function pagesOf(backend: Backend, domain: string, collection: string): Promise<string> {
  const pages: string[] = []
  const query = { collection, by: 'id', prefix: '', backwards: false, limit: 50 } as const
  for (let after: string | null = null, isOver = false; !isOver; ) {
    const page: Page<Change, string | null> = await backend.scan(domain, { ...query, after })
    pages.push(`${page.items.map(({ position }) => position)} next ${page.next}`)
    after = page.next
    isOver = after === null
  }
  return pages.join('; ')
}
