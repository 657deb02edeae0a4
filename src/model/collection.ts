/** Declared collections: which fields of the documents are indexed, and how. */
import { UnderpinError } from '../error.ts'
import { checkName, compareText, quote } from './key.ts'
import { limits as defaultLimits, type Limits } from './limit.ts'

export type FieldType = 'string' | 'number' | 'boolean'
/** The value of a declared field: null when the document has none. */
export type FieldValue = string | number | boolean | null

export interface IndexDefinition {
  /** Declared fields, in order of comparison; the id comes last by itself. */
  readonly fields: readonly string[]
  /** At most one document for each key in which no field is null. */
  readonly unique: boolean
  /** Only documents with these values are in the index. */
  readonly where: Readonly<Record<string, string | number | boolean>>
}

/** What a backend needs to know of a collection. Kept as a document of the collection `$collections`. */
export interface CollectionDefinition {
  /** Field paths (`address.city`) and their types. A field is that type, null, or missing. */
  readonly fields: Readonly<Record<string, FieldType>>
  readonly indexes: Readonly<Record<string, IndexDefinition>>
}

export const plainCollection: CollectionDefinition = Object.freeze({ fields: {}, indexes: {} })

/** Holds the definition of each collection, as a document under its name. Every domain has it from the start. */
export const definitionsCollection = '$collections'
/** Holds the record of each commit that the caller gave an id. Every domain has it from the start. */
export const commitsCollection = '$commits'
/** Holds the record of the move that a domain is in, and of those that ended; declared when the first is started. */
export const movesCollection = '$moves'
/** Holds a document for each process that says it uses the domain; declared by the first that does. */
export const processesCollection = '$processes'
/** Holds the state of repositories that are moved by the application's own code; declared when the first is routed. */
export const repositoriesCollection = '$repositories'
export const systemCollections: readonly string[] = [definitionsCollection, commitsCollection]

/** Whether a collection is Underpin's own: the two above, and those that facets declare when they are first used. */
export function isOwnCollection(name: string): boolean {
  return name.startsWith('$')
}

/** Checks the name of a collection, an application's or one of Underpin's own, which stand behind a `$`. */
export function checkCollectionName(name: unknown, what: string, limits: Limits): asserts name is string {
  if (typeof name === 'string' && isOwnCollection(name)) checkName(name.slice(1), what, limits)
  else checkName(name, what, limits)
}

const fieldPattern = /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/

/** Checks a definition that an application declares; fails with `invalid` and says where. */
export function checkDefinition(
  name: string,
  definition: CollectionDefinition,
  limits: Limits = defaultLimits,
): void {
  checkName(name, 'The collection', limits)
  checkContent(name, definition, limits)
}

function checkContent(name: string, definition: CollectionDefinition, limits: Limits): void {
  for (const [field, type] of Object.entries(definition.fields)) {
    if (!fieldPattern.test(field) || field.length > 63)
      refuse(name, `the field path ${quote(field)} is not of the form a.b.c`)
    if (type !== 'string' && type !== 'number' && type !== 'boolean')
      refuse(name, `the field ${field} has the unknown type ${quote(type)}`)
  }
  checkCase(name, Object.keys(definition.fields))
  const indexes = Object.entries(definition.indexes)
  if (indexes.length > limits.indexes)
    refuse(name, `there are ${indexes.length} indexes; the limit is ${limits.indexes}`)
  for (const [index, { fields, where }] of indexes) {
    checkName(index, `In collection ${name}, the index`, limits)
    if (fields.length === 0 || fields.length > limits.indexFields)
      refuse(name, `the index ${index} must have 1 to ${limits.indexFields} fields`)
    if (new Set(fields).size !== fields.length) refuse(name, `the index ${index} names a field twice`)
    for (const field of fields)
      if (!Object.hasOwn(definition.fields, field))
        refuse(name, `the index ${index} names the undeclared field ${quote(field)}`)
    if (Object.keys(where).length > limits.indexFields)
      refuse(name, `the where of index ${index} must have at most ${limits.indexFields} fields`)
    for (const [field, value] of Object.entries(where)) {
      if (!Object.hasOwn(definition.fields, field))
        refuse(name, `the index ${index} has the undeclared field ${quote(field)} in its where`)
      if (typeof value !== definition.fields[field])
        refuse(name, `the index ${index} compares ${field} with a ${typeof value}`)
    }
  }
}

/** Fields become columns, and the columns of SQL are one whatever their case. */
function checkCase(collection: string, fields: readonly string[]): void {
  const seen = new Map<string, string>()
  for (const field of fields) {
    const other = seen.get(field.toLowerCase())
    if (other !== undefined)
      refuse(
        collection,
        `the fields ${other} and ${field} differ only in case, which SQL does not tell apart`,
      )
    seen.set(field.toLowerCase(), field)
  }
}

function refuse(collection: string, what: string): never {
  throw new UnderpinError('invalid', `In collection ${collection}, ${what}`, { details: { collection } })
}

