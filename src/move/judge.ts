/**
 * Compares one read as the authority answered it with the same read on the follower, pure. The two were not made at one
 * position, so what differs is told by positions first: a record can only be missed, or be another one, where both sides
 * have seen what the other has. Only then is content compared.
 *
 * A feed leaves out states that were superseded, so a follower that is catching up may hold an older revision than the
 * authority had at that very position. So a divergence is certain only if the follower was read before the authority:
 * what the follower lacks then, though its head is behind it, nothing has superseded.
 */
import { type Change, changeChecksum, describeChange } from '../model/change.ts'
import { isExpired } from '../model/document.ts'
import type { Position } from '../model/position.ts'
import type { Answer } from './hooks.ts'

export type Verdict =
  | { readonly kind: 'equal' }
  /** The follower has not come to `until` yet: it cannot be judged before. */
  | { readonly kind: 'lag'; readonly until: Position }
  /** The follower has changes that the authority's answer was made before: the authority has to be read again. */
  | { readonly kind: 'ahead' }
  /** They differ only in what has expired, which either side may have removed. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'divergence'; readonly what: string }

/** How one record stands, from what most needs to be told to what least does. */
const ranks = ['divergence', 'lag', 'ahead', 'expired', 'equal'] as const

/** Compares the two answers to one read at a time, by which expiry is judged. */
export function judge(source: Answer, target: Answer, now: number): Verdict {
  const sides = { source: sideOf(source), target: sideOf(target) }
  let worst: Verdict = { kind: 'equal' }
  for (const key of comparable(sides.source, sides.target)) {
    const verdict = judgeRecord(sides.source, sides.target, key, now)
    if (verdict.kind === 'lag' && worst.kind === 'lag')
      worst = { kind: 'lag', until: Math.max(verdict.until, worst.until) }
    else if (ranks.indexOf(verdict.kind) < ranks.indexOf(worst.kind)) worst = verdict
  }
  return worst
}

interface Side {
  readonly head: Position
  /** In the order of the answer. */
  readonly records: ReadonlyMap<string, Change>
  /** More would have come behind the last record. */
  readonly isCut: boolean
}

function sideOf(answer: Answer): Side {
  const found = 'documents' in answer ? answer.documents : answer.items
  const records = new Map<string, Change>()
  for (const change of found) if (change !== undefined) records.set(keyOf(change), change)
  return { head: answer.head, records, isCut: 'next' in answer && answer.next !== null }
}

function keyOf(change: Change): string {
  return change.kind === 'event'
    ? JSON.stringify([change.stream, change.seq])
    : JSON.stringify([change.collection, change.id])
}

/**
 * The records that are in one answer and belong into the other: at one head all of them. Else, where an answer was cut
 * at its limit, what stands behind the last revision that both have may only have been pushed out of it.
 */
function comparable(a: Side, b: Side): Set<string> {
  if (a.head === b.head) return new Set([...a.records.keys(), ...b.records.keys()])
  return new Set([...withoutTail(a, b), ...withoutTail(b, a)])
}

function withoutTail({ records }: Side, other: Side): string[] {
  const keys = [...records.keys()]
  if (!other.isCut) return keys
  // Another revision may stand at another place of the order.
  const isShared = (key: string) => other.records.get(key)?.position === records.get(key)?.position
  return keys.slice(0, keys.findLastIndex(isShared) + 1)
}

function judgeRecord(source: Side, target: Side, key: string, now: number): Verdict {
  const [a, b] = [source.records.get(key), target.records.get(key)]
  if (a !== undefined && a.position === b?.position) return judgeContent(a, b)
  if (a !== undefined && a.position > target.head) return { kind: 'lag', until: a.position }
  if (b !== undefined && b.position > target.head)
    return differ(`${describeChange(b)} stands behind the follower's own head ${target.head}`)
  if (b !== undefined && b.position > source.head) return { kind: 'ahead' }
  // From here on each side has seen the record of the other, unless it was changed or removed since.
  if (a === undefined && source.head > target.head) return { kind: 'lag', until: source.head }
  if (b === undefined && target.head > source.head) return { kind: 'ahead' }
  if (isGone(a, b, now) || isGone(b, a, now)) return { kind: 'expired' }
  return differ(`${said(a)} at the authority, ${said(b)} at the follower`)
}

/** Whether one side has an expired document and the other has it no longer. */
function isGone(there: Change | undefined, gone: Change | undefined, now: number): boolean {
  if (there?.kind !== 'document' || !isExpired(there.expiresAt, now)) return false
  return gone === undefined || gone.kind === 'tombstone'
}

/** The same revision: the content of the follower's is summed anew, so that nobody's word is taken for it. */
function judgeContent(a: Change, b: Change): Verdict {
  if (a.checksum === b.checksum && changeChecksum(b) === b.checksum) return { kind: 'equal' }
  return differ(`${describeChange(a)} has another content at the follower`)
}

function said(change: Change | undefined): string {
  return change === undefined ? 'nothing' : describeChange(change)
}

function differ(what: string): Verdict {
  return { kind: 'divergence', what }
}
