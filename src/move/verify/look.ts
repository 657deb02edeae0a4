/**
 * Records that seemed to differ, looked at again by their keys. Waiting would not tell lag from divergence under steady
 * writes; this does, in one look: the target is read first, with its head of that very moment, the source behind it. What
 * the source still has from at or before that head was live there, so a copy that is a prefix must hold exactly that;
 * what the source has from behind it, the feed will bring, whatever the target holds now.
 */
import type { Backend } from '../../backend/backend.ts'
import { isUnderpinError } from '../../error.ts'
import { keyText, type RecordKey } from '../../model/change.ts'
import { definitionsCollection } from '../../model/collection.ts'
import type { DocumentKey } from '../../model/document.ts'
import type { EventKey } from '../../model/event.ts'
import type { Position } from '../../model/position.ts'
import { toTruncation, truncationsCollection } from '../../model/truncation.ts'
import type { Sides } from '../sides.ts'
import {
  type Difference,
  type DifferenceKind,
  type ForeignEvidence,
  fieldsOf,
  isDamage,
  nameOf,
  type Seen,
  show,
} from './difference.ts'
import { type CheckServed, damageOf } from './reader.ts'

export interface LookOptions {
  readonly checkSource: CheckServed
  readonly checkTarget: CheckServed
  readonly signal?: AbortSignal | undefined
}

export type Verdict =
  | { readonly kind: 'equal' }
  /** The feed has not brought it yet. */
  | { readonly kind: 'lag' }
  | { readonly kind: 'different'; readonly difference: Difference }

/** What both sides hold under a key: the target first. */
export interface Look {
  readonly key: RecordKey
  readonly target: Seen | undefined
  /** Of the target, when it was read. */
  readonly head: Position
  readonly source: Seen | undefined
}

/** Keys asked for in one call. */
const batch = 500

/** Looks at records again, and says of each what it is. */
export async function lookAgain(
  sides: Sides,
  keys: readonly RecordKey[],
  options: LookOptions,
): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  for (const look of await lookAt(sides, keys, options)) verdicts.push(await judge(sides, look, options))
  return verdicts
}

export async function lookAt(
  { domain, source, target }: Sides,
  keys: readonly RecordKey[],
  { checkSource, checkTarget, signal }: LookOptions,
): Promise<Look[]> {
  const looks: Look[] = []
  for (let from = 0; from < keys.length; from += batch) {
    const some = keys.slice(from, from + batch)
    const there = await readKeys(target, domain, some, checkTarget, signal)
    const here = await readKeys(source, domain, some, checkSource, signal)
    for (const key of some) {
      const [t, s] = [there.get(keyText(key)), here.get(keyText(key))]
      looks.push({ key, target: t?.seen, head: t?.head ?? 0, source: s?.seen })
    }
  }
  return looks
}

/** What two sides of a record say, by the rule above. */
export async function judge(sides: Sides, look: Look, options: LookOptions): Promise<Verdict> {
  const { source, target, head } = look
  if (isDamage(source)) return different(sides, look, 'damaged-source', null)
  if (isDamage(target)) return different(sides, look, 'damaged', 'content')
  if (target !== undefined && target.position > head) return different(sides, look, 'extra', 'beyond-head')
  if (source === undefined) {
    if (target === undefined) return { kind: 'equal' }
    return target.kind === 'event' ? judgeGone(sides, look, options) : neverThere(sides, look)
  }
  if (source.position > head) {
    if (target?.kind === 'event') return neverThere(sides, look)
    return { kind: 'lag' }
  }
  if (target === undefined) return judgeMissing(sides, look, options)
  if (target.checksum === source.checksum) return { kind: 'equal' }
  if (target.position === source.position) return different(sides, look, 'changed', 'rewritten')
  return different(sides, look, 'changed', target.position > source.position ? 'never-there' : null)
}

/** A document that the target does not show: it may hold it already, and not know yet that there is such a collection. */
async function judgeMissing(sides: Sides, look: Look, options: LookOptions): Promise<Verdict> {
  const missing = different(sides, look, 'missing', null)
  if ('stream' in look.key) return missing
  const key = { collection: definitionsCollection, id: look.key.collection }
  const found = await readKeys(sides.source, sides.domain, [key], options.checkSource, options.signal)
  const declaration = found.get(keyText(key))?.seen
  return declaration !== undefined && declaration.position > look.head ? { kind: 'lag' } : missing
}

