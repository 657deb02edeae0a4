/**
 * A move of one domain, as an operator drives it. Nothing of it lives in this object: where the move stands is in the
 * fences of the two backends, what is noted of it in the domain, so any process may go on from where another stopped.
 */
import { type Clock, sleep } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import type { Position } from '../model/position.ts'
import { untilDone } from './again.ts'
import { type CutOptions, changeOwn, cut, holdUntilGo, noteGivenUp, refusal } from './cut.ts'
import { giveUp, reopen, settle, start } from './cutover.ts'
import type { MoveEnds } from './ends.ts'
import type { Gap } from './gap.ts'
import { gatesInTheWay, soakedMsOf } from './gates.ts'
import { Mover } from './mover.ts'
import { type MovePlan, type PlanOptions, planMove } from './plan.ts'
import type { Progress } from './progress.ts'
import { Pulse } from './pulse.ts'
import { changeRecord, endRecord, type MoveRecord, readRecord } from './record.ts'
import { type RepairOptions, type RepairReport, repairCopy } from './repair.ts'
import { type CutoverReport, readReports } from './report.ts'
import { changeSettings, defaultSettings, type SettingsChange } from './settings.ts'
import { readShadow, type ShadowReport } from './shadow.ts'
import { lookFromLead } from './sides.ts'
import { type Sight, see, seeBoth } from './sight.ts'
import { lookEveryMs, type SoakOptions, watched } from './soak.ts'
import { isNamedBy, isRecordOfMove, lookAt, type MoveStatus, type Moving } from './status.ts'
import { countsAsFull, verifyNote } from './verify/note.ts'
import { type CompareOptions, type Comparison, compareSides } from './verify.ts'

/** Who asks for a step: a name for the record. */
export interface By {
  readonly by?: string
}

export interface StartOptions extends By {
  readonly settings?: SettingsChange
}

/** How a move ended. */
export interface Ending {
  /** The copy that was given up is poisoned: it is thrown away by the next move to its backend. */
  readonly isPoisoned: boolean
  /** What is left to be done, and why it does no harm; null if nothing is. */
  readonly owed: string | null
}

/** A cutover and a rollback, on live traffic. */
export interface Drill {
  readonly there: CutoverReport
  readonly back: CutoverReport
}

export interface CallWith {
  readonly signal?: AbortSignal
}

export interface RunOptions {
  readonly signal: AbortSignal
  /** Called after each page, and about once a second while there is nothing to copy; what it returns is waited for. */
  readonly onProgress?: (progress: Progress) => unknown
}

export class Move {
  readonly domain: string
  readonly from: string
  readonly to: string
  readonly #moving: Moving

  /** Use `store.move(domain, { to })`. */
  constructor(domain: string, ends: MoveEnds, clock: Clock) {
    this.domain = domain
    this.from = ends.from.name
    this.to = ends.to.name
    const sides = { domain, source: ends.from.backend, target: ends.to.backend, clock }
    this.#moving = { domain, from: this.from, to: this.to, sides, wanted: ends.wanted }
  }

