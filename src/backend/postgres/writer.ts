/**
 * The writes of one domain, one after another: each is planned on what the one before left. While this process is the
 * domain's only writer, a write is one statement that is guarded by the fence as it was last seen; when writers meet, it
 * is a transaction that holds the fence's lock.
 */
import { type Clock, sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import { definitionsCollection } from '../../model/collection.ts'
import { sameFence } from '../../model/fence.ts'
import type { FeedPart } from '../../model/page.ts'
import { declaredIn, type Plan } from '../plan.ts'
import type { BoundHandler } from '../table-handler.ts'
import { Catalog, type Definitions } from './catalog.ts'
import type { Database } from './driver.ts'
import { isLasting, isMissing, isRefusal } from './error.ts'
import { type FenceRow, lockFence, readFence, toFenceRow } from './fence-row.ts'
import { runHandler } from './handler.ts'
import { type Needs, noNeeds } from './heads.ts'
import { isEmpty, type MakePlan, writeUnderLock } from './locked.ts'
import { repairUnderLock } from './repair.ts'
import type { Tables } from './table.ts'
import { PostgresView } from './view.ts'
import { newToken, wasWritten, writePlan } from './write.ts'

export interface WriteOptions {
  /** A bulk of records is copied, in a transaction. */
  readonly isBulk?: boolean
  /** What the plan will ask for: fetched with the lock where writers meet. */
  readonly needs?: () => Needs
  /** Runs in the transaction of the write, behind it. */
  readonly handler?: BoundHandler | undefined
}

/**
 * Groups that go under the lock at once after writers met: one, if the other writer comes now and then; four times as
 * many each time that optimism was wrong within so many milliseconds.
 */
const lockedGroups = { least: 1, most: 64, growth: 4, soonMs: 50 } as const

/** Milliseconds; whoever waits for the answer has given up by then. */
const askForMs = 10_000

export class Writer {
  readonly catalog: Catalog
  readonly #tables: Tables
  readonly #domain: string
  readonly #clock: Clock
  readonly #onMoved: () => void
  readonly #view: PostgresView
  /** The fence as this process last saw it: what it plans for, and what a write is guarded by. */
  #known: FenceRow | undefined
  #contended = 0
  #lockedGroups: number = lockedGroups.least
  /** When the last write under the lock was begun, by the monotonic clock. */
  #lockedAt = Number.NEGATIVE_INFINITY
  #last: Promise<unknown> = Promise.resolve()

  constructor(tables: Tables, domain: string, clock: Clock, onMoved: () => void) {
    this.#tables = tables
    this.#domain = domain
    this.#clock = clock
    this.#onMoved = onMoved
    this.catalog = new Catalog(tables, domain)
    this.#view = new PostgresView(tables, domain, this.catalog)
  }

  write(database: Database, make: MakePlan, options: WriteOptions = {}): Promise<Plan> {
    return this.#inTurn(async () => {
      if (options.isBulk || options.handler) return this.#writeLocked(database, make, options)
      if (this.#contended > 0) this.#contended--
      else if (this.#known !== undefined) {
        const written = await this.#writeGuarded(database, this.#known, make)
        if (typeof written === 'object') return written
        if (written === 'overtaken') this.#meet()
      }
      return this.#writeLocked(database, make, options)
    })
  }

  /** Puts records of a copy right, under the lock. What this process knew of it counts no more. */
  async repair(database: Database, epoch: number, page: FeedPart): Promise<void> {
    const [tables, domain, view] = [this.#tables, this.#domain, this.#view]
    await this.#inTurn(async () => {
      this.forget()
      try {
        await database.transaction(
          async (query, { first: [found = []] }) =>
            repairUnderLock(query, toFenceRow(found[0]), { tables, domain, epoch, view, page }),
          [lockFence(tables, domain)],
        )
      } finally {
        this.forget()
      }
    })
  }

  /** Somebody else wrote: how long the lock is better than a guard depends on how often that happens. */
  #meet(): void {
    const { least, most, growth, soonMs } = lockedGroups
    const isSoon = this.#clock.monotonic() - this.#lockedAt < soonMs
    this.#lockedGroups = isSoon ? Math.min(most, this.#lockedGroups * growth) : least
    this.#contended = this.#lockedGroups
  }

  /** Resolves when no write is under way. */
  async settled(): Promise<void> {
    await this.#last
  }

  /** After a transition everything may be different. */
  forget(): void {
    this.#known = undefined
    this.#view.clear()
    this.catalog.forget()
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run)
    this.#last = turn.catch(() => undefined)
    return turn
  }

  /** The plan that was written; or that somebody else moved the fence, or that more than one statement is needed. */
  async #writeGuarded(
    database: Database,
    known: FenceRow,
    make: MakePlan,
  ): Promise<Plan | 'overtaken' | 'not this way'> {
    const { query } = database
    this.#view.moveTo(known)
    const plan = await this.#view
      .plan(query, () => make(known.fence, this.#view))
      .catch((error: unknown) => {
        // By a fence that is only remembered nobody is refused, and its tables may be gone.
        if (!isUnderpinError(error, 'fenced') && !isMissing(error)) throw error
        this.forget()
      })
    if (plan === undefined) return 'overtaken'
    if (needsTransaction(plan, await this.catalog.load(query, known.catalog))) return 'not this way'
    if (plan.isWhole && !this.#view.isUnique) return 'not this way'
    const token = newToken()
    const isWritten = isEmpty(plan, known)
      ? isSameRight(await readFence(query, this.#tables, this.#domain), known)
      : await this.#resolved(database, known, plan, token, () =>
          writePlan(query, this.#tables, this.#domain, known, plan, token),
        )
    if (!isWritten) {
      this.#known = undefined
      return 'overtaken'
    }
    this.#remember(known, plan)
    return plan
  }

  async #writeLocked(
    database: Database,
    make: MakePlan,
    { isBulk = false, handler, needs }: WriteOptions,
  ): Promise<Plan> {
    this.#lockedAt = this.#clock.monotonic()
    const [tables, domain, view, token] = [this.#tables, this.#domain, this.#view, newToken()]
    const ahead = view.ahead(this.#contended > 0 && needs ? needs() : noNeeds())
    let written: { row: FenceRow; plan: Plan } | undefined
    const run = () =>
      database.transaction(
        async (query, { first: [found = [], ...heads], last, copy, client }) => {
          const row = toFenceRow(found[0])
          view.moveTo(row)
          ahead.take(heads)
          const planned = (plan: Plan) => {
            written = { row, plan }
          }
          const { outcomes } = await writeUnderLock(query, row, {
            ...{ tables, domain, view, make, token, planned },
            copy: isBulk ? copy : undefined,
            ...(handler === undefined ? { last } : {}),
          })
          if (handler !== undefined) await runHandler(query, client, handler, outcomes[0])
          return true
        },
        [lockFence(tables, domain), ...ahead.statements],
      )
    try {
      await run().catch((error) => {
        if (written === undefined) throw error
        const { row, plan } = written
        return this.#resolved(database, row, plan, token, () => Promise.reject(error))
      })
    } catch (error) {
      this.forget()
      // What was to be fetched ahead may be of a copy that is gone: the fence says what is here now.
      if (written === undefined && ahead.statements.length > 0 && isMissing(error))
        return this.#writeLocked(database, make, { isBulk, handler })
      throw error
    }
    if (written === undefined) throw new TypeError('A transaction ended without its work')
    this.#remember(written.row, written.plan)
    return written.plan
  }

  /** Runs a write; when its session died, asks the store what became of it. */
  async #resolved(
    database: Database,
    row: FenceRow,
    plan: Plan,
    token: string,
    run: () => Promise<boolean>,
  ): Promise<boolean> {
    try {
      return await run()
    } catch (error) {
      this.#known = undefined
      if (isUnderpinError(error) || isRefusal(error) || isEmpty(plan, row)) throw error
      if (await this.#wasWritten(database, row.fence.incarnation, plan, token)) return true
      throw error
    }
  }

  /** Asks until there is an answer: the server may be starting again. */
  async #wasWritten(database: Database, incarnation: string, plan: Plan, token: string): Promise<boolean> {
    const since = this.#clock.monotonic()
    for (let delayMs = 1; ; delayMs = Math.min(delayMs * 2, 100)) {
      try {
        return await wasWritten(database, this.#tables, this.#domain, incarnation, plan, token)
      } catch (cause) {
        if (isLasting(cause) || this.#clock.monotonic() - since > askForMs)
          throw unresolved(this.#domain, cause)
        await sleep(this.#clock, delayMs)
      }
    }
  }

  #remember(row: FenceRow, plan: Plan): void {
    const { head } = plan
    const isDeclaring = declaredIn(plan.changes).size > 0
    this.#known = {
      fence: { ...row.fence, head, digest: plan.digest.toString() },
      turn: row.turn,
      catalog: isDeclaring ? row.catalog + 1 : row.catalog,
    }
    if (isDeclaring) this.#view.clear()
    else this.#view.absorb(plan)
    if (head !== row.fence.head) this.#onMoved()
  }
}

function isSameRight(found: FenceRow, seen: FenceRow): boolean {
  return (
    found.turn === seen.turn && sameFence(found.fence, seen.fence) && found.fence.head === seen.fence.head
  )
}

function unresolved(domain: string, cause: unknown): UnderpinError {
  return new UnderpinError('unknown', `The session ended while a commit was under way in domain ${domain}`, {
    hint: 'Give commits an id and retry them to find out.',
    cause,
  })
}

/** New tables, events to remove, and unique keys that may pass from one document to another, take more than one statement. */
function needsTransaction(plan: Plan, definitions: Definitions): boolean {
  if (plan.evicted.length > 0 || plan.removed.length > 0) return true
  return [...plan.stage.documents.keys()].some(
    (collection) =>
      collection === definitionsCollection || !definitions.has(collection) || plan.stage.takesKey(collection),
  )
}
