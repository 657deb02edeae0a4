/** What a SQLite database holds of one domain, for planning commits: asked for once, then remembered. */
import { type CollectionDefinition, definitionsCollection, type FieldValue } from '../../model/collection.ts'
import type { Fence } from '../../model/fence.ts'
import type { Below } from '../../model/truncation.ts'
import { HeadCache } from '../cache.ts'
import { collectionTable, eventsTable, fieldColumn } from '../sql/name.ts'
import { toDefinitions } from '../sql/record.ts'
import { indexCondition, type SqlValue } from '../sql/scan.ts'
import type { Held, View } from '../stage.ts'
import type { Connection } from './driver.ts'
import { makeUnique, sqlite } from './table.ts'
import { sumBelow } from './truncate.ts'

/** Runs a statement that is prepared once. */
export type Rows = (sql: string, ...parameters: SqlValue[]) => readonly (readonly unknown[])[]

export class SqliteView implements View {
  readonly cache = new HeadCache()
  /** The file's data version when the definitions were looked at last. */
  checkedAt: number | undefined
  readonly #domain: string
  readonly #rows: Rows
  #copy = ''
  #version: number | undefined
  #definitions: ReadonlyMap<string, CollectionDefinition> | undefined
  /** It is known that no plain index stands in for a unique one. */
  #isUnique = false
  readonly #seqSql: string

  constructor(domain: string, rows: Rows) {
    this.#domain = domain
    this.#rows = rows
    this.#seqSql = `SELECT max(seq) FROM ${eventsTable(domain)} WHERE stream = ?`
  }

  /**
   * Forgets what another process may have changed. A head alone does not say what is there: a copy that was made anew
   * holds less at the same head than the one before, because the feed leaves out what was superseded since.
   */
  moveTo({ incarnation, epoch, head }: Pick<Fence, 'incarnation' | 'epoch' | 'head'>): void {
    const copy = `${incarnation}/${epoch}`
    if (copy === this.#copy && this.cache.isAt(head)) return
    if (copy !== this.#copy) this.cache.clear()
    this.#copy = copy
    this.cache.moveTo(head)
    this.#forgetDefinitions()
  }

  /** Forgets everything if the file was written to by others since; undefined if that cannot be told. */
  seeVersion(version: number | undefined): void {
    if (version === undefined || version !== this.#version) this.cache.forget()
    this.#version = version
  }

  clear(): void {
    this.cache.clear()
    this.#forgetDefinitions()
  }

  seq(stream: string): number {
    const cached = this.cache.seqs.get(stream)
    if (cached !== undefined) return cached
    const seq = Number(this.#rows(this.#seqSql, stream)[0]?.[0] ?? 0)
    this.cache.seqs.set(stream, seq)
    return seq
  }

  below(stream: string, seq: number): Below {
    return sumBelow(this.#rows, this.#domain, stream, seq)
  }

  document(collection: string, id: string): Held | undefined {
    const key = `${collection}\0${id}`
    const cached = this.cache.documents.get(key)
    if (cached !== undefined) return cached ?? undefined
    const [row] = this.#hasTable(collection) ? this.#rows(this.#heldSql(collection), id) : []
    const held =
      row === undefined
        ? null
        : {
            position: Number(row[0]),
            checksum: String(row[1]),
            expiresAt: row[2] as number | null,
            isTombstone: row[3] === 1,
          }
    this.cache.documents.set(key, held)
    return held ?? undefined
  }

  definition(collection: string): CollectionDefinition | undefined {
    return this.definitions().get(collection)
  }

  /** All collections of the domain. */
  definitions(): ReadonlyMap<string, CollectionDefinition> {
    if (this.#definitions !== undefined) return this.#definitions
    const rows = this.#rows(
      `SELECT id, data FROM ${collectionTable(this.#domain, definitionsCollection)} WHERE data IS NOT NULL`,
    )
    this.#definitions = toDefinitions(rows)
    return this.#definitions
  }

  /** While it follows: behind the decision of a cutover nobody has authority, and nothing may take as long as there are records. */
  makeUnique(connection: Connection): void {
    if (!this.#isUnique) this.#isUnique = makeUnique(connection, this.#domain, this.definitions())
  }

  /** Whether a collection is known to be declared, without asking the database. */
  knows(collection: string): boolean {
    return this.#definitions?.has(collection) ?? false
  }

  holder(collection: string, index: string, key: readonly FieldValue[]): string | undefined {
    const definition = this.definition(collection)?.indexes[index]
    if (definition === undefined) return undefined
    const fields = key.map((value) => sqlite.field('?', value))
    const equals = fields.map(({ sql }, i) => `${fieldColumn(definition.fields[i] as string)} = ${sql}`)
    const where = [...equals, indexCondition(sqlite, definition)].join(' AND ')
    const sql = `SELECT id FROM ${collectionTable(this.#domain, collection)} WHERE ${where} LIMIT 1`
    const [row] = this.#rows(sql, ...fields.map(({ value }) => value))
    return row === undefined ? undefined : String(row[0])
  }

  /** A follower holds documents of collections whose declaration stands further on in the feed. */
  #hasTable(collection: string): boolean {
    if (this.definition(collection) !== undefined) return true
    const name = collectionTable(this.#domain, collection).slice(1, -1)
    return this.#rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name).length > 0
  }

  #forgetDefinitions(): void {
    this.#definitions = undefined
    this.#isUnique = false
  }

  #heldSql(collection: string): string {
    return `SELECT revision, checksum, expires_at, data IS NULL FROM ${collectionTable(this.#domain, collection)} WHERE id = ?`
  }
}