/** An event that the source has not: taken away there, or never appended. */
async function judgeGone(sides: Sides, look: Look, options: LookOptions): Promise<Verdict> {
  const { stream, seq } = look.key as EventKey
  const key = { collection: truncationsCollection, id: stream }
  const found = await readKeys(sides.source, sides.domain, [key], options.checkSource, options.signal)
  const truncation = found.get(keyText(key))?.seen
  if (truncation?.kind !== 'document' || toTruncation(stream, truncation.data).before <= seq)
    return neverThere(sides, look)
  return truncation.position > look.head ? { kind: 'lag' } : different(sides, look, 'extra', null)
}

function neverThere(sides: Sides, look: Look): Verdict {
  return different(sides, look, 'extra', 'never-there')
}

function different(
  { clock }: Sides,
  { key, source, target }: Look,
  kind: DifferenceKind,
  foreign: ForeignEvidence | null,
): Verdict {
  const one = source ?? target
  const difference = {
    ...{ kind, key, record: nameOf(key, isDamage(one) ? (target ?? one) : one) },
    position: one?.position ?? 0,
    ...{ source: show(source), target: show(target) },
    ...{ fields: fieldsOf(source, target), foreign, since: clock.now() },
  }
  return { kind: 'different', difference }
}

interface Held {
  readonly seen: Seen | undefined
  readonly head: Position
}

/** What one side holds under keys, each with the head of the moment it was read at. */
async function readKeys(
  backend: Backend,
  domain: string,
  keys: readonly RecordKey[],
  check: CheckServed,
  signal: AbortSignal | undefined,
): Promise<Map<string, Held>> {
  const held = new Map<string, Held>()
  const side = { backend, domain, check, call: signal === undefined ? {} : { signal } }
  for (const [collection, some] of groups(keys, (key) => ('id' in key ? key.collection : undefined)))
    await readDocuments(side, collection, some as DocumentKey[], held)
  for (const [stream, some] of groups(keys, (key) => ('seq' in key ? key.stream : undefined)))
    await readEvents(side, stream, some as EventKey[], held)
  return held
}

interface Side {
  readonly backend: Backend
  readonly domain: string
  readonly check: CheckServed
  readonly call: { readonly signal?: AbortSignal }
}

async function readDocuments(
  side: Side,
  collection: string,
  keys: readonly DocumentKey[],
  held: Map<string, Held>,
): Promise<void> {
  const { backend, domain, check, call } = side
  // Before the read: where the collection is not declared the answer names no head.
  const { head } = await backend.fence(domain, call)
  try {
    const found = await backend.get(domain, keys, call)
    check(found)
    for (const [i, key] of keys.entries())
      held.set(keyText(key), { seen: found.documents[i], head: found.head })
  } catch (error) {
    const damage = damageOf(error)
    if (isUnderpinError(error, 'invalid')) {
      for (const key of keys) held.set(keyText(key), { seen: undefined, head })
      return
    }
    if (damage === undefined) throw error
    if (keys.length === 1) held.set(keyText(keys[0] as DocumentKey), { seen: damage, head })
    else for (const key of keys) await readDocuments(side, collection, [key], held)
  }
}

/** Events that lie apart further than this are asked for one by one. */
const widest = 1_000

async function readEvents(
  side: Side,
  stream: string,
  keys: readonly EventKey[],
  held: Map<string, Held>,
): Promise<void> {
  const { backend, domain, check, call } = side
  const seqs = keys.map(({ seq }) => seq)
  const [first, last] = [Math.min(...seqs), Math.max(...seqs)]
  if (last - first >= widest && keys.length > 1) {
    for (const key of keys) await readEvents(side, stream, [key], held)
    return
  }
  try {
    const range = { after: first - 1, before: last + 1, backwards: false, limit: last - first + 1 }
    const found = await backend.read(domain, stream, range, call)
    check(found)
    const bySeq = new Map(found.items.map((event) => [event.seq, event]))
    for (const key of keys) held.set(keyText(key), { seen: bySeq.get(key.seq), head: found.head })
  } catch (error) {
    const damage = damageOf(error)
    if (damage === undefined) throw error
    const { head } = await backend.fence(domain, call)
    if (keys.length === 1) held.set(keyText(keys[0] as EventKey), { seen: damage, head })
    else for (const key of keys) await readEvents(side, stream, [key], held)
  }
}

function groups(
  keys: readonly RecordKey[],
  nameIn: (key: RecordKey) => string | undefined,
): ReadonlyMap<string, readonly RecordKey[]> {
  const found = new Map<string, RecordKey[]>()
  for (const key of keys) {
    const name = nameIn(key)
    if (name === undefined) continue
    const some = found.get(name)
    if (some === undefined) found.set(name, [key])
    else some.push(key)
  }
  return found
}