/**
 * Stored and declared definition as one: what is new is added, nothing is removed. An index that is declared
 * otherwise than it is stored fails with `mismatch`; what cannot stand together, or is too much together, with `invalid`.
 */
export function mergeDefinitions(
  name: string,
  stored: CollectionDefinition,
  declared: CollectionDefinition,
): CollectionDefinition {
  for (const [field, type] of Object.entries(declared.fields)) {
    if (Object.hasOwn(stored.fields, field) && stored.fields[field] !== type) {
      throw new UnderpinError(
        'mismatch',
        `In collection ${name}, the field ${field} is stored as ${stored.fields[field]} and declared as ${type}`,
        {
          hint: 'Declare the stored type, or keep the new values under another field.',
        },
      )
    }
  }
  for (const [index, definition] of Object.entries(declared.indexes)) {
    const found = stored.indexes[index]
    if (found !== undefined && canonical(found) !== canonical(definition)) {
      throw new UnderpinError(
        'mismatch',
        `In collection ${name}, the index ${index} is declared otherwise than it is stored`,
        {
          hint: 'Give the changed index another name.',
          details: { stored: found, declared: definition },
        },
      )
    }
  }
  const merged = {
    fields: { ...stored.fields, ...declared.fields },
    indexes: { ...stored.indexes, ...declared.indexes },
  }
  checkContent(name, merged, defaultLimits)
  return merged
}

/** Whether all fields and indexes of a definition are in another one already. */
export function isPartOf(part: CollectionDefinition, whole: CollectionDefinition): boolean {
  const hasField = ([name, type]: [string, FieldType]) => whole.fields[name] === type
  const hasIndex = ([name, index]: [string, IndexDefinition]) => {
    const found = whole.indexes[name]
    return found !== undefined && canonical(found) === canonical(index)
  }
  return Object.entries(part.fields).every(hasField) && Object.entries(part.indexes).every(hasIndex)
}

function canonical({ fields, unique, where }: IndexDefinition): string {
  const conditions = Object.entries(where).sort(([a], [b]) => compareText(a, b))
  return JSON.stringify([fields, unique, conditions])
}

/** The value of a declared field in a document's value: null if it is missing or of another type. */
export function fieldValue(definition: CollectionDefinition, field: string, value: unknown): FieldValue {
  let at: unknown = value
  for (const part of field.split('.')) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, part)) return null
    at = (at as Record<string, unknown>)[part]
  }
  return typeof at === definition.fields[field] ? (at as FieldValue) : null
}

/** The key of a document's value in an index, or undefined if the index leaves it out. */
export function indexKey(
  definition: CollectionDefinition,
  index: IndexDefinition,
  value: unknown,
): FieldValue[] | undefined {
  for (const [field, wanted] of Object.entries(index.where)) {
    if (fieldValue(definition, field, value) !== wanted) return undefined
  }
  return index.fields.map((field) => fieldValue(definition, field, value))
}

/** The key that a unique index holds a document to, or undefined if it does not. */
export function uniqueKey(
  definition: CollectionDefinition,
  index: IndexDefinition,
  value: unknown,
): FieldValue[] | undefined {
  const key = index.unique ? indexKey(definition, index, value) : undefined
  return key?.includes(null) ? undefined : key
}

/** The order of field values of one type: null first, false before true, numbers by size, strings by code point. */
export function compareFields(a: FieldValue, b: FieldValue): number {
  if (a === b) return 0
  if (a === null) return -1
  if (b === null) return 1
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  return a < b ? -1 : 1
}

/** Refuses a document whose declared fields have another type, or whose index keys are too long. */
export function checkFields(
  collection: string,
  definition: CollectionDefinition,
  value: unknown,
  limits: Limits = defaultLimits,
): void {
  for (const [field, type] of Object.entries(definition.fields)) {
    const found = rawField(field, value)
    if (found === undefined || found === null || typeof found === type) continue
    throw new UnderpinError(
      'invalid',
      `In collection ${collection}, the field ${field} must be a ${type} or null, not ${Array.isArray(found) ? 'an array' : `a ${typeof found}`}`,
      {
        details: { collection, path: field },
      },
    )
  }
  for (const [index, { fields }] of Object.entries(definition.indexes)) {
    let bytes = 0
    for (const field of fields) {
      const found = fieldValue(definition, field, value)
      if (typeof found === 'string') bytes += Buffer.byteLength(found)
    }
    if (bytes <= limits.indexKeyBytes) continue
    throw new UnderpinError(
      'too-large',
      `In collection ${collection}, the key for index ${index} has ${bytes} bytes; the limit is ${limits.indexKeyBytes}`,
      {
        details: { collection, index, bytes, limit: limits.indexKeyBytes },
      },
    )
  }
}

function rawField(field: string, value: unknown): unknown {
  let at: unknown = value
  for (const part of field.split('.')) {
    if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, part))
      return undefined
    at = (at as Record<string, unknown>)[part]
  }
  return at
}
