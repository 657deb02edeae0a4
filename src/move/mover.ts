/**
 * A mover: copies for as long as the move lasts, in whichever direction authority stands. It knows nothing that another
 * one would not find, so any number may run and be killed anywhere; where two meet, one steps back and watches.
 */
import { sleep } from '../clock.ts'
import { isUnderpinError, UnderpinError } from '../error.ts'
import { type Fence, sameFence } from '../model/fence.ts'
import type { Position } from '../model/position.ts'
import { Bell } from './bell.ts'
import { Copier, type Step } from './copier.ts'
import { reopen, settle } from './cutover.ts'
import { type Gap, isSameGap, troubleOf } from './gap.ts'
import { Meter, type MoverState, type Progress } from './progress.ts'
import { type MoveRecord, noteGap, readRecord } from './record.ts'
import { defaultSettings } from './settings.ts'
import { lookFromLead, type Sides } from './sides.ts'
import { Speed } from './speed.ts'
import { survey } from './survey.ts'

export interface MoverOptions {
  readonly signal: AbortSignal
  /** Called after each page, and about once a second while there is nothing to copy; what it returns is waited for. */
  readonly onProgress?: (progress: Progress) => unknown
  /** Ends as soon as the copy holds everything up to here; a gap or a pause on the way fails with `gate`. */
  readonly until?: Position
}

/** Milliseconds after which settings, pause and direction are looked at again. */
const lookMs = 500
/** The longest wait for a hint of new records. */
const idleMs = 1_000
const shortestBackoffMs = 100
const longestBackoffMs = 5_000
/** A mover that met another one copies again when the copy has stood still for so long; up to twice as long by chance. */
const patienceMs = 1_500
/** A decided cutover that has not gone on for so long has nobody behind it: any process may finish it. */
const abandonedMs = 1_000
/** Undecided, it is left to its own deadline first, which an operator may have made long; then the source is opened again. */
const sealedMs = 30_000

export class Mover {
  readonly #given: Sides
  readonly #options: MoverOptions
  readonly #speed: Speed
  #gap: Gap | undefined
  #trouble: Progress['trouble']
  #failures = 0
  #record: MoveRecord | undefined
  #lookedAt = Number.NEGATIVE_INFINITY
  #sealedSince: number | undefined
  #meter: Meter

  constructor(sides: Sides, options: MoverOptions) {
    this.#given = sides
    this.#options = options
    this.#speed = new Speed(sides)
    this.#meter = new Meter(this.#now(), 0, 0)
  }

