/** What stands in the way of a move, or should be known before it: pure. */
import type { Supports } from '../../backend/backend.ts'
import type { CollectionDefinition } from '../../model/collection.ts'
import type { Limits } from '../../model/limit.ts'
import type { Position } from '../../model/position.ts'
import { isLeftOver } from '../cutover.ts'
import type { Wanted } from '../ends.ts'
import type { MoveStatus } from '../status.ts'
import { limitsOf, tighterLimits } from './limit.ts'

export interface PlanIssue {
  /** `blocking`: the move cannot be started, would stop at a gap, or something in use would stop working behind it. */
  readonly kind: 'blocking' | 'warning'
  /** What it is about. */
  readonly what: PlanFinding
  readonly message: string
  /** What to do about it. */
  readonly hint: string
  /** Of the record, where it is one. */
  readonly position?: Position
}

export type PlanFinding =
  /** A side does not answer. */
  | 'unreachable'
  /** Who holds authority, and what it is doing. */
  | 'source'
  /** What stands at the target already. */
  | 'target'
  /** A record, a name or an index that the target does not take. */
  | 'limit'
  /** A record of the source that is not what was written. */
  | 'damaged'
  /** What an acknowledgement outlives. */
  | 'durability'
  /** Something that the source can do and the target cannot. */
  | 'supports'
  /** Where the operator wants the domain, by a flag or the configuration. */
  | 'placement'

/** The first issues that were found, and how many more there were. */
export class Issues {
  readonly list: PlanIssue[] = []
  leftOut = 0
  isBlocked = false
  readonly #most: number

  constructor(most: number) {
    this.#most = most
  }

