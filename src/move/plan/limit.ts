/** What a target with tighter limits would not take: pure, record by record. */
import { isUnderpinError } from '../../error.ts'
import type { Change } from '../../model/change.ts'
import { type CollectionDefinition, checkFields } from '../../model/collection.ts'
import { limits as commonLimits, type Limits } from '../../model/limit.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'

/** The limits that hold on a backend. */
export function limitsOf(own: Partial<Limits>): Limits {
  const names = Object.keys(commonLimits) as (keyof Limits)[]
  return Object.fromEntries(
    names.map((name) => [name, Math.min(commonLimits[name], own[name] ?? commonLimits[name])]),
  ) as unknown as Limits
}

/** The limits of a target that are below what a source may hold already. */
export function tighterLimits(source: Limits, target: Limits): readonly (keyof Limits)[] {
  return (Object.keys(target) as (keyof Limits)[]).filter((name) => target[name] < source[name])
}

/** What of a record is over the limits; empty if all of it fits. */
export function overLimits(
  change: Change,
  definition: CollectionDefinition | undefined,
  limits: Limits,
): readonly string[] {
  const over: string[] = []
  const measure = (what: string, text: string, limit: number) => {
    const bytes = text.length * 3 <= limit ? 0 : Buffer.byteLength(text)
    if (bytes > limit) over.push(`${what} has ${bytes} bytes; the limit is ${limit}`)
  }
  if (change.kind === 'event') {
    measure('the stream name', change.stream, limits.idBytes)
    measure('the event type', change.type, limits.idBytes)
    measure('the data', change.data, limits.valueBytes)
    if (change.meta !== null) measure('the meta', change.meta, limits.valueBytes)
  } else {
    measure('the document id', change.id, limits.idBytes)
    if (change.kind === 'document') measure('the value', change.data, limits.valueBytes)
  }
  if (change.kind === 'tombstone' || over.length > 0) return over
  return over.concat(overByContent(change, definition, limits))
}

/** Depth, and the keys of indexes, by the very checks that a commit meets. */
function overByContent(
  change: Exclude<Change, { kind: 'tombstone' }>,
  definition: CollectionDefinition | undefined,
  limits: Limits,
): string[] {
  const value = decodeValue(change.data)
  try {
    if (limits.valueDepth < commonLimits.valueDepth) encodeValue(value, limits)
    if (change.kind === 'document' && definition !== undefined)
      checkFields(change.collection, definition, value, limits)
    return []
  } catch (error) {
    if (isUnderpinError(error)) return [error.message]
    throw error
  }
}
