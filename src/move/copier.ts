/**
 * Copies a feed in one direction, page by page, reading ahead. It remembers nothing that it could not look up: after
 * anything that went wrong it looks where the copy stands. So it can be begun anywhere, by any process, at any time.
 */
import type { CallOptions } from '../backend/backend.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import { type Gap, gapOf, troubleOf } from './gap.ts'
import { type Read, ReadAhead } from './read-ahead.ts'
import type { Sides } from './sides.ts'
import type { Amount } from './survey.ts'

/**
 * - `copied`: a page more is there;
 * - `caught up`: the copy holds everything that the source had when it was read;
 * - `overtaken`: somebody else copied meanwhile, so a page came too late;
 * - `narrower`: the target refused a page of several commits; the next ones are smaller;
 * - `gap`: it refused a single commit, or the source cannot give a record.
 */
export type Step = { readonly position: Position; readonly head: Position } & (
  | { readonly kind: 'copied'; readonly amount: Amount }
  | { readonly kind: 'caught up' | 'overtaken' | 'narrower' }
  | { readonly kind: 'gap'; readonly gap: Gap }
)

/** Where the copy stands, as long as nobody else moves it. */
interface Standing {
  readonly epoch: number
  readonly position: Position
  readonly ahead: ReadAhead
}

export class Copier {
  readonly #sides: Sides
  readonly #options: CallOptions
  #standing: Standing | undefined
  /** Records in a page at most: few after a refusal, to find the one that is refused. */
  #most = Number.POSITIVE_INFINITY

  constructor(sides: Sides, options: CallOptions = {}) {
    this.#sides = sides
    this.#options = options
  }

  /** Forgets what was read ahead: after a pause it would be old, and takes memory. */
  rest(): void {
    this.#standing = undefined
  }

  /** One page on; those behind it are read meanwhile, if they may be. Fails as the stores do, and with `fenced` if this is no direction to copy in. */
  async step(pageItems: number, mayReadAhead = false): Promise<Step> {
    const { epoch, position, ahead } = await this.#stand()
    const limit = Math.max(1, Math.min(pageItems, this.#most))
    try {
      const read = await ahead.next(limit, mayReadAhead)
      this.#checkSource(read, position)
      const { page, amount } = read
      const { head, next } = page
      if (next === position) return this.#caughtUp(position, head)
      // Read while larger pages were wanted.
      if (read.limit > 2 * limit) {
        this.rest()
        return await this.step(pageItems, mayReadAhead)
      }
      const refusal = await this.#apply(epoch, read)
      if (refusal !== undefined) return await this.#narrow(refusal, read, position)
      this.#standing = { epoch, position: next, ahead }
      this.#most *= 2
      return { kind: 'copied', position: next, head, amount }
    } catch (error) {
      this.rest()
      if (!isUnderpinError(error, 'damaged')) throw error
      const { head } = await this.#sides.source.fence(this.#sides.domain, this.#options)
      return { kind: 'gap', position, head, gap: gapOf(error, position + 1) }
    }
  }

  async #stand(): Promise<Standing> {
    if (this.#standing !== undefined) return this.#standing
    const { domain, target } = this.#sides
    const { head, epoch } = await target.fence(domain, this.#options)
    this.#standing = { epoch, position: head, ahead: new ReadAhead(this.#sides, head, this.#options) }
    return this.#standing
  }

  #caughtUp(position: Position, head: Position): Step {
    this.rest()
    return { kind: 'caught up', position, head }
  }

  /** A side that follows, or gave its copy up, hands out a feed too; it is not to be copied. */
  #checkSource({ page }: Read, position: Position): void {
    const { role, next } = page
    if (['authority', 'sealed', 'handed-off'].includes(role) && next >= position) return
    const { domain, source } = this.#sides
    throw new UnderpinError(
      'fenced',
      `Domain ${domain} is ${role} on ${source.name}: it is not copied from there`,
      {
        details: { domain, role },
      },
    )
  }

  /** Why the target does not take the page, if it says that it never will. */
  async #apply(epoch: number, { after, page }: Read): Promise<UnderpinError | undefined> {
    const { domain, target } = this.#sides
    try {
      // A target that lost what it acknowledged (a failover) stands before this page, and says so.
      await target.apply(domain, epoch, { ...page, after }, this.#options)
      return undefined
    } catch (error) {
      if (isUnderpinError(error) && troubleOf(error) === 'gap') return error
      throw error
    }
  }

  /** A page is also refused when it is the next one no longer: only where the copy still stands there it is the page. */
  async #narrow(refusal: UnderpinError, read: Read, position: Position): Promise<Step> {
    this.rest()
    const { domain, target } = this.#sides
    const { head, items } = read.page
    const found = await target.fence(domain, this.#options)
    if (found.head !== position) return { kind: 'overtaken', position: found.head, head }
    this.#most = isOneCommit(read) ? 1 : Math.max(1, Math.floor(items.length / 2))
    if (!isOneCommit(read)) return { kind: 'narrower', position, head }
    return { kind: 'gap', position, head, gap: gapOf(refusal, items[0]?.position ?? position + 1) }
  }
}

function isOneCommit({ page: { items } }: Read): boolean {
  return items.every(({ commit }) => commit === items[0]?.commit)
}