  add(...issues: readonly PlanIssue[]): void {
    for (const issue of issues) {
      this.isBlocked ||= issue.kind === 'blocking'
      if (this.list.length < this.#most) this.list.push(issue)
      else this.leftOut++
    }
  }
}

/** By where the two sides stand. */
export function issuesOfStatus(status: MoveStatus): PlanIssue[] {
  const { domain, from, to, phase, unreachable, fences } = status
  if (unreachable.length > 0)
    return unreachable.map(({ backend, message }) =>
      blocking('unreachable', `${backend} does not answer: ${message}`, 'Is it up, and its address right?'),
    )
  const [source, target] = [fences[from], fences[to]]
  if (source === undefined || target === undefined) return []
  switch (phase) {
    case 'mirroring':
    case 'named':
    case 'prepared':
      return [
        warning(
          'target',
          `The move of ${domain} to ${to} was begun already`,
          'Start goes on with it; cancel gives it up.',
        ),
      ]
    case 'none':
      break
    default:
      return [
        blocking(
          'source',
          `The move of ${domain} is ${phase} already: ${status.explanation}`,
          hintOf(status),
        ),
      ]
  }
  if (source.role !== 'authority') return [blocking('source', status.explanation, hintOf(status))]
  const issues: PlanIssue[] = []
  if (source.successor !== null) issues.push(blocking('source', status.explanation, 'End that move first.'))
  if (isLeftOver({ source, target }))
    issues.push(
      warning(
        'target',
        `${to} holds a copy up to position ${target.head} that was given up`,
        'Start throws it away.',
      ),
    )
  else if (target.role === 'poisoned')
    issues.push(
      warning(
        'target',
        `${to} holds the poisoned copy of an earlier move, up to position ${target.head}`,
        'Start throws it away.',
      ),
    )
  else if (target.role !== 'vacant')
    issues.push(
      blocking(
        'target',
        `${to} holds ${domain} as ${target.role} already, of another move`,
        'End that move first.',
      ),
    )
  return issues
}

function hintOf({ next }: MoveStatus): string {
  return (
    next.map(({ verb, why }) => `${verb}: ${why}`).join('; ') || 'underpin move status tells where it stands.'
  )
}

/** By where the operator wants the domain, which a move does not ask. */
export function issuesOfPlacement(to: string, wanted: Wanted | undefined): PlanIssue[] {
  if (wanted === undefined || wanted.by === 'default' || wanted.backend === to) return []
  const by = wanted.by === 'flag' ? 'a flag' : 'its configuration'
  return [
    warning(
      'placement',
      `The domain is wanted on ${wanted.backend}, by ${by}, and would move to ${to}`,
      'Neither is changed by the other: change it, or health() reports the difference behind the cutover.',
    ),
  ]
}

/** What facets are in use of a domain, as far as its collections tell. */
export interface InUse {
  /** Projections into SQL tables, by name. */
  readonly tableProjections: readonly string[]
}

/** By what the two backends can do. */
export function issuesOfSupports(
  source: Supports,
  target: Supports,
  { tableProjections }: InUse,
): PlanIssue[] {
  const issues: PlanIssue[] = []
  const ranks = ['none', 'process', 'durable']
  if (ranks.indexOf(target.durability) < ranks.indexOf(source.durability))
    issues.push(
      warning(
        'durability',
        `What is acknowledged outlives ${outlives(source)} at the source, and ${outlives(target)} at the target`,
        'Move to a durable backend, unless that is what you want.',
      ),
    )
  if (source.shared && !target.shared)
    issues.push(
      warning(
        'supports',
        'Several processes may use the source; only one may use the target',
        'Stop the others before the cutover.',
      ),
    )
  if (source.sync && !target.sync)
    issues.push(
      warning(
        'supports',
        'The target has no synchronous verbs',
        'Code that uses underpin/sync, or a DurableMap, on this domain must wait for promises before the cutover.',
      ),
    )
  if (source.transactions === true && target.transactions !== true)
    issues.push(
      warning(
        'supports',
        'The target cannot commit inside a transaction of the caller',
        'Code that uses within() on this domain is refused behind the cutover.',
      ),
    )
  if (tableProjections.length > 0) {
    const names = tableProjections.join(', ')
    issues.push(
      target.tables
        ? warning(
            'supports',
            `The tables of the projections ${names} do not move along`,
            'Create them at the target, and rebuild the projections behind the cutover.',
          )
        : blocking(
            'supports',
            `The projections ${names} write SQL tables, which the target has none of`,
            'Drop them, or make them projections into documents.',
          ),
    )
  }
  return issues
}

function outlives({ durability }: Supports): string {
  return durability === 'durable' ? 'a power failure' : durability === 'process' ? 'the process' : 'nothing'
}

/** By names and indexes, which the target might not take whatever the records are. */
export function issuesOfDefinitions(
  domain: string,
  definitions: ReadonlyMap<string, CollectionDefinition>,
  target: Limits,
): PlanIssue[] {
  const issues: PlanIssue[] = []
  const check = (what: string, found: number, limit: number, hint: string) => {
    if (found > limit) issues.push(blocking('limit', `${what}; the limit of the target is ${limit}`, hint))
  }
  const rename = 'It cannot be renamed; move its content into another one first.'
  check(`The domain's name has ${domain.length} bytes`, domain.length, target.nameBytes, rename)
  for (const [name, { indexes }] of definitions) {
    // A collection of Underpin's own is named by what stands behind its `$`.
    const bytes = name.replace(/^\$/, '').length
    check(`The name of collection ${name} has ${bytes} bytes`, bytes, target.nameBytes, rename)
    const count = Object.keys(indexes).length
    check(`Collection ${name} has ${count} indexes`, count, target.indexes, 'Keep fewer in a new collection.')
    for (const [index, { fields }] of Object.entries(indexes))
      check(
        `Index ${index} of collection ${name} has ${fields.length} fields`,
        fields.length,
        target.indexFields,
        'Keep the documents in a new collection with a shorter index.',
      )
  }
  return issues
}

/** That limits are tighter at the target, though what is there fits: until the move is completed, the tighter hold. */
export function issuesOfLimits(source: Supports, target: Supports): PlanIssue[] {
  const tighter = tighterLimits(limitsOf(source.limits), limitsOf(target.limits))
  if (tighter.length === 0) return []
  const list = tighter.map(
    (name) => `${name} ${limitsOf(target.limits)[name]} instead of ${limitsOf(source.limits)[name]}`,
  )
  return [
    warning(
      'limit',
      `The target takes less: ${list.join(', ')}`,
      'Processes that open both backends keep to the tighter limits already.',
    ),
  ]
}

export function blocking(what: PlanFinding, message: string, hint: string, position?: Position): PlanIssue {
  return { kind: 'blocking', what, message, hint, ...(position !== undefined && { position }) }
}

function warning(what: PlanFinding, message: string, hint: string): PlanIssue {
  return { kind: 'warning', what, message, hint }
}
