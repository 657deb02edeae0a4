/**
 * Commits in the order in which they were called, also through a cutover. While authority is known they are sent as they
 * come, and the backend keeps their order. When one is refused as `fenced`, those called behind it are held until all
 * that were sent have come back, put in order again, and sent together to who has authority then.
 */
import type { CallOptions } from './backend/backend.ts'
import type { Clock } from './clock.ts'
import { isUnderpinError, UnderpinError } from './error.ts'
import type { Commit, Outcome } from './model/commit.ts'
import type { Authority } from './search.ts'

export interface CommitLineOptions {
  readonly domain: string
  readonly clock: Clock
  readonly deadlineMs: number
  /** Who has authority, as far as it is known. */
  readonly known: () => Authority | undefined
  /** Told of a refusal. */
  readonly lost: (authority: Authority) => void
  /** Told of what else a commit failed with. */
  readonly failed: (authority: Authority, error: unknown) => void
  /** Looks for who has it until the signal aborts. */
  readonly find: (signal: AbortSignal, refused: Authority | undefined) => Promise<Authority>
  /** What a commit fails with that waited for its deadline. */
  readonly nobody: () => UnderpinError
  /** Told how long a call took that was held or refused, when it was served. */
  readonly waited: (ms: number, epoch: number) => void
}

/** A call of commit. */
interface Call {
  /** Its place in the order. */
  readonly number: number
  readonly commit: Commit
  readonly options: CallOptions | undefined
  /** When it began, by the clock's monotonic time. */
  readonly since: number
}

interface Held extends Call {
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (error: unknown) => void
  /** Ends the watch for its deadline and its signal. */
  stop: () => void
}

export class CommitLine {
  readonly #options: CommitLineOptions
  #calls = 0
  /** Commits that were sent and are not answered, all of them to one authority. */
  #underWay = 0
  #sentTo: Authority | undefined
  /** In order. While there are any, nothing is sent past them. */
  #held: Held[] = []
  #isReleasing = false
  #releasing: Promise<void> = Promise.resolve()
  #refused: Authority | undefined
  /** Resolves when nothing is under way. */
  #quiet: (() => void) | undefined
  #seeking = new AbortController()

  constructor(options: CommitLineOptions) {
    this.#options = options
  }

  async commit(commit: Commit, options: CallOptions | undefined): Promise<Outcome> {
    const { domain, clock, known, failed } = this.#options
    const call = { number: this.#calls++, commit, options, since: clock.monotonic() }
    const authority = known()
    if (authority === undefined || !this.#mayPass(authority)) return this.#hold(call)
    this.#sentTo = authority
    this.#underWay++
    try {
      return outcomeOf(await authority.backend.commit(domain, authority.epoch, [commit], options))
    } catch (error) {
      if (!isUnderpinError(error, 'fenced')) {
        failed(authority, error)
        throw error
      }
      this.#lose(authority)
      // Held before the line is told that this one came back, so that nothing called later is sent before it.
      return this.#hold(call)
    } finally {
      this.#back()
    }
  }

  /** Nobody waits, and what is under way is under way to the same authority: it comes first there. */
  #mayPass(authority: Authority): boolean {
    if (this.#held.length > 0) return false
    return this.#underWay === 0 || isSame(authority, this.#sentTo)
  }

  #lose(authority: Authority): void {
    this.#refused = authority
    this.#options.lost(authority)
  }

  #back(): void {
    if (--this.#underWay === 0) this.#quiet?.()
  }

  #hold(call: Call): Promise<Outcome> {
    return new Promise((resolve, reject) => this.#take({ ...call, resolve, reject, stop: () => {} }))
  }

  /** Puts a commit into its place, where it waits until its deadline. */
  #take(held: Held): void {
    let at = this.#held.length
    while (at > 0 && (this.#held[at - 1] as Held).number > held.number) at--
    this.#held.splice(at, 0, held)
    this.#watch(held)
    if (!this.#isReleasing) this.#releasing = this.#release()
  }

  /** Resolves when nothing is held. */
  settled(): Promise<void> {
    return this.#releasing
  }

  #watch(held: Held): void {
    const { clock, deadlineMs, nobody } = this.#options
    const signal = held.options?.signal
    const giveUp = (error: UnderpinError) => {
      held.stop()
      this.#held.splice(this.#held.indexOf(held), 1)
      if (this.#held.length === 0) this.#seeking.abort()
      held.reject(error)
    }
    const onAbort = () =>
      giveUp(
        new UnderpinError('aborted', 'The call was aborted; nothing was written', { cause: signal?.reason }),
      )
    const leftMs = Math.max(0, deadlineMs - (clock.monotonic() - held.since))
    const cancel = clock.timer(leftMs, () => giveUp(nobody()))
    held.stop = () => {
      cancel()
      signal?.removeEventListener('abort', onAbort)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
  }

  /** Sends what is held as soon as it may go, until nothing is held. */
  async #release(): Promise<void> {
    this.#isReleasing = true
    while (this.#held.length > 0) {
      await this.#allBack()
      // Who waited may have given up meanwhile.
      if (this.#held.length === 0) break
      const authority = await this.#authority()
      // Between here and the last one sent nothing else runs: who calls next finds them under way.
      if (authority !== undefined) for (const held of this.#held.splice(0)) void this.#send(held, authority)
    }
    this.#isReleasing = false
  }

  /** What was sent before may be refused, and then goes first. */
  async #allBack(): Promise<void> {
    while (this.#underWay > 0) await new Promise<void>((resolve) => (this.#quiet = resolve))
    this.#quiet = undefined
  }

  /** Undefined if nobody waits any more, or nobody can be found: then all that wait have failed. */
  async #authority(): Promise<Authority | undefined> {
    const { known, find } = this.#options
    this.#seeking = new AbortController()
    const { signal } = this.#seeking
    try {
      return known() ?? (await find(signal, this.#refused))
    } catch (error) {
      for (const held of signal.aborted ? [] : this.#held.splice(0)) {
        held.stop()
        held.reject(error)
      }
      return undefined
    }
  }

  /** Sent before this returns. */
  async #send(held: Held, authority: Authority): Promise<void> {
    const { domain, clock, waited, failed } = this.#options
    const { commit, since } = held
    held.stop()
    this.#sentTo = authority
    this.#underWay++
    try {
      const options = { ...held.options, since }
      held.resolve(outcomeOf(await authority.backend.commit(domain, authority.epoch, [commit], options)))
      waited(clock.monotonic() - since, authority.epoch)
    } catch (error) {
      if (isUnderpinError(error, 'fenced')) {
        this.#lose(authority)
        this.#take(held)
      } else {
        failed(authority, error)
        held.reject(error)
      }
    } finally {
      this.#back()
    }
  }
}

/** The outcome of a commit that was sent with others, of which the last may have met another fence than the first. */
function outcomeOf([outcome]: readonly Outcome[]): Outcome {
  if (outcome?.kind === 'refused' && isUnderpinError(outcome.error, 'fenced')) throw outcome.error
  return outcome as Outcome
}

function isSame(a: Authority, b: Authority | undefined): boolean {
  return a.backend === b?.backend && a.epoch === b.epoch
}