  /**
   * Ends when the signal aborts, the move is over (completed, cancelled), or `until` is reached. Failures of the stores
   * are waited out. Fails with `closed` when the store is closed, with `gate` if the domain is in no move.
   */
  async run(): Promise<void> {
    const { signal } = this.#options
    this.#speed.listen()
    try {
      for (let isFirst = true; !signal.aborted; isFirst = false) {
        const isOver = await this.#guarded(async () => {
          const sides = await this.#direction(isFirst)
          return sides === undefined || (await this.#copy(sides))
        })
        if (isOver) return
      }
    } finally {
      this.#speed.stopListening()
    }
  }

  /** Waits out what passes; throws the rest. False if the work was not ended by itself. */
  async #guarded(work: () => Promise<boolean>): Promise<boolean> {
    try {
      const isOver = await work()
      return isOver
    } catch (error) {
      if (this.#options.signal.aborted) return true
      const trouble = troubleOf(error)
      if (trouble !== 'passing' && trouble !== 'elsewhere') throw error
      const { code, message } = error as UnderpinError
      this.#meter.interrupted(this.#now())
      if (trouble === 'passing') this.#trouble = { code, message }
      await this.#say(trouble === 'passing' ? 'retrying' : 'turning')
      const ms = Math.min(longestBackoffMs, shortestBackoffMs * 2 ** Math.min(this.#failures++, 10))
      await this.#sleep(ms * (0.5 + this.#given.clock.random() / 2))
      return false
    }
  }

  /** The sides as the fences have them, once there is something to copy; undefined when the move is over. */
  async #direction(isFirst: boolean): Promise<Sides | undefined> {
    const { signal } = this.#options
    let seen: { source: Fence; target: Fence; since: number } | undefined
    while (!signal.aborted) {
      const { sides, view, stage } = await lookFromLead(this.#given, { signal })
      if (stage === 'mirroring' || stage === 'sealed') return sides
      const { source, target } = view
      const isSame = seen !== undefined && sameFence(source, seen.source) && sameFence(target, seen.target)
      if (!isSame || seen === undefined) seen = { source, target, since: this.#now() }
      // The two fences are not read at one moment: what was seen twice was so in between.
      if (stage === 'alone' && isSame) {
        if (isFirst) throw notMoving(sides)
        return undefined
      }
      if (stage !== 'alone' && this.#now() - seen.since > abandonedMs)
        await this.#help(() => settle(this.#given))
      await this.#say('turning')
      await this.#sleep(stage === 'alone' ? 20 : 100)
    }
    return undefined
  }

  /** Goes on with what another process began and left. */
  async #help(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      // Somebody else took the step, and the fences allow it no more.
      if (!isUnderpinError(error, 'gate')) throw error
    }
  }

  /** Copies in one direction, until it is to be looked for again (false), or the end is reached (true). */
  async #copy(sides: Sides): Promise<boolean> {
    const { signal, until = Number.POSITIVE_INFINITY } = this.#options
    const copier = new Copier(sides, { signal })
    const bell = new Bell(sides, signal)
    try {
      await this.#begin(sides)
      while (!signal.aborted) {
        if (!(await this.#look(sides))) return false
        if (this.#record?.isPaused) {
          await this.#pause(sides, copier)
          continue
        }
        const step = await this.#speed.page(sides, this.#settings, (items) =>
          copier.step(items, this.#speed.isFree),
        )
        this.#take(step)
        if (step.position >= until) {
          await this.#say(step.kind === 'copied' ? 'copying' : 'waiting')
          return true
        }
        if (step.kind === 'gap' && until !== Number.POSITIVE_INFINITY) throw gapInTheWay(step.gap)
        await this.#after(step, sides, bell)
      }
      return true
    } finally {
      await bell.end()
    }
  }

  get #settings() {
    return this.#record?.settings ?? defaultSettings
  }

  async #begin({ domain, source, target, clock }: Sides): Promise<void> {
    const call = { signal: this.#options.signal }
    const [{ head: position }, { head }] = [
      await target.fence(domain, call),
      await source.fence(domain, call),
    ]
    const found = await survey(source, domain, position, head, call)
    this.#meter = new Meter(clock.monotonic(), position, head)
    this.#meter.surveyed(found)
    this.#lookedAt = Number.NEGATIVE_INFINITY
  }

  /** Every so often: whether this is still the direction, and what the operator wants. */
  async #look(sides: Sides): Promise<boolean> {
    if (this.#now() - this.#lookedAt < lookMs) return true
    const { signal } = this.#options
    const { sides: led, stage } = await lookFromLead(this.#given, { signal })
    if (led.source !== sides.source || (stage !== 'mirroring' && stage !== 'sealed')) return false
    this.#record = await readRecord(sides)
    this.#lookedAt = this.#now()
    if (stage === 'mirroring') this.#sealedSince = undefined
    else this.#sealedSince ??= this.#now()
    const mostSealedMs = Math.max(sealedMs, 2 * (this.#record?.attempt?.maxPauseMs ?? 0))
    if (this.#now() - (this.#sealedSince ?? this.#now()) > mostSealedMs) await this.#help(() => reopen(sides))
    if (stage === 'mirroring') await this.#note(sides)
    return true
  }

  async #pause(sides: Sides, copier: Copier): Promise<void> {
    if (this.#options.until !== undefined)
      throw new UnderpinError('gate', `The move of domain ${sides.domain} is paused`, { hint: 'Resume it.' })
    copier.rest()
    this.#meter.interrupted(this.#now())
    await this.#say('paused')
    await this.#sleep(lookMs)
  }

  #take(step: Step): void {
    const now = this.#now()
    if (step.kind === 'copied') this.#meter.moved(now, step.position, step.head, step.amount)
    else this.#meter.moved(now, step.position, step.head)
    this.#gap = step.kind === 'gap' ? step.gap : undefined
    if (step.kind === 'copied' || step.kind === 'caught up') {
      this.#trouble = undefined
      this.#failures = 0
    }
  }

  async #after(step: Step, sides: Sides, bell: Bell): Promise<void> {
    switch (step.kind) {
      case 'copied':
        await this.#say('copying')
        return this.#sleep(this.#speed.rest())
      case 'caught up':
        await this.#say('waiting')
        return bell.wait(idleMs)
      case 'gap':
        await this.#note(sides)
        await this.#say('gap')
        return this.#sleep(
          Math.min(longestBackoffMs, shortestBackoffMs * 2 ** Math.min(++this.#failures, 10)),
        )
      case 'overtaken':
        return this.#stepBack(sides)
      case 'narrower':
        return
    }
  }

  /** Another mover is at work: watches until it has stood still for a while, though there is something to copy. */
  async #stepBack(sides: Sides): Promise<void> {
    const { domain, source, target, clock } = sides
    const { signal, until = Number.POSITIVE_INFINITY } = this.#options
    const patience = patienceMs * (1 + clock.random())
    let position = -1
    let since = this.#now()
    for (let isFirst = true; !signal.aborted; isFirst = false) {
      const copy = await target.fence(domain, { signal })
      const { head } = await source.fence(domain, { signal })
      this.#meter.moved(this.#now(), copy.head, head)
      if (copy.role !== 'follower' || copy.head >= until) return
      if (copy.head !== position || copy.head >= head) since = this.#now()
      else if (this.#now() - since > patience) return
      position = copy.head
      if (!(isFirst || (await this.#look(sides))) || this.#record?.isPaused) return
      await this.#say('beside')
      await this.#sleep(patienceMs / 4)
    }
  }

  /** The record says of the gap what this mover knows: it appeared, or the copy has passed it. */
  async #note(sides: Sides): Promise<void> {
    if (this.#record === undefined) return
    const noted = this.#record.gap
    const gap = this.#gap
    const isPassed = gap === undefined && noted !== null && this.#meter.position >= noted.position
    if (!isPassed && (gap === undefined || isSameGap(gap, noted))) return
    await noteGap(sides, gap ?? null)
    this.#lookedAt = Number.NEGATIVE_INFINITY
  }

  async #say(state: MoverState): Promise<void> {
    await this.#options.onProgress?.({
      state,
      ...this.#meter.report(this.#now()),
      throttle: this.#speed.causes,
      gap: this.#gap,
      trouble: this.#trouble,
    })
  }

  #now(): number {
    return this.#given.clock.monotonic()
  }

  async #sleep(ms: number): Promise<void> {
    if (ms > 0) await sleep(this.#given.clock, ms, this.#options.signal)
  }
}

function notMoving({ domain, source }: Sides): UnderpinError {
  return new UnderpinError(
    'gate',
    `Domain ${domain} on ${source.name} is in no move with the other backend`,
    {
      hint: 'underpin move status tells where it stands, and what can be done.',
      details: { domain },
    },
  )
}

function gapInTheWay(gap: Gap): UnderpinError {
  return new UnderpinError('gate', `The target refuses position ${gap.position}: ${gap.message}`, {
    details: { gap },
  })
}
