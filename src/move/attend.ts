/**
 * Attending: how a process that only uses a domain takes part in its moves. Every few seconds it looks at the fence of
 * who holds authority; if that names a successor, it learns from the move's record what the operator has set. So a
 * setting reaches every process without anything but the two stores between them, and no move costs one look.
 */
import type { Backend } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { UnderpinError } from '../error.ts'
import type { Fence } from '../model/fence.ts'
import { Awaiting, type AwaitReport } from './await.ts'
import { CallerWaits } from './callers.ts'
import type { RouteHooks } from './hooks.ts'
import { writeEntries } from './ledger.ts'
import { readRecord } from './record.ts'
import { Round } from './round.ts'
import type { MoveSettings } from './settings.ts'
import { Shadow, type ShadowReport } from './shadow.ts'
import type { Sides } from './sides.ts'

export interface AttendOptions {
  readonly domain: string
  /** Where the domain may be; two at least. */
  readonly candidates: readonly Backend[]
  /** The hooks of the domain's route, which are set and unset here. */
  readonly hooks: RouteHooks
  readonly clock: Clock
  /** Milliseconds between two looks. */
  readonly everyMs: number
  /** Names this process in notes. */
  readonly process: string
}

/** What attending to one domain has come to. */
export interface Attendance {
  /** Whether the domain was in a move when it was looked at last. */
  readonly isMoving: boolean
  readonly shadow: ShadowReport | undefined
  readonly await: AwaitReport | undefined
  /** What the last look failed with; undefined if it did not. */
  readonly error: unknown
}

/** A move as this process takes part in it. */
interface Attended {
  readonly sides: Sides
  readonly epoch: number
  readonly incarnations: readonly [string, string]
}

/** Milliseconds between two notes of what shadow reads and waits have come to. */
const noteEveryMs = 5_000

export class Attendant {
  readonly #options: AttendOptions
  readonly #round: Round
  readonly #waits: CallerWaits
  #attended: Attended | undefined
  #authority: Backend | undefined
  #shadow: Shadow | undefined
  #awaiting: Awaiting | undefined
  #noted = { at: Number.NEGATIVE_INFINITY, text: '' }
  #error: unknown

  constructor(options: AttendOptions) {
    const { clock, everyMs, process, hooks } = options
    this.#options = options
    const tell = (error: unknown) => {
      this.#error = error
    }
    this.#round = new Round({ clock, everyMs, work: () => this.#look(), tell })
    this.#waits = new CallerWaits({ clock, process, write: (id, note) => this.#note(id, note) })
    hooks.onWaited = (ms, epoch) => this.#waits.add(ms, epoch)
  }

  /** Looks, and goes on to. Never rejects. */
  begin(): Promise<void> {
    return this.#round.now()
  }

  get state(): Attendance {
    return {
      isMoving: this.#attended !== undefined,
      shadow: this.#shadow?.report,
      await: this.#awaiting?.report,
      error: this.#error,
    }
  }

  /** Whether {@link end} has something to note first. */
  get hasUntold(): boolean {
    return this.#waits.hasUntold || (this.#attended !== undefined && this.#text() !== this.#noted.text)
  }

