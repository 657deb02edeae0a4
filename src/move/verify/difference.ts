/** What two copies of a domain may differ in, and how it is shown: both sides of each record, side by side. */
import { type Change, describeChange, keyText, type RecordKey } from '../../model/change.ts'
import { quote } from '../../model/key.ts'
import type { Position } from '../../model/position.ts'
import type { OpenDifference } from '../record.ts'

/**
 * - `missing`: the source has a record, the target none;
 * - `extra`: the target has one that the source has not;
 * - `changed`: both have one under this key, and they are not the same;
 * - `damaged`: a record of the target is not what its own checksum was made of;
 * - `damaged-source`: the same, of the source;
 * - `digest`: the fence of the target names a digest that is not that of its records, or not that of the source.
 */
export type DifferenceKind = 'missing' | 'extra' | 'changed' | 'damaged' | 'damaged-source' | 'digest'

/**
 * What proves that something other than the mover wrote to the target:
 * - `beyond-head`: the record stands behind the copy's head, where no page has come yet;
 * - `never-there`: the source never had a record of this key at such a position;
 * - `rewritten`: same key, same position, other content under a checksum that fits it;
 * - `content`: the content does not fit the record's own checksum (or the disk changed it);
 * - `sum`: the records do not add up to the digest that the mover left in the fence.
 */
export type ForeignEvidence = 'beyond-head' | 'never-there' | 'rewritten' | 'content' | 'sum'

/** One side of a record, as it is shown. */
export interface Shown {
  readonly kind: 'event' | 'document' | 'tombstone' | 'unreadable'
  readonly position: Position
  /** The one that is stored. */
  readonly checksum: string
  /** The one of the content, where it is another. */
  readonly found?: string
  /** JSON text, cut; null for a tombstone, and for what cannot be read. */
  readonly text: string | null
}

export interface Difference {
  readonly kind: DifferenceKind
  /** Undefined for the fence itself. */
  readonly key: RecordKey | undefined
  /** The record by name. */
  readonly record: string
  /** Where it stands at the source, or where the target has it. */
  readonly position: Position
  readonly source: Shown | undefined
  readonly target: Shown | undefined
  /** The fields that differ, of a record that both have. */
  readonly fields: readonly string[]
  /** Proof of a foreign write; null where a fault of another kind is possible as well. */
  readonly foreign: ForeignEvidence | null
  /** When it was first seen, by the clock. */
  readonly since: number
}

/** A record that its backend refuses to hand out. */
export interface Damage {
  readonly kind: 'damage'
  readonly position: Position
  readonly key: RecordKey
  readonly expected: string
  readonly found: string
  readonly message: string
}

export type Seen = Change | Damage

export function isDamage(seen: Seen | undefined): seen is Damage {
  return seen?.kind === 'damage'
}

/** Characters of JSON text that are shown. */
const shownText = 200

export function show(seen: Seen | undefined): Shown | undefined {
  if (seen === undefined) return undefined
  const { position } = seen
  if (isDamage(seen))
    return { kind: 'unreadable', position, checksum: seen.expected, found: seen.found, text: null }
  const text = seen.kind === 'tombstone' ? null : shorten(seen.data)
  return { kind: seen.kind, position, checksum: seen.checksum, text }
}

function shorten(text: string): string {
  return text.length <= shownText ? text : `${text.slice(0, shownText)}… (${text.length} characters)`
}

/** The fields in which two records of one key differ. */
export function fieldsOf(a: Seen | undefined, b: Seen | undefined): readonly string[] {
  if (a === undefined || b === undefined || isDamage(a) || isDamage(b)) return []
  const [left, right] = [a as unknown as Record<string, unknown>, b as unknown as Record<string, unknown>]
  const names = new Set([...Object.keys(left), ...Object.keys(right)])
  return [...names].filter((name) => name !== 'checksum' && left[name] !== right[name])
}

/** A record as it is named in reports. */
export function nameOf(key: RecordKey | undefined, seen: Seen | undefined): string {
  if (seen !== undefined && !isDamage(seen)) return describeChange(seen)
  if (key === undefined) return isDamage(seen) ? seen.message : 'the fence'
  return 'stream' in key
    ? `Event ${key.seq} of stream ${quote(key.stream)}`
    : `Document ${quote(key.id)} of collection ${key.collection}`
}

/** The same difference in two comparisons has the same name. */
function differenceName({
  kind,
  key,
  position,
}: Pick<Difference, 'kind' | 'key' | 'position'> | OpenDifference) {
  return key === undefined ? `${kind} ${position}` : keyText(key)
}

/** Differences as they are found: all are counted, the first are kept. */
export class Differences {
  readonly #kept = new Map<string, Difference>()
  readonly #known: ReadonlyMap<string, number>
  readonly #names = new Set<string>()
  readonly #most: number

  constructor(most: number, known: readonly OpenDifference[] = []) {
    this.#most = most
    this.#known = new Map(known.map((difference) => [differenceName(difference), difference.since]))
  }

  get count(): number {
    return this.#names.size
  }

  get list(): readonly Difference[] {
    return [...this.#kept.values()]
  }

  has(key: RecordKey): boolean {
    return this.#names.has(keyText(key))
  }

  /** Names the proof that holds for all that nothing else proves. */
  foreignBy(evidence: ForeignEvidence): void {
    for (const [name, difference] of this.#kept)
      if (difference.foreign === null && difference.kind !== 'damaged-source')
        this.#kept.set(name, { ...difference, foreign: evidence })
  }

  add(difference: Difference): void {
    const name = differenceName(difference)
    if (this.#names.has(name)) return
    this.#names.add(name)
    if (this.#kept.size >= this.#most) return
    this.#kept.set(name, { ...difference, since: this.#known.get(name) ?? difference.since })
  }
}
