/**
 * Puts a copy right, forwards only: what differs is brought to what the source holds, never the other way, and the
 * authority is not touched. Each step names the head of the copy that it was made for, and the store leaves alone what is
 * newer than that (see `Repair` in the model), so a mirror that works meanwhile and a second repair do no harm.
 */
import { sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import { type Change, keyText, type RecordKey } from '../model/change.ts'
import { definitionsCollection } from '../model/collection.ts'
import type { Position } from '../model/position.ts'
import { giveUp, start } from './cutover.ts'
import { look, lookFromLead, type Sides } from './sides.ts'
import { type Difference, isDamage } from './verify/difference.ts'
import { judge, type Look, lookAt, type Verdict } from './verify/look.ts'
import { checkOf } from './verify/reader.ts'
import { type CompareOptions, type Comparison, checkComparable, compareSides } from './verify.ts'

export interface RepairOptions {
  readonly signal?: AbortSignal
  /** Says what would be done, and does nothing. */
  readonly dryRun?: boolean
  /** The comparison whose differences are repaired; a new one is made if it is left out. */
  readonly found?: Pick<Comparison, 'differences' | 'count'>
  /** Differences from which on records are not put right one by one: 10,000 if left out. */
  readonly most?: number
  /** Makes the copy anew, empty, whatever differs: it has to be filled again by the mirror. */
  readonly fresh?: boolean
  /** Records read at a time by comparisons. */
  readonly pageItems?: number
}

/** What is to be done about a difference. */
export interface RepairStep {
  /** `put`: the source's record takes its place; `remove`: it goes; `none`: the feed will bring it, or it is right by now. */
  readonly action: 'put' | 'remove' | 'none'
  readonly record: string
}

export interface RepairReport {
  /** `records`: one by one; `fresh`: the copy has to be made anew, because of `why`; `nothing`: both sides are equal. */
  readonly how: 'records' | 'fresh' | 'nothing'
  readonly why: string
  readonly steps: readonly RepairStep[]
  /** Whether it was done; with `dryRun` it was not. */
  readonly isDone: boolean
  /** The comparison behind the repair. Undefined of a dry run, and of a copy made anew, which is empty yet. */
  readonly after: Comparison | undefined
}

/** Records in one part of a repair, behind the last of which the store sums up the whole copy. */
const batch = 1_000
/** Milliseconds for which the repair of one record may be overtaken by the mirror before it is given up. */
const overtakenMs = 30_000
/** Longer waits each time, and short ones again: one of them meets a copy at rest. */
const longestWaitMs = 16
/** Comparisons and repairs in turn, until nothing differs. */
const rounds = 5

/**
 * Repairs a copy. `damaged` if the source itself has damaged records, which nothing here can put right; `gate` if there
 * is no copy that follows, or if it takes a fresh one and `fresh` was not asked for.
 */
export async function repairCopy(sides: Sides, options: RepairOptions = {}): Promise<RepairReport> {
  const { dryRun = false, most = 10_000, signal, pageItems } = options
  const compare: CompareOptions = {
    listed: most,
    ...(signal === undefined ? {} : { signal }),
    ...(pageItems === undefined ? {} : { pageItems }),
  }
  const found = options.found ?? (await compareSides(sides, compare))
  refuseDamagedSource(sides, found)
  const why = whyFresh(found, options, most)
  if (why !== undefined) return repairFresh(sides, why, options)
  if (found.count === 0)
    return { how: 'nothing', why: 'both sides are equal', steps: [], isDone: false, after: undefined }
  const steps: RepairStep[] = []
  let differences = found.differences
  for (let round = 1; ; round++) {
    steps.push(...(await repairRecords(sides, differences, { dryRun, signal })))
    const report = { how: 'records' as const, why: `${found.count} differences`, steps }
    if (dryRun) return { ...report, isDone: false, after: undefined }
    const after = await compareSides(sides, compare)
    if (after.isEqual) return { ...report, isDone: true, after }
    refuseDamagedSource(sides, after)
    const stillFresh = whyFresh(after, options, most)
    if (stillFresh !== undefined || round === rounds) return { ...report, isDone: false, after }
    differences = after.differences
  }
}

function refuseDamagedSource({ domain, source }: Sides, { differences }: Pick<Comparison, 'differences'>) {
  const damaged = differences.filter(({ kind }) => kind === 'damaged-source')
  if (damaged.length === 0) return
  throw new UnderpinError(
    'damaged',
    `Domain ${domain} is damaged at its source, ${source.name}: ${damaged.map(({ record }) => record).join('; ')}`,
    {
      hint: 'A repair never touches the authority. Restore the records there from a backup, or write them anew, then verify again.',
      details: { domain, differences: damaged },
    },
  )
}

/** Why records cannot be put right one by one; undefined if they can. */
function whyFresh(
  { differences, count }: Pick<Comparison, 'differences' | 'count'>,
  { fresh = false }: RepairOptions,
  most: number,
): string | undefined {
  if (fresh) return 'a fresh copy was asked for'
  if (count > most || count > differences.length) return `${count} records differ`
  if (differences.some(({ key }) => key !== undefined && isDeclaration(key)))
    return 'the declaration of a collection differs, and tables and indexes with it'
  if (differences.some(({ record, kind }) => kind === 'digest' && record.includes('names position')))
    return 'the copy is ahead of its source'
  return undefined
}

function isDeclaration(key: RecordKey): boolean {
  return 'collection' in key && key.collection === definitionsCollection
}

/** A copy of a new incarnation: the one that differs is poisoned first, and can never open. */
async function repairFresh(
  sides: Sides,
  why: string,
  { dryRun = false, fresh = false }: RepairOptions,
): Promise<RepairReport> {
  const report = { how: 'fresh' as const, why, steps: [], after: undefined }
  if (dryRun) return { ...report, isDone: false }
  if (!fresh)
    throw new UnderpinError('gate', `The copy of domain ${sides.domain} has to be made anew: ${why}`, {
      hint: 'repair({ fresh: true }) does so: the copy is emptied, and the mirror fills it again.',
      details: { domain: sides.domain, why },
    })
  const { stage } = await lookFromLead(sides)
  if (stage !== 'mirroring')
    throw new UnderpinError(
      'gate',
      `The copy of domain ${sides.domain} is ${stage}: it cannot be made anew now`,
      {
        hint: 'Finish the cutover, or reopen the source, first.',
        details: { domain: sides.domain, stage },
      },
    )
  await giveUp(sides)
  await start(sides)
  return { ...report, isDone: true }
}

interface RecordOptions {
  readonly dryRun: boolean
  readonly signal: AbortSignal | undefined
}

interface PartOptions extends RecordOptions {
  /** More of the repair follows. */
  readonly isPart: boolean
}

/** What goes is removed first, so that no key of it is in the way of what is put. */
async function repairRecords(
  sides: Sides,
  differences: readonly Difference[],
  options: RecordOptions,
): Promise<RepairStep[]> {
  const keys = differences.flatMap(({ key }) => key ?? [])
  const names = new Map(differences.flatMap(({ key, record }) => (key ? [[keyText(key), record]] : [])))
  const order = new Map(
    differences.flatMap(({ key, kind }) => (key ? [[keyText(key), kind === 'extra']] : [])),
  )
  keys.sort((a, b) => Number(order.get(keyText(b))) - Number(order.get(keyText(a))))
  const steps: RepairStep[] = []
  // Of a fence whose digest alone is wrong no record differs: a repair of none sums up the copy.
  for (let from = 0; from === 0 || from < keys.length; from += batch)
    for (const { key, action } of await repairSome(sides, keys.slice(from, from + batch), {
      ...options,
      isPart: from + batch < keys.length,
    }))
      steps.push({ action, record: names.get(keyText(key)) ?? keyText(key) })
  return steps
}

async function repairSome(
  sides: Sides,
  keys: readonly RecordKey[],
  options: PartOptions,
): Promise<readonly Deed[]> {
  const { domain, source, target } = sides
  const { dryRun, signal, isPart } = options
  const since = sides.clock.monotonic()
  for (let overtaken = 1; ; overtaken++) {
    if (signal?.aborted) throw new UnderpinError('aborted', 'The repair was ended', { cause: signal.reason })
    // Also behind a seal or a decision: a copy that is not whole cannot be opened, and this is what makes it whole.
    const seen = await look(sides, { ...(signal === undefined ? {} : { signal }) }, 'source')
    checkComparable(sides, seen.source, seen.target)
    const { head, epoch, role } = seen.target
    const deeds: Deed[] = []
    const looking = {
      checkSource: checkOf(source, domain, ['authority', 'sealed', 'handed-off']),
      checkTarget: checkOf(target, domain, ['follower'], epoch),
      signal,
    }
    for (const both of await lookAt(sides, keys, looking))
      deeds.push(deedOf(both, await judge(sides, both, looking), head))
    if (dryRun) return deeds
    const items = deeds.flatMap(({ item }) => item ?? [])
    const gone = deeds.filter(({ action }) => action === 'remove').map(({ key }) => key)
    try {
      await target.apply(domain, epoch, { items, next: head, head, epoch, role, repair: { gone, isPart } })
      return deeds
    } catch (error) {
      // An event cannot go from a copy that moves, or the fence changed: look again, and be refused if it is over.
      if (!isUnderpinError(error, 'conflict') && !isUnderpinError(error, 'fenced')) throw error
      if (keys.length > 1) return repairHalves(sides, keys, options)
      if (sides.clock.monotonic() - since < overtakenMs) {
        await sleep(sides.clock, overtaken % longestWaitMs, signal)
        continue
      }
      throw new UnderpinError(
        'gate',
        `The copy of domain ${domain} is never at rest for as long as a repair takes`,
        {
          hint: 'Pause the move, repair, and resume it.',
          details: { domain },
          cause: error,
        },
      )
    }
  }
}

/** Fewer at a time take less time, in which the copy has to stand still. */
async function repairHalves(
  sides: Sides,
  keys: readonly RecordKey[],
  options: PartOptions,
): Promise<readonly Deed[]> {
  const middle = Math.ceil(keys.length / 2)
  return [
    ...(await repairSome(sides, keys.slice(0, middle), { ...options, isPart: true })),
    ...(await repairSome(sides, keys.slice(middle), options)),
  ]
}

interface Deed {
  readonly key: RecordKey
  readonly action: RepairStep['action']
  readonly item: Change | undefined
}

/** What the copy must hold at its head under a key: what the source has from there or before, or nothing. */
function deedOf({ key, source }: Look, verdict: Verdict, head: Position): Deed {
  if (verdict.kind !== 'different') return { key, action: 'none', item: undefined }
  if (isDamage(source)) throw new UnderpinError('damaged', source.message, { details: { ...key } })
  if (source !== undefined && source.position <= head) return { key, action: 'put', item: source }
  return { key, action: 'remove', item: undefined }
}
