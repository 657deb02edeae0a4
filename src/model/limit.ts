/**
 * The one table of limits, the same on every backend. Bytes are bytes of UTF-8. A backend that cannot take as
 * much declares tighter ones in `supports.limits`.
 */
export interface Limits {
  /** Bytes in the name of a domain, a collection or an index. */
  readonly nameBytes: number
  /** Bytes in a stream name, a document id, an event type or a commit id. */
  readonly idBytes: number
  /** Bytes in the JSON text of one value. */
  readonly valueBytes: number
  /** Levels of nesting in a value. */
  readonly valueDepth: number
  /** Writes in one commit, and checks in one commit. */
  readonly commitItems: number
  /** Bytes of all JSON texts of one commit. */
  readonly commitBytes: number
  /** Records asked for in one page; keys asked for in one get. */
  readonly pageItems: number
  /** Indexes of a collection. */
  readonly indexes: number
  /** Fields of an index, and fields in its `where`. */
  readonly indexFields: number
  /** Bytes of the strings in one index key. */
  readonly indexKeyBytes: number
}

export const limits: Limits = Object.freeze({
  nameBytes: 28,
  idBytes: 512,
  valueBytes: 1_048_576,
  valueDepth: 100,
  commitItems: 10_000,
  commitBytes: 8_388_608,
  pageItems: 10_000,
  indexes: 16,
  indexFields: 4,
  indexKeyBytes: 1_536,
})
