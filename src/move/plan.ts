/** What a move would meet, found before anything is copied: changes nothing in the domain, on either side. */
import type { Backend } from '../backend/backend.ts'
import { describeChange } from '../model/change.ts'
import type { CollectionDefinition } from '../model/collection.ts'
import { type Counted, countDomain, type PlanCounts, readDefinitions } from './plan/count.ts'
import {
  blocking,
  Issues,
  issuesOfDefinitions,
  issuesOfLimits,
  issuesOfPlacement,
  issuesOfStatus,
  issuesOfSupports,
  type PlanIssue,
} from './plan/issue.ts'
import { limitsOf, overLimits, tighterLimits } from './plan/limit.ts'
import { type Prediction, predictCopy, predictPause } from './plan/predict.ts'
import { probeTarget } from './plan/probe.ts'
import { type Latency, lookAt, type Moving } from './status.ts'

export interface PlanOptions {
  readonly signal?: AbortSignal
  /**
   * Records read at most; of a domain with more positions, pages at even distances are read, and the rest is estimated.
   * 200,000 if left out. Where the target's limits are tighter, only records that are read are held against them.
   */
  readonly maxRecords?: number
  /** Issues listed at most; 100 if left out. */
  readonly maxIssues?: number
  /**
   * Measures the target by writing the first pages into an empty copy of another domain, `underpin-probe`, which is
   * emptied again; its fence stays there, poisoned. False if left out: then only reads are measured.
   */
  readonly probe?: boolean
  readonly onProgress?: (read: number, of: number) => void
}

export interface MovePlan {
  readonly domain: string
  readonly from: string
  readonly to: string
  /** No issue is blocking. */
  readonly canStart: boolean
  readonly issues: readonly PlanIssue[]
  /** Issues that were found beyond those that are listed. */
  readonly issuesLeftOut: number
  /** Undefined if the source does not answer, or holds no authority. */
  readonly counts: PlanCounts | undefined
  /** To copy all of it, without a throttle. */
  readonly copy: Prediction | undefined
  /** Of a cutover: for how long nobody accepts commits. */
  readonly pause: Prediction | undefined
  readonly latency: Latency | undefined
}

const defaultMaxRecords = 200_000
const defaultMaxIssues = 100

export async function planMove(moving: Moving, options: PlanOptions): Promise<MovePlan> {
  const { signal } = options
  const { domain, from, to, sides } = moving
  const { status, sight } = await lookAt(moving, signal)
  const { latency } = status
  const issues = new Issues(options.maxIssues ?? defaultMaxIssues)
  issues.add(...issuesOfStatus(status), ...issuesOfPlacement(to, moving.wanted))
  const isHeld = status.fences[from]?.role === 'authority'
  const counted = isHeld ? await look(moving, options, issues) : undefined
  const canProbe = options.probe === true && status.fences[to] !== undefined && counted !== undefined
  const applyMs = canProbe ? await probeTarget(sides.target, counted.first, sides.clock, signal) : undefined
  return {
    ...{ domain, from, to, latency },
    canStart: !issues.isBlocked,
    issues: issues.list,
    issuesLeftOut: issues.leftOut,
    counts: counted?.counts,
    copy: counted && predictCopy(counted.counts.records, { readMs: counted.readMs, applyMs }),
    pause: latency && predictPause(latency, sight.sides),
  }
}

/** Counts what the source holds, and holds it against what the target takes. */
async function look(
  { domain, sides: { source, target, clock } }: Moving,
  { signal, maxRecords = defaultMaxRecords, onProgress }: PlanOptions,
  issues: Issues,
): Promise<Counted> {
  const definitions = await readDefinitions(source, domain, signal)
  const [held, limits] = [limitsOf(source.supports.limits), limitsOf(target.supports.limits)]
  const isTighter = tighterLimits(held, limits).length > 0
  issues.add(
    ...issuesOfSupports(source.supports, target.supports, {
      tableProjections: await tableProjectionsOf(source, domain, definitions, signal),
    }),
    ...issuesOfLimits(source.supports, target.supports),
    ...issuesOfDefinitions(domain, definitions, limits),
  )
  return countDomain(source, domain, definitions, {
    ...{ clock, maxRecords, signal, onProgress },
    look: (change) => {
      if (!isTighter) return
      const definition = change.kind === 'event' ? undefined : definitions.get(change.collection)
      for (const over of overLimits(change, definition, limits))
        issues.add(
          blocking(
            'limit',
            `${describeChange(change)}: ${over}`,
            'Change or delete it: the copy would stop before it.',
            change.position,
          ),
        )
    },
    damaged: ({ message, details }) =>
      issues.add(
        blocking(
          'damaged',
          message,
          'Repair it, from a backup or another copy: the copy would stop before it.',
          details.position as number,
        ),
      ),
  })
}

/** The registers of projections, which the facet of that name keeps. */
const projectionsCollection = '$projections'

/** Projections whose builds have no collection write tables of the application's own. */
async function tableProjectionsOf(
  source: Backend,
  domain: string,
  definitions: ReadonlyMap<string, CollectionDefinition>,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  if (!definitions.has(projectionsCollection)) return []
  const query = {
    collection: projectionsCollection,
    by: 'id',
    prefix: '',
    backwards: false,
    limit: 1_000,
  } as const
  const { items } = await source.scan(domain, { ...query, after: null }, signal && { signal })
  const names = [...definitions.keys()]
  return items
    .map(({ id }) => id)
    .filter((name) => !names.some((collection) => collection.startsWith(`$p_${name}_`)))
}
