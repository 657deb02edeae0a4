/** The verbs on a SQLite database. Each is one transaction; a commit takes the write lock first, so that nothing it reads can change. */
import { UnderpinError } from '../../error.ts'
import { type CollectionDefinition, type FieldValue, plainCollection } from '../../model/collection.ts'
import type { Document } from '../../model/document.ts'
import type { Event } from '../../model/event.ts'
import { type Fence, type Role, sameFence, vacantFence } from '../../model/fence.ts'
import {
  type Cursor,
  encodeCursor,
  type FeedPart,
  type Page,
  type Query,
  type Range,
  type Served,
} from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import type { Found, SyncBackend } from '../backend.ts'
import { inTheWay } from '../foreign.ts'
import {
  baseOf,
  checkAuthority,
  checkFollower,
  declaredIn,
  inParts,
  type Plan,
  planCommits,
} from '../plan.ts'
import { inFeedParts, planApply } from '../plan-apply.ts'
import { planRepair } from '../plan-repair.ts'
import { collectionTable, eventsTable } from '../sql/name.ts'
import {
  documentColumns,
  eventColumns,
  fenceColumns,
  lastOfEach,
  pushDocument,
  pushEvent,
  toDocument,
  toEvent,
  toFence,
} from '../sql/record.ts'
import { type SqlValue, scanSql } from '../sql/scan.ts'
import { type BoundHandler, handlerOf, refusalOf } from '../table-handler.ts'
import type { Connection, Statement } from './driver.ts'
import { isBusy, isFatal, isTaken, translate } from './error.ts'
import { readChanges } from './feed.ts'
import { runHandler } from './handler.ts'
import { RecordCache } from './record-cache.ts'
import { writeRepair } from './repair.ts'
import { hasUnique, insertRows, joinedColumns } from './rows.ts'
import { alterCollection, createDomain, dropDomain, sqlite } from './table.ts'
import { truncationsOf } from './truncate.ts'
import { SqliteView } from './view.ts'

export class SqliteVerbs implements SyncBackend {
  readonly #place: string
  readonly #connect: () => Connection
  readonly #moved: (domain: string) => void
  #connection: Connection | undefined
  #poison: unknown
  readonly #statements = new Map<string, Statement>()
  readonly #views = new Map<string, SqliteView>()
  readonly #records: RecordCache | undefined

  /** `isShared`: others write over the same connection, so its data version does not tell of all that is written. */
  constructor(place: string, connect: () => Connection, moved: (domain: string) => void, isShared: boolean) {
    this.#records = isShared ? undefined : new RecordCache()
    this.#place = place
    this.#connect = connect
    this.#moved = moved
  }

  open(): void {
    if (this.#connection !== undefined) return
    this.#connection = this.#connect()
    this.#poison = undefined
  }

  close(): void {
    this.#statements.clear()
    this.#views.clear()
    this.#records?.clear()
    const connection = this.#connection
    this.#connection = undefined
    connection?.close()
  }

  /** Changes whenever another connection has committed. */
  dataVersion(): number {
    return this.#guard(() => this.#dataVersion())
  }

  domains(): readonly string[] {
    return this.#guard(() =>
      this.#rows('SELECT domain FROM underpin_fences ORDER BY domain').map(([domain]) => String(domain)),
    )
  }

  fence(domain: string): Fence {
    return this.#guard(() => this.#fence(domain))
  }

  commit(...[domain, epoch, commits]: Parameters<SyncBackend['commit']>): ReturnType<SyncBackend['commit']> {
    const commitPart = (part: typeof commits) => {
      const handler = handlerOf(part)
      const make = (fence: Fence, view: SqliteView) => {
        checkAuthority(domain, fence, epoch)
        return planCommits(view, baseOf(fence), part)
      }
      if (handler === undefined) return this.#write(domain, make).outcomes
      try {
        return this.#write(domain, make, handler).outcomes
      } catch (error) {
        return refusalOf(error)
      }
    }
    return inParts(commits, commitPart)
  }

  apply(domain: string, epoch: number, page: FeedPart): void {
    if (page.repair !== undefined) this.#repair(domain, epoch, page)
    else for (const part of inFeedParts(page)) this.#take(domain, epoch, part)
  }