  /** What a move would meet: counts, issues, predicted time and pause. Changes nothing on either side. */
  plan(options: PlanOptions = {}): Promise<MovePlan> {
    return planMove(this.#moving, options)
  }

  /** Where the move stands, in words too, and what can be done. Changes nothing; a side that does not answer is named. */
  async status({ signal }: CallWith = {}): Promise<MoveStatus> {
    return (await lookAt(this.#moving, signal)).status
  }

  /** Makes the target a copy that follows, and notes the move. Goes on where an earlier start was broken off. */
  async start({ by, settings = {} }: StartOptions = {}): Promise<void> {
    // Refused before anything is done.
    changeSettings(defaultSettings, settings)
    await this.#checkDirection()
    await settle(this.#moving.sides)
    const { isTurned, stage } = await seeBoth(this.#moving.sides)
    if (isTurned || stage === 'sealed')
      throw refusal(
        this,
        isTurned ? `is on ${this.to} already` : `is being cut over to ${this.to}`,
        'underpin move status tells where it stands.',
      )
    await start(this.#moving.sides)
    await this.#change((record) => ({
      ...record,
      by: record.by ?? by ?? null,
      settings: changeSettings(record.settings, settings),
    }))
  }

  /**
   * Copies until the signal aborts or the move is over: the backfill, the mirror, and behind a cutover the reverse mirror.
   * Waits out what a store does not answer, and a gap. Any number of processes may: one copies, the others watch it.
   */
  run(options: RunOptions): Promise<void> {
    return this.#mover(options).run()
  }

  /** Copies until the copy holds everything that was there when this was called. `gate` if a gap is in the way. */
  async catchUp({
    signal = new AbortController().signal,
    onProgress,
  }: Partial<RunOptions> = {}): Promise<void> {
    await settle(this.#moving.sides)
    const { source } = await seeBoth(this.#moving.sides, signal)
    await this.#mover({ signal, ...(onProgress && { onProgress }) }, source.head).run()
    if (signal.aborted)
      throw new UnderpinError('aborted', `The copy of domain ${this.domain} was given up`, {
        cause: signal.reason,
      })
  }

  /** Stops movers in every process, until {@link resume}. Callers notice nothing. */
  async pause(): Promise<void> {
    await this.#change((record) => ({ ...record, isPaused: true }))
  }

  async resume(): Promise<void> {
    await this.#change((record) => ({ ...record, isPaused: false }))
  }

  /** Changes how movers work, in every process, while they work. `invalid` for what is no setting. */
  async set(settings: SettingsChange): Promise<void> {
    await this.#change((record) => ({ ...record, settings: changeSettings(record.settings, settings) }))
  }

  /**
   * Compares both sides by contents, record by record, while both are written to, and notes how it ended. Fails with
   * `gate` if no copy follows, `fenced` if the sides changed places meanwhile, `aborted` by the signal.
   */
  async verify(options: CompareOptions = {}): Promise<Comparison> {
    const { sides } = await seeBoth(this.#moving.sides, options.signal)
    const known = options.known ?? (await readRecord(sides))?.verified?.open ?? []
    const comparison = await compareSides(sides, { ...options, known })
    if (countsAsFull(options, comparison)) await this.#noteVerified(comparison, 0)
    return comparison
  }

  /**
   * Brings a copy that differs to what its source holds; the authority is never touched. Notes what it did, and the
   * comparison behind it. `damaged` if the source itself is; `gate` if only a fresh copy helps, and `fresh` was not asked
   * for: that one empties the copy, which {@link run} or {@link catchUp} fill again.
   */
  async repair(options: RepairOptions = {}): Promise<RepairReport> {
    const { sides } = await seeBoth(this.#moving.sides, options.signal)
    const report = await repairCopy(sides, options)
    if (options.dryRun) return report
    if (report.how === 'fresh') await this.#noteFresh()
    // Behind a seal there is nobody to note it; a repair is possible there all the same.
    const { stage } = await seeBoth(this.#moving.sides, options.signal)
    const repaired = report.steps.filter(({ action }) => action !== 'none').length
    if (report.after !== undefined && stage === 'mirroring') await this.#noteVerified(report.after, repaired)
    return report
  }

  /** The record goes on with the copy that was made anew. */
  async #noteFresh(): Promise<void> {
    const { sides, isTurned, source, target } = await seeBoth(this.#moving.sides)
    const [from, to] = isTurned ? [target, source] : [source, target]
    const incarnations = [from.incarnation, to.incarnation] as const
    await changeRecord(
      sides,
      (record) => record && { ...record, incarnations, verified: null, soundSince: null },
    )
  }

  async #noteVerified(comparison: Comparison, repaired: number): Promise<void> {
    const { clock } = this.#moving.sides
    const verified = verifyNote(comparison, clock.now())
    await this.#change((record) => ({
      ...record,
      verified,
      repaired: record.repaired + repaired,
      soundSince: comparison.isEqual ? record.soundSince : null,
    }))
  }

  /** The changes that the copy does not take, as a mover met them last. */
  async gaps({ signal }: CallWith = {}): Promise<readonly Gap[]> {
    const gap = (await this.status(signal && { signal })).record?.gap
    return gap == null ? [] : [gap]
  }

  /**
   * Watches the gates until all of them have held for `forMs`, while it or another process watched; one that fails begins
   * it anew. Compares both sides when the last comparison is too old. Survives its process: what was watched is noted, and
   * the gate `soak` goes on asking for it; `forMs: 0` asks for none any more.
   */
  async soak({ forMs, signal, onProgress }: SoakOptions): Promise<MoveStatus> {
    await this.set({ gates: { soakMs: forMs } })
    if (forMs === 0) return this.status(signal && { signal })
    const { clock } = this.#moving.sides
    const everyMs = lookEveryMs(forMs)
    for (let wasAway = false; ; ) {
      if (signal?.aborted)
        throw new UnderpinError('aborted', 'The soak was broken off; the gate soak asks for it still', {
          hint: 'Go on with it, or ask for none any more: underpin move soak --for 0.',
          cause: signal.reason,
        })
      let status = await this.status(signal && { signal })
      if (needsVerify(status)) {
        await this.verify(signal && { signal })
        status = await this.status(signal && { signal })
      }
      const failing = gatesInTheWay(status.gates).filter(({ name }) => name !== 'soak')
      const isSound = failing.length === 0 && !wasAway
      wasAway = status.phase === 'unreachable'
      if (!wasAway) await this.#change((record) => watched(record, isSound, clock.now(), everyMs))
      const soakedMs = soakedMsOf((await this.status(signal && { signal })).record)
      onProgress?.({ soakedMs, forMs, failing })
      if (failing.length === 0 && soakedMs >= forMs) return this.status(signal && { signal })
      await sleep(clock, everyMs, signal)
    }
  }

  /**
   * What shadow reads of all processes found between the two copies. With `sample`, in [0, 1], the part of their reads
   * that processes make on both sides from then on: they learn of it, and note what they found, every few seconds.
   */
  async shadow({
    sample,
    signal,
  }: CallWith & { readonly sample?: number } = {}): Promise<ShadowReport & { readonly processes: number }> {
    if (sample !== undefined) await this.set({ shadow: sample })
    const { sides, view } = await lookFromLead(this.#moving.sides, signal && { signal })
    return readShadow(sides, [view.source.incarnation, view.target.incarnation], signal && { signal })
  }

  /**
   * Takes authority to the other side. Refused with `gate` (`details.gates`) unless all gates hold; given up, with the
   * source in authority, if callers would wait longer than `maxPauseMs`. One that was broken off is gone on with.
   */
  async cutover(options: CutOptions = {}): Promise<CutoverReport> {
    await this.#checkDirection()
    return cut(this.#moving, 'to', options)
  }

  /** The same cutover in the other direction, as often as wanted, until {@link complete}. */
  async rollback(options: CutOptions = {}): Promise<CutoverReport> {
    await this.#checkDirection()
    return cut(this.#moving, 'from', options)
  }

  /** Waits, while it mirrors, until some process calls {@link go}: what `hold` does before a cutover. */
  async hold({ signal }: CallWith = {}): Promise<void> {
    await holdUntilGo(this.#moving, await seeBoth(this.#moving.sides, signal), signal)
  }

  /** Lets a cutover that is held, in whatever process, go on. */
  async go(): Promise<void> {
    const { record } = await this.status()
    if (record?.isHeld !== true) throw refusal(this, 'has no cutover that is held', 'Cut over with hold.')
    await this.#change((found) => ({ ...found, isHeld: false, goes: found.goes + (found.isHeld ? 1 : 0) }))
  }

  /** Gives up a cutover that nothing was decided of, whoever began it: the source accepts commits again. */
  async reopen({ by }: By = {}): Promise<void> {
    const { sides, source } = await see(this.#moving.sides)
    if (source?.role !== 'sealed')
      throw refusal(this, 'is not sealed', 'underpin move status tells where it stands.')
    await reopen(sides)
    await noteGivenUp(sides, `given up by ${by ?? 'somebody'}`)
  }

  /** Ends the move behind its cutover: the old side is of the past, and never opens again. It need not answer. */
  complete({ by }: By = {}): Promise<Ending> {
    return this.#end('complete', by)
  }

  /** Ends the move before its cutover, or behind a rollback: the copy never opens. It need not answer. */
  cancel({ by }: By = {}): Promise<Ending> {
    return this.#end('cancel', by)
  }

  /** A cutover and a rollback on live traffic. */
  async drill(options: Omit<CutOptions, 'hold'> = {}): Promise<Drill> {
    const there = await this.cutover(options)
    return { there, back: await this.rollback({ ...options, force: true }) }
  }

  /** What is noted of the cutovers of the domain, the oldest first. */
  async report({ signal }: CallWith = {}): Promise<readonly CutoverReport[]> {
    const { sides } = await seeBoth(this.#moving.sides, signal)
    return readReports(sides, signal && { signal })
  }

  #mover({ signal, onProgress }: RunOptions, until?: Position): Mover {
    const pulse = new Pulse(this.#moving.sides)
    return new Mover(this.#moving.sides, {
      ...{ signal, ...(until !== undefined && { until }) },
      onProgress: async (progress) => {
        await pulse.beat(progress)
        await onProgress?.(progress)
      },
    })
  }

  async #end(how: 'complete' | 'cancel', by: string | undefined): Promise<Ending> {
    const { sides: given } = this.#moving
    await this.#checkDirection()
    if ((await see(given)).stage !== undefined) await settle(given)
    const sight = await see(given)
    const { sides, isTurned, source, target } = sight
    if (source === undefined) throw this.#cannotEnd('while who leads does not answer')
    if (isTurned !== (how === 'complete'))
      throw isTurned
        ? refusal(this, 'is cut over', 'Roll back first, or complete the move.')
        : refusal(this, 'is not cut over yet', 'Cut over, or cancel the move.')
    if (source.role !== 'authority' && source.role !== 'sealed' && target === undefined)
      throw this.#cannotEnd(`while ${isTurned ? this.from : this.to} does not answer: it may have authority`)
    if (source.role === 'sealed') await reopen(sides)
    const isPoisoned = await giveUp(sides, await this.#successor(sight))
    const ended = { how, at: sides.clock.now(), by: by ?? null }
    if (source.role === 'authority' || source.role === 'sealed')
      await endRecord(sides, (record) => isRecordOfMove(this, record, source, target), ended)
    const copy = isTurned ? this.from : this.to
    return {
      isPoisoned,
      owed: isPoisoned
        ? null
        : `The copy on ${copy} did not answer and is not poisoned yet. Nobody names it, so it can never open; ${how} again, or the next start, poisons it.`,
    }
  }

  /** A move under way has a direction: named the other way round, its end would be taken for its cancellation. */
  async #checkDirection(): Promise<void> {
    const { sides, isTurned, source, target } = await see(this.#moving.sides)
    if (source === undefined || target === undefined) return
    const [from, to] = isTurned ? [target, source] : [source, target]
    const record = await readRecord(sides)
    const [begun, copy] = record?.incarnations ?? []
    if (begun !== to.incarnation || copy !== from.incarnation) return
    throw refusal(
      this,
      `is in a move from ${this.to} to ${this.from}`,
      `Name it so: store.move(${JSON.stringify(this.domain)}, { to: ${JSON.stringify(this.from)} }); its rollback() brings the domain back.`,
    )
  }

  /** The incarnation of the copy that is given up: never that of a move to somewhere else. */
  async #successor({ sides, source, target }: Sight): Promise<string> {
    const named = source?.successor ?? null
    if (named === null || target?.incarnation === named) return named ?? ''
    const record = await readRecord(sides)
    // Without a record nobody knows better than who asks, unless another copy stands there.
    const isOurs =
      record === undefined
        ? target === undefined || target.role === 'vacant'
        : isNamedBy(this, record, source)
    if (isOurs) return named
    if (target !== undefined) return target.incarnation
    throw this.#cannotEnd('while the copy does not answer: the domain is in a move to somewhere else')
  }

  #cannotEnd(why: string): UnderpinError {
    return new UnderpinError('unavailable', `The move of ${this.domain} cannot be ended ${why}`, {
      hint: 'Nothing was changed. Try again when it answers.',
      details: { domain: this.domain },
    })
  }

  #change(change: (record: MoveRecord) => MoveRecord): Promise<true> {
    return untilDone<true>(this.#moving.sides.clock, async () => {
      const sight = await seeBoth(this.#moving.sides)
      if (sight.stage === 'alone')
        throw refusal(this, 'is in no move', 'underpin move status tells where it stands.')
      await changeOwn(this.#moving, sight, change)
      return true
    })
  }
}

/** The last comparison is too old, or there is none; one that found differences waits for the operator. */
function needsVerify({ gates, record, phase }: MoveStatus): boolean {
  const isFollowing = phase === 'mirroring' || phase === 'reversed'
  const isOld = gates.some(({ name, holds }) => name === 'verified' && !holds)
  return isFollowing && isOld && (record?.verified?.differences ?? 0) === 0
}
