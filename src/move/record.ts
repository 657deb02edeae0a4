/**
 * What is noted of a move in the domain itself, so that every process sees it and it moves along: one document of
 * `$moves`. It decides nothing: who holds authority is in the fences alone, and a record that is lost or late costs
 * only what it tells. What changes with every page (position, rate) is not in it: the fences say it.
 */
import type { Backend } from '../backend/backend.ts'
import { UnderpinError } from '../error.ts'
import { definitionsCollection, movesCollection, plainCollection } from '../model/collection.ts'
import type { Commit } from '../model/commit.ts'
import type { Position } from '../model/position.ts'
import { decodeValue, encodeValue } from '../model/value.ts'
import type { Gap } from './mirror.ts'
import type { MoveSettings } from './settings.ts'
import type { Sides } from './sides.ts'

/** The document of the move under way; those that ended are under `ended-<startedAt>`. */
const currentId = 'current'

/** A full comparison of both sides, as it ended. */
export interface VerifyNote {
  readonly at: number
  readonly head: Position
  readonly compared: number
  readonly differences: number
}

/** A cutover, as it was. */
export interface CutoverNote {
  readonly at: number
  readonly from: string
  readonly to: string
  /** The last position of the old side. */
  readonly head: Position
  readonly digest: string
  /** Milliseconds from before the seal until the target was open. */
  readonly pauseMs: number
  /** Records copied behind the seal. */
  readonly drained: number
  /** Who did it: a name that the operator gave. */
  readonly by: string | null
}

export interface MoveRecord {
  /** The backend that had authority when the move was started, and the one it moves to, by their names in the store. */
  readonly from: string
  readonly to: string
  /** Of both copies, so that a record of another move is not taken for this one's. */
  readonly incarnations: readonly [string, string]
  readonly startedAt: number
  readonly by: string | null
  readonly isPaused: boolean
  /** A cutover that is ready waits until somebody says go. */
  readonly isHeld: boolean
  readonly settings: MoveSettings
  /** What the target does not take, and since when; null while there is none. */
  readonly gap: (Gap & { readonly since: number }) | null
  /** Since when the copy followed without a gap or a difference; null while it does not. */
  readonly soundSince: number | null
  readonly verified: VerifyNote | null
  readonly cutovers: readonly CutoverNote[]
}

interface Found {
  readonly record: MoveRecord
  readonly revision: Position
}

/** The record of the move between these two copies, as the source (who holds authority) has it. */
export async function readRecord(sides: Sides): Promise<MoveRecord | undefined> {
  return (await find(sides))?.record
}

/** Changes the record by what `change` makes of it; again if somebody else did so meanwhile. Nothing if it makes nothing. */
export async function changeRecord(
  sides: Sides,
  change: (record: MoveRecord | undefined) => MoveRecord | undefined,
): Promise<void> {
  await declareRecords(sides)
  for (;;) {
    const found = await find(sides)
    const next = change(found?.record)
    if (next === undefined) return
    const id = { collection: movesCollection, id: currentId }
    const isDone = await commitOne(sides, {
      at: sides.clock.now(),
      writes: [{ kind: 'put', ...id, data: encodeValue(next), expiresAt: null }],
      checks: [{ kind: 'document', ...id, expect: found?.revision ?? 'absent' }],
    })
    if (isDone) return
  }
}

/** Notes what the copy does not take, or that it takes everything (again). */
export async function noteGap(sides: Sides, gap: Gap | null): Promise<void> {
  const at = sides.clock.now()
  await changeRecord(sides, (record) => {
    if (record === undefined) return undefined
    if (gap === null) return { ...record, gap: null }
    const since = record.gap?.position === gap.position ? record.gap.since : at
    return { ...record, gap: { ...gap, since }, soundSince: null }
  })
}

/** Puts the record of a move that ended aside. */
export async function endRecord(sides: Sides): Promise<void> {
  for (let found = await find(sides); found !== undefined; found = await find(sides)) {
    const { record, revision } = found
    const id = { collection: movesCollection, id: currentId }
    const aside = { collection: movesCollection, id: `ended-${record.startedAt}` }
    await commitOne(sides, {
      at: sides.clock.now(),
      writes: [
        { kind: 'put', ...aside, data: encodeValue(record), expiresAt: null },
        { kind: 'delete', ...id },
      ],
      checks: [{ kind: 'document', ...id, expect: revision }],
    })
  }
}

async function find({ domain, source }: Sides): Promise<Found | undefined> {
  if (!(await isDeclared(source, domain))) return undefined
  const [found] = (await source.get(domain, [{ collection: movesCollection, id: currentId }])).documents
  if (found?.kind !== 'document') return undefined
  return { record: decodeValue(found.data) as MoveRecord, revision: found.position }
}

async function isDeclared(on: Backend, domain: string): Promise<boolean> {
  const [found] = (await on.get(domain, [{ collection: definitionsCollection, id: movesCollection }]))
    .documents
  return found?.kind === 'document'
}

async function declareRecords(sides: Sides): Promise<void> {
  if (await isDeclared(sides.source, sides.domain)) return
  const id = { collection: definitionsCollection, id: movesCollection }
  await commitOne(sides, {
    at: sides.clock.now(),
    writes: [{ kind: 'put', ...id, data: encodeValue(plainCollection), expiresAt: null }],
    checks: [{ kind: 'document', ...id, expect: 'absent' }],
  })
}

/** False if a check failed. */
async function commitOne({ domain, source }: Sides, commit: Commit): Promise<boolean> {
  const { role, epoch } = await source.fence(domain)
  if (role !== 'authority')
    throw new UnderpinError('fenced', `Domain ${domain} is ${role} on ${source.name}`, {
      details: { domain },
    })
  const [outcome] = await source.commit(domain, epoch, [commit])
  if (outcome?.kind === 'refused') throw outcome.error
  return outcome?.kind === 'committed'
}