  #take(domain: string, epoch: number, page: FeedPart): void {
    try {
      this.#write(domain, (fence, view) => {
        checkFollower(domain, fence, epoch)
        return planApply(view, baseOf(fence), page)
      })
    } catch (error) {
      throw isTaken(error) ? inTheWay(domain, error) : error
    }
  }

  #repair(domain: string, epoch: number, page: FeedPart): void {
    const [run, rows] = [this.#run, this.#rows]
    this.#locked(() => {
      const fence = this.#fence(domain)
      checkFollower(domain, fence, epoch)
      writeRepair({ run, rows }, domain, planRepair(new SqliteView(domain, rows), fence.head, page))
    })
    this.#views.delete(domain)
    this.#records?.clear()
  }

  read(
    domain: string,
    stream: string,
    { after, before, backwards, limit }: Range,
  ): Page<Event, number | null> {
    const direction = backwards ? 'DESC' : 'ASC'
    const sql = `SELECT ${eventColumns} FROM ${eventsTable(domain)} WHERE stream = ? AND seq > ? AND seq < ? ORDER BY seq ${direction} LIMIT ?`
    return this.#snapshot(domain, (served) => {
      if (served.role === 'vacant') return { items: [], next: null, ...served }
      const rows = this.#rows(sql, stream, after, Math.min(before, Number.MAX_SAFE_INTEGER), limit + 1)
      const items = (rows.length > limit ? rows.slice(0, limit) : rows).map(toEvent)
      return { items, next: rows.length > limit ? (items.at(-1)?.seq ?? null) : null, ...served }
    })
  }

  get(domain: string, keys: Parameters<SyncBackend['get']>[1]): Found {
    const [key] = keys
    if (key !== undefined && keys.length === 1) return this.#getOne(domain, key.collection, key.id)
    return this.#snapshot(domain, (served) => {
      const documents = keys.map(({ collection, id }) => {
        const [row] = this.#rows(
          `SELECT ${documentColumns} FROM ${this.#table(domain, collection)} WHERE id = ?`,
          id,
        )
        return row === undefined ? undefined : toDocument(collection, row)
      })
      return { documents, ...served }
    })
  }

  scan(domain: string, query: Query): Page<Document, Cursor | null> {
    return this.#snapshot(domain, (served) => {
      const table = this.#table(domain, query.collection)
      const { where, orderBy, parameters, keyColumns } = scanSql(
        sqlite,
        this.#definition(domain, query.collection),
        query,
      )
      const columns = [documentColumns, ...keyColumns].join(', ')
      const rows = this.#rows(
        `SELECT ${columns} FROM ${table} WHERE ${where} ORDER BY ${orderBy} LIMIT ?`,
        ...parameters,
        query.limit + 1,
      )
      const page = rows.slice(0, query.limit)
      const items = page.map((row) => toDocument(query.collection, row) as Document)
      const last = page.at(-1)
      const next =
        rows.length > query.limit && last !== undefined
          ? encodeCursor({ key: last.slice(7) as FieldValue[], id: String(last[1]) })
          : null
      return { items, next, ...served }
    })
  }

  changes(domain: string, after: Position, limit: number): FeedPart {
    return this.#snapshot(domain, (served) => {
      if (served.role === 'vacant') return { items: [], next: 0, ...served }
      const collections = [...this.#view(domain, this.#fence(domain)).definitions().keys()]
      const { items, isEnd } = readChanges(this.#rows, domain, collections, after, limit)
      const next = isEnd ? served.head : (items.at(-1)?.position ?? after)
      const truncations = collections.includes(truncationsCollection)
        ? truncationsOf(this.#rows, domain, items, next)
        : []
      return { items, next, truncations, ...served }
    })
  }

  transition(domain: string, from: Fence, to: Fence): boolean {
    const isDone = this.#locked(() => {
      const found = this.#fence(domain)
      if (!sameFence(found, from)) return false
      const isNewCopy = to.role === 'prepared' || found.role === 'vacant'
      if (isNewCopy) {
        dropDomain(this.#open(), domain)
        createDomain(this.#open(), domain)
      }
      const { head, digest } = isNewCopy ? vacantFence : found
      this.#run(
        `INSERT OR REPLACE INTO underpin_fences (domain, ${fenceColumns}) VALUES (?, ?, ?, ?, ?, ?, ?)`,
        domain,
        to.role,
        to.epoch,
        head,
        digest,
        to.incarnation,
        to.successor,
      )
      return true
    })
    this.#views.delete(domain)
    this.#records?.clear()
    if (isDone) this.#moved(domain)
    return isDone
  }

  /** Plans under the write lock and writes what was planned: records, then the fence, then one sync. */
  #write(domain: string, plan: (fence: Fence, view: SqliteView) => Plan, handler?: BoundHandler): Plan {
    let view: SqliteView | undefined
    try {
      const planned = this.#locked(() => {
        const fence = this.#fence(domain)
        if (fence.role === 'vacant') checkAuthority(domain, fence, fence.epoch)
        view = this.#view(domain, fence)
        // A repair by another process changes what a copy holds while its head stands.
        if (fence.role !== 'authority') view.seeVersion(this.#records && this.#dataVersion())
        const result = plan(fence, view)
        if (fence.role !== 'authority') this.#prepare(domain, view, result)
        this.#alter(domain, view, result, fence)
        this.#store(domain, result)
        if (result.isWhole) view.makeUnique(this.#open())
        if (result.head !== fence.head)
          this.#run(
            'UPDATE underpin_fences SET head = ?, digest = ? WHERE domain = ?',
            result.head,
            result.digest.toString(),
            domain,
          )
        if (handler !== undefined) runHandler(this.#open(), handler, result.outcomes[0])
        return result
      })
      if (declaredIn(planned.changes).size > 0) view?.clear()
      else view?.cache.absorb(planned.stage, planned.head)
      this.#records?.forget(domain, planned.stage)
      if (planned.changes.length > 0) this.#moved(domain)
      return planned
    } catch (error) {
      view?.clear()
      this.#records?.clear()
      throw error
    }
  }

  #alter(domain: string, view: SqliteView, { changes }: Plan, { role }: Fence): void {
    for (const [name, definition] of declaredIn(changes))
      alterCollection(this.#open(), domain, name, view.definition(name), definition, role !== 'authority')
  }

  /** Tables for documents of collections whose declaration stands further on in the feed. */
  #prepare(domain: string, view: SqliteView, { changes }: Plan): void {
    const declared = declaredIn(changes)
    for (const change of changes) {
      if (change.kind === 'event' || declared.has(change.collection)) continue
      if (view.definition(change.collection) === undefined)
        alterCollection(this.#open(), domain, change.collection, undefined, plainCollection)
    }
  }

  /** Writes the records table by table, several rows to a statement, in position order within each table. */
  #store(domain: string, { changes, evicted, removed }: Plan): void {
    for (const { stream, before } of removed)
      this.#run(`DELETE FROM ${eventsTable(domain)} WHERE stream = ? AND seq < ?`, stream, before)
    for (const { collection, id } of evicted)
      this.#run(`DELETE FROM ${collectionTable(domain, collection)} WHERE id = ?`, id)
    const events: SqlValue[] = []
    const documents = new Map<string, SqlValue[]>()
    for (const change of changes) {
      if (change.kind === 'event') {
        pushEvent(events, change)
        continue
      }
      const values = documents.get(change.collection) ?? []
      if (values.length === 0) documents.set(change.collection, values)
      pushDocument(values, change)
    }
    insertRows(this.#run, `INSERT INTO ${eventsTable(domain)} (${eventColumns})`, 9, events)
    for (const [collection, values] of documents) {
      // With a unique index, REPLACE would delete another document without a word, should plan and index ever differ.
      const isUnique = hasUnique(this.#views.get(domain)?.definition(collection))
      if (isUnique) this.#clear(domain, collection, values)
      insertRows(
        this.#run,
        `INSERT ${isUnique ? '' : 'OR REPLACE '}INTO ${collectionTable(domain, collection)} (${documentColumns})`,
        7,
        isUnique ? lastOfEach(values) : values,
      )
    }
  }

  /** Takes the rows that will be written out of the way of each other's unique keys. */
  #clear(domain: string, collection: string, values: readonly SqlValue[]): void {
    const sql = `DELETE FROM ${collectionTable(domain, collection)} WHERE id = ?`
    for (let at = 1; at < values.length; at += 7) this.#run(sql, values[at] as string)
  }

  /** One document: from memory if nothing was written since it was read, else in one statement with the fence. */
  #getOne(domain: string, collection: string, id: string): Found {
    return this.#guard(() => {
      const version = this.#dataVersion()
      return (
        this.#records?.get(version, domain, collection, id) ??
        this.#getStored(version, domain, collection, id)
      )
    })
  }

  #getStored(version: number, domain: string, collection: string, id: string): Found {
    const table = this.#table(domain, collection)
    const row = this.#statement(
      `SELECT ${joinedColumns}, f.epoch, f.role, f.head FROM underpin_fences f LEFT JOIN ${table} d ON d.id = ? WHERE f.domain = ?`,
    ).row(id, domain)
    if (row === undefined) return { documents: [undefined], epoch: 0, role: 'vacant', head: 0 }
    const record = row[0] === null ? undefined : toDocument(collection, row)
    const [epoch, role, head] = row.slice(7) as [number, Role, number]
    this.#records?.set(version, domain, collection, id, record ?? null, { epoch, role, head })
    return { documents: [record], epoch, role, head }
  }

  #dataVersion(): number {
    return Number(this.#statement('PRAGMA data_version').row()?.[0])
  }

  #served(domain: string): Served {
    const row = this.#statement('SELECT epoch, role, head FROM underpin_fences WHERE domain = ?').row(domain)
    if (row === undefined) return { epoch: 0, role: 'vacant', head: 0 }
    return { epoch: row[0] as number, role: row[1] as Role, head: row[2] as number }
  }

  #fence(domain: string): Fence {
    return toFence(
      this.#statement(`SELECT ${fenceColumns} FROM underpin_fences WHERE domain = ?`).row(domain),
    )
  }

  /** The view of a domain, valid under a fence. */
  #view(domain: string, fence: Fence): SqliteView {
    const view = this.#views.get(domain) ?? new SqliteView(domain, this.#rows)
    this.#views.set(domain, view)
    view.moveTo(fence)
    return view
  }

  #definition(domain: string, collection: string): CollectionDefinition {
    const fence = this.#fence(domain)
    const definition = fence.role === 'vacant' ? undefined : this.#view(domain, fence).definition(collection)
    if (definition !== undefined) return definition
    throw new UnderpinError('invalid', `The collection ${collection} is not declared in domain ${domain}`, {
      details: { domain, collection },
    })
  }

  /**
   * The table of a declared collection; `invalid` for another. What is known is asked for again when another connection
   * has written: it may have thrown this copy away and begun another.
   */
  #table(domain: string, collection: string): string {
    const version = this.#records === undefined ? undefined : this.#dataVersion()
    const view = this.#views.get(domain)
    if (version === undefined || view?.checkedAt !== version || !view.knows(collection)) {
      this.#definition(domain, collection)
      const checked = this.#views.get(domain)
      if (checked !== undefined) checked.checkedAt = version
    }
    return collectionTable(domain, collection)
  }

  /** Runs reads that must belong together, under one snapshot, with the fence that holds in it. */
  #snapshot<T>(domain: string, read: (served: Served) => T): T {
    return this.#guard(() => {
      this.#run('BEGIN')
      try {
        return read(this.#served(domain))
      } finally {
        this.#run('COMMIT')
      }
    })
  }

  /** Runs a transaction that holds the write lock from its beginning. */
  #locked<T>(work: () => T): T {
    return this.#guard(() => {
      this.#run('BEGIN IMMEDIATE')
      let result: T
      try {
        result = work()
      } catch (error) {
        this.#rollBack()
        throw error
      }
      this.#commitTransaction()
      return result
    })
  }

  /** A COMMIT that fails for lack of a lock or of space can be rolled back; after any other failure nobody can tell. */
  #commitTransaction(): void {
    try {
      this.#run('COMMIT')
    } catch (error) {
      if (isFatal(error)) {
        this.#poison = error
        throw new UnderpinError(
          'unknown',
          `The disk failed while ${this.#place} was being synced: the commit may or may not be kept`,
          {
            hint: 'Close the store, look at the disk, and open it again.',
            cause: error,
          },
        )
      }
      this.#rollBack()
      throw error
    }
  }

  /** SQLite may have rolled back by itself; then there is nothing to roll back, and what went wrong first is what counts. */
  #rollBack(): void {
    try {
      this.#run('ROLLBACK')
    } catch {
      // The first error is thrown by the caller.
    }
  }

  #guard<T>(run: () => T): T {
    if (this.#poison !== undefined) {
      throw new UnderpinError('damaged', `${this.#place} is not used any more after a failed sync`, {
        hint: 'Close the store and open it again.',
        cause: this.#poison,
      })
    }
    try {
      return run()
    } catch (error) {
      if (!isBusy(error) && isFatal(error)) this.#poison = error
      throw translate(error, this.#place)
    }
  }

  #open(): Connection {
    if (this.#connection === undefined) throw new UnderpinError('closed', `${this.#place} was closed`)
    return this.#connection
  }

  #statement(sql: string): Statement {
    const connection = this.#open()
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const statement = connection.prepare(sql)
    this.#statements.set(sql, statement)
    return statement
  }

  readonly #run = (sql: string, ...parameters: SqlValue[]) => this.#statement(sql).run(...parameters)

  readonly #rows = (sql: string, ...parameters: SqlValue[]) => this.#statement(sql).rows(...parameters)
}
