/**
 * A move of one domain, as an operator drives it. Nothing of it lives in this object: where the move stands is in the
 * fences of the two backends, what is noted of it in the domain, so any process may go on from where another stopped.
 */
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import type { Fence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import { cutover, giveUp, reopen, settle, start } from './cutover.ts'
import { type Gate, gatesOf } from './gates.ts'
import { Mover, type MoverOptions } from './mover.ts'
import { type CutoverNote, changeRecord, endRecord, type MoveRecord, readRecord } from './record.ts'
import { defaultSettings, type MoveSettings } from './settings.ts'
import { look, lookFromLead, type Sides, type Stage, turned } from './sides.ts'
import { type CompareOptions, type Comparison, compareSides } from './verify.ts'

export interface MoveOptions {
  /** The backend that the domain shall move to, by its name in the store. */
  readonly to: string
  /** The backend that it moves from; the one with authority (or, behind a cutover, the old side), if left out. */
  readonly from?: string
}

/** Who asks for a step: a name for the record. */
export interface By {
  readonly by?: string
}

/** Where a move stands: the stage of the domain, named by which side leads. */
export type Phase =
  | Exclude<Stage, 'alone'>
  /** Nothing was begun, or all was given up. */
  | 'none'
  /** The target has authority, and the old side follows it. */
  | 'reversed'
  /** The target has authority and names nobody: the old side is of the past. */
  | 'completed'

export interface MoveStatus {
  readonly domain: string
  readonly from: string
  readonly to: string
  readonly phase: Phase
  /** The backend that accepts commits now; null while none does (sealed, or decided and not open yet). */
  readonly authority: string | null
  /** Up to where the copy holds everything, and the head of who it follows. */
  readonly position: Position
  readonly head: Position
  readonly fences: Readonly<Record<string, Fence>>
  readonly record: MoveRecord | undefined
  readonly gates: readonly Gate[]
  /** No gate is in the way of a cutover. */
  readonly canCutOver: boolean
}

export class Move {
  readonly domain: string
  readonly from: string
  readonly to: string
  readonly #sides: Sides

  /** Use `store.move(domain, { to })`. */
  constructor(domain: string, ends: MoveEnds, clock: Clock) {
    this.domain = domain
    this.from = ends.from.name
    this.to = ends.to.name
    this.#sides = { domain, source: ends.from.backend, target: ends.to.backend, clock }
  }

  /** Where the move stands. Changes nothing. */
  async status(): Promise<MoveStatus> {
    const { sides, view, stage, isTurned } = await lookFromLead(this.#sides)
    const { source, target } = view
    const record = await readRecord(sides)
    const phase = phaseOf(stage, isTurned)
    const { position, head } = { position: target.head, head: source.head }
    const gates = gatesOf(
      { phase, position, head, record, now: this.#sides.clock.now(), latency: undefined },
      (record?.settings ?? defaultSettings).gates,
    )
    const [from, to] = isTurned ? [target, source] : [source, target]
    return {
      ...{ domain: this.domain, from: this.from, to: this.to, phase },
      authority: source.role !== 'authority' ? null : isTurned ? this.to : this.from,
      ...{ position, head, fences: { [this.from]: from, [this.to]: to } },
      ...{ record, gates, canCutOver: gates.every(({ holds }) => holds) },
    }
  }

  /** Makes the target a copy that follows, and notes the move. Goes on where an earlier start was broken off. */
  async start({ by, settings }: By & { readonly settings?: Partial<MoveSettings> } = {}): Promise<void> {
    await start(this.#sides)
    const { source, target } = await look(this.#sides)
    await changeRecord(this.#sides, (found) =>
      found !== undefined && isOf(found, source, target)
        ? undefined
        : {
            ...{ from: this.from, to: this.to, incarnations: [source.incarnation, target.incarnation] },
            ...{ startedAt: this.#sides.clock.now(), by: by ?? null, isPaused: false, isHeld: false },
            settings: { ...defaultSettings, ...settings },
            ...{ gap: null, soundSince: null, verified: null, cutovers: [] },
          },
    )
  }

  /**
   * Copies until the signal aborts or the move is over: the backfill, the mirror, and behind a cutover the reverse mirror.
   * Waits out what a store does not answer, and a gap. Any number of processes may: one copies, the others watch it.
   */
  run(options: Pick<MoverOptions, 'signal' | 'onProgress'>): Promise<void> {
    return new Mover(this.#sides, options).run()
  }

  /** Copies until the copy holds everything that was there when this was called. `gate` if a gap is in the way. */
  async catchUp({
    signal = new AbortController().signal,
    onProgress,
  }: Partial<Pick<MoverOptions, 'signal' | 'onProgress'>> = {}): Promise<void> {
    const { sides } = await lookFromLead(this.#sides)
    const { head: until } = await sides.source.fence(this.domain)
    await new Mover(this.#sides, { signal, until, ...(onProgress && { onProgress }) }).run()
    if (signal.aborted)
      throw new UnderpinError('aborted', `The copy of domain ${this.domain} was given up`, {
        cause: signal.reason,
      })
  }

  /** Stops movers in every process, until {@link resume}. Callers notice nothing. */
  pause(): Promise<void> {
    return this.#change((record) => ({ ...record, isPaused: true }))
  }

  resume(): Promise<void> {
    return this.#change((record) => ({ ...record, isPaused: false }))
  }

  /** Changes how movers work, in every process, while they work. */
  set(settings: Partial<MoveSettings>): Promise<void> {
    return this.#change((record) => ({ ...record, settings: { ...record.settings, ...settings } }))
  }

  /** Compares both sides record by record, and notes how it ended. */
  async verify(options?: CompareOptions): Promise<Comparison> {
    const { sides } = await lookFromLead(this.#sides)
    const comparison = await compareSides(sides, options)
    const { head, compared, differences } = comparison
    const at = this.#sides.clock.now()
    await this.#change((record) => ({
      ...record,
      verified: { at, head, compared, differences: differences.length },
      soundSince: comparison.isEqual ? (record.soundSince ?? at) : null,
    }))
    return comparison
  }

  /** Takes authority to the other side: to the target, or after that by {@link rollback} back. */
  cutover(options: By & { readonly maxPauseMs?: number } = {}): Promise<CutoverNote> {
    return this.#cutover('to', options)
  }

  /** The same cutover in the other direction, as often as wanted, until {@link complete}. */
  rollback(options: By & { readonly maxPauseMs?: number } = {}): Promise<CutoverNote> {
    return this.#cutover('from', options)
  }

  /** Ends the move behind its cutover: the old side is of the past, and never opens again. */
  async complete(): Promise<void> {
    await settle(this.#sides)
    const { sides, isTurned } = await lookFromLead(this.#sides)
    if (!isTurned) throw this.#refusal('is not cut over yet', 'Cut over, or cancel the move.')
    await endRecord(sides)
    await giveUp(sides)
  }

  /** Ends the move before its cutover, or behind a rollback: the copy is poisoned, and never opens. */
  async cancel(): Promise<void> {
    await settle(this.#sides)
    const { sides, isTurned, stage } = await lookFromLead(this.#sides)
    if (isTurned) throw this.#refusal('is cut over', 'Roll back first, or complete the move.')
    if (stage === 'sealed') await reopen(sides)
    await endRecord(sides)
    await giveUp(sides)
  }

  async #cutover(
    goal: 'to' | 'from',
    { by, maxPauseMs }: By & { readonly maxPauseMs?: number },
  ): Promise<CutoverNote> {
    await settle(this.#sides)
    const { sides, isTurned } = await lookFromLead(this.#sides)
    const [from, to] = isTurned ? [this.to, this.from] : [this.from, this.to]
    if (isTurned === (goal === 'to'))
      throw this.#refusal(`is on ${from} already`, 'underpin move status tells where it stands.')
    const before = await readRecord(sides)
    const { head, pauseMs, drained } = await cutover(sides, {
      maxPauseMs: maxPauseMs ?? before?.settings.maxPauseMs ?? defaultSettings.maxPauseMs,
    })
    const { digest } = await sides.source.fence(this.domain)
    const at = this.#sides.clock.now()
    const note = { at, from, to, head, digest, pauseMs, drained, by: by ?? null }
    await changeRecord(
      turned(sides),
      (record) => record && { ...record, cutovers: [...record.cutovers, note] },
    )
    return note
  }

  async #change(change: (record: MoveRecord) => MoveRecord): Promise<void> {
    const { sides } = await lookFromLead(this.#sides)
    let isThere = false
    await changeRecord(sides, (record) => {
      isThere = record !== undefined
      return record && change(record)
    })
    if (!isThere) throw this.#refusal('is in no move', 'Start one.')
  }

  #refusal(what: string, hint: string): UnderpinError {
    return new UnderpinError('gate', `Domain ${this.domain} ${what}`, {
      hint,
      details: { domain: this.domain },
    })
  }
}

function phaseOf(stage: Stage, isTurned: boolean): Phase {
  if (stage === 'alone') return isTurned ? 'completed' : 'none'
  return stage === 'mirroring' && isTurned ? 'reversed' : stage
}

/** The two backends of a move, by name. */
export interface MoveEnds {
  readonly from: { readonly name: string; readonly backend: Backend }
  readonly to: { readonly name: string; readonly backend: Backend }
}

/** Finds the two ends among a store's backends. */
export async function endsOf(
  domain: string,
  backends: ReadonlyMap<string, Backend>,
  { to, from }: MoveOptions,
): Promise<MoveEnds> {
  const target = end(backends, to)
  if (from !== undefined) return { from: end(backends, from), to: target }
  const others = [...backends.keys()].filter((name) => name !== to)
  const { successor } = await target.backend.fence(domain)
  for (const name of others) {
    const fence = await end(backends, name).backend.fence(domain)
    const isFrom =
      successor === null
        ? ['authority', 'sealed', 'handed-off'].includes(fence.role)
        : fence.incarnation === successor
    if (isFrom) return { from: end(backends, name), to: target }
  }
  throw new UnderpinError(
    'invalid',
    `None of ${others.join(', ')} holds domain ${domain} or is its old side`,
    {
      hint: 'Say which backend it moves from.',
    },
  )
}

function end(backends: ReadonlyMap<string, Backend>, name: string) {
  const backend = backends.get(name)
  if (backend !== undefined) return { name, backend }
  throw new UnderpinError(
    'invalid',
    `The store has no backend ${JSON.stringify(name)}: it has ${[...backends.keys()].join(', ')}`,
  )
}

function isOf({ incarnations: [a, b] }: MoveRecord, source: Fence, target: Fence): boolean {
  return a === source.incarnation && b === target.incarnation
}