  /** Ends all of it; what was not noted yet is, if that can be done. Never rejects. */
  async end(): Promise<void> {
    await this.#round.end()
    const isDue = this.hasUntold
    await Promise.allSettled([this.#waits.end(), isDue ? this.#tell() : undefined])
    await this.#leave()
    this.#options.hooks.onWaited = undefined
  }

  async #look(): Promise<void> {
    const found = await this.#find()
    if (found === 'unclear') return
    if (found === undefined) return this.#leave()
    const [a, b] = found.incarnations
    const isAnother =
      this.#attended !== undefined &&
      !(this.#attended.incarnations.includes(a) && this.#attended.incarnations.includes(b))
    if (isAnother) await this.#leave()
    this.#attended = found
    const record = await readRecord(found.sides)
    if (record === undefined || !record.incarnations.includes(a) || !record.incarnations.includes(b)) return
    this.#shadowBy(record.settings, found)
    await this.#awaitBy(record.settings, found)
    if (this.#options.clock.monotonic() - this.#noted.at >= noteEveryMs) await this.#tell()
  }

  /** The move that the domain is in. `unclear` while a cutover is under way: nothing changes then. */
  async #find(): Promise<Attended | undefined | 'unclear'> {
    const { domain, candidates, clock } = this.#options
    const lead = await this.#lead()
    if (lead === undefined) return 'unclear'
    const { backend: source, fence } = lead
    if (fence.successor === null) return undefined
    for (const target of candidates) {
      if (target === source) continue
      const { incarnation, role } = await target.fence(domain)
      if (incarnation === fence.successor && role === 'follower')
        return {
          ...{ sides: { domain, source, target, clock }, epoch: fence.epoch },
          incarnations: [fence.incarnation, incarnation],
        }
    }
    return 'unclear'
  }

  /** Who holds authority: mostly the one who held it last, so one read mostly tells. */
  async #lead(): Promise<{ backend: Backend; fence: Fence } | undefined> {
    const { domain, candidates } = this.#options
    const first = this.#authority ?? candidates[0]
    for (const backend of [first, ...candidates.filter((other) => other !== first)]) {
      if (backend === undefined) continue
      const fence = await backend.fence(domain)
      if (fence.role !== 'authority') continue
      this.#authority = backend
      return { backend, fence }
    }
    return undefined
  }

  #shadowBy({ shadow: sample }: MoveSettings, { sides, epoch }: Attended): void {
    const { hooks } = this.#options
    if (sample > 0) {
      if (this.#shadow === undefined) this.#shadow = new Shadow({ sides, epoch, sample })
      else this.#shadow.turn({ sides, epoch, sample })
    }
    // What was found is kept, and told, until the move is over or sampling begins anew.
    hooks.onRead = sample > 0 ? this.#shadow?.onRead : undefined
  }

  async #awaitBy({ mirror }: MoveSettings, { sides }: Attended): Promise<void> {
    const { hooks } = this.#options
    const awaiting = this.#awaiting
    if (mirror === 'await') this.#awaiting ??= new Awaiting(sides)
    else this.#awaiting = undefined
    hooks.onCommitted = this.#awaiting?.onCommitted
    if (this.#awaiting === undefined) await awaiting?.end()
  }

  async #leave(): Promise<void> {
    const { hooks } = this.#options
    hooks.onRead = undefined
    hooks.onCommitted = undefined
    const awaiting = this.#awaiting
    this.#shadow?.end()
    this.#shadow = undefined
    this.#awaiting = undefined
    this.#attended = undefined
    this.#noted = { at: Number.NEGATIVE_INFINITY, text: '' }
    await awaiting?.end()
  }

  /** Notes what shadow reads and waits have come to, if that has changed. */
  async #tell(): Promise<void> {
    const text = this.#text()
    const { shadow, waits } = this.#toTell()
    // That nobody waits counts only while it is said.
    if (text === this.#noted.text && !waits?.isDegraded) return
    const { process, clock } = this.#options
    const about = { process, at: clock.now(), incarnations: this.#attended?.incarnations }
    if (shadow !== undefined) await this.#note(`shadow-${process}`, { ...about, ...shadow })
    if (waits !== undefined) await this.#note(`await-${process}`, { ...about, ...waits })
    this.#noted = { at: clock.monotonic(), text }
  }

  #text(): string {
    const { shadow, waits } = this.#toTell()
    return shadow === undefined && waits === undefined ? '' : JSON.stringify([shadow, waits])
  }

  /** Of shadow reads there is nothing to tell before the first. */
  #toTell(): { readonly shadow: ShadowReport | undefined; readonly waits: AwaitReport | undefined } {
    const shadow = this.#shadow?.hasFound ? this.#shadow.report : undefined
    return { shadow, waits: this.#awaiting?.report }
  }

  /** Where the domain is in no move, nobody would read it. `fenced` while nobody holds authority. */
  async #note(id: string, value: unknown): Promise<void> {
    const { domain, clock } = this.#options
    const lead = await this.#lead()
    if (lead === undefined)
      throw new UnderpinError('fenced', `Nobody holds authority over domain ${domain} to note ${id} there`)
    if (lead.fence.successor === null) return
    await writeEntries({ domain, clock, source: lead.backend }, [{ id, value }])
  }
}
