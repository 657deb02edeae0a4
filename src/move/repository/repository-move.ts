/**
 * The move of a repository, as an operator drives it, from any process that routes the same repository. Nothing of it
 * lives in this object: where it stands is in the control domain.
 */
import { sleep } from '../../clock.ts'
import type { Attendant } from './attendant.ts'
import { type BackfillOptions, type BackfillProgress, backfill, type Keys } from './backfill.ts'
import {
  type Control,
  gate,
  type RepositoryPhase,
  type Side,
  type State,
  type VerifyNote,
} from './control.ts'
import { drain } from './drain.ts'
import { flip, type RepositoryCutover } from './flip.ts'
import { type Claim, type GapNote, isLeft, marksOf, notesOf, type RepositoryGap } from './gap.ts'
import { type ShadowCounts, shadowsOf } from './shadow.ts'
import { nextState, phaseOf, type Steps } from './step.ts'
import type { Upkeep } from './upkeep.ts'
import { type Load, type RepositoryComparison, type VerifyOptions, verify } from './verify.ts'

export interface RepositoryStatus {
  readonly phase: RepositoryPhase
  /** Raised at every change of the phase. */
  readonly epoch: number
  /** Who serves reads, and takes writes first. */
  readonly lead: Side
  /** No process works under an earlier epoch any more. */
  readonly isSettled: boolean
  readonly isBackfilled: boolean
  readonly verified: VerifyNote | null
  /** Keys whose copy waits, or was left; those that a process is at are not counted. */
  readonly gaps: number
  /** Those of them whose copy failed. */
  readonly failing: number
  /** Reads compared under this epoch, by all processes, as stored up to a second ago. */
  readonly shadow: ShadowCounts
  /** Why this process could not do its part of the upkeep; undefined while it can. */
  readonly trouble: string | undefined
  /** What is in the way of a cutover, with what clears it; empty if nothing is. */
  readonly blocks: readonly string[]
}

/** Who asks for a step. */
export interface StepOptions {
  /** A name for the record. */
  readonly by?: string
  /** Ends the waiting for other processes, with `aborted`; a step that was taken stands. */
  readonly signal?: AbortSignal
}

export interface FlipOptions extends StepOptions {
  /** Milliseconds that writes may wait; then the same side leads on, and the call fails with `gate`. 2,000 if left out. */
  readonly maxPauseMs?: number
  /** Cut over though both sides were not compared, or differed. */
  readonly force?: boolean
}

/** What the move needs of the repository. */
export interface MoveParts<R> {
  readonly keys: Keys<R>
  readonly load: Load<R>
  readonly isSame: (a: unknown, b: unknown) => boolean
}

const defaultMaxPauseMs = 2_000
/** Milliseconds for which a comparison counts. */
const verifiedForMs = 3_600_000
/** How often it is tried to bring over what is noted, and milliseconds between two tries. */
const roundsMax = 10
const againMs = 50

export class RepositoryMove<R> {
  readonly #steps: Steps<R>
  readonly #attendant: Attendant
  readonly #upkeep: Upkeep<R>
  readonly #parts: MoveParts<R>

  /** Made by `route`. */
  constructor(steps: Steps<R>, attendant: Attendant, upkeep: Upkeep<R>, parts: MoveParts<R>) {
    this.#steps = steps
    this.#attendant = attendant
    this.#upkeep = upkeep
    this.#parts = parts
  }

  /** Where the move stands. Changes nothing. */
  async status(): Promise<RepositoryStatus> {
    const { state } = await this.#control.look()
    const gaps = (await this.gaps()).filter((gap) => gap.state !== 'writing')
    const failing = gaps.filter(({ tries }) => tries > 0).length
    const shadow = await shadowsOf(this.#control, state.epoch)
    const { phase, epoch, lead, isSettled, isBackfilled, verified } = state
    return {
      ...{ phase, epoch, lead, isSettled, isBackfilled, verified, gaps: gaps.length, failing, shadow },
      trouble: this.#upkeep.trouble,
      blocks: blocksOf(state, failing, shadow, this.#control.clock.now()).map(({ text }) => text),
    }
  }

  /** Begins to copy what is written: from now on every write is noted first. Waits until no process writes without doing so. */
  async start({ by, signal }: StepOptions = {}): Promise<void> {
    await this.#settle(signal)
    await this.#take(['legacy'], 'dual', by, (epoch) => ({
      begun: epoch,
      isBackfilled: false,
      verified: null,
    }))
    await this.#settle(signal)
  }

  /** Copies what was there before, from where it was left off, by any process. Fails with `aborted` when the signal aborts. */
  async backfill(options: BackfillOptions = {}): Promise<BackfillProgress> {
    const { state } = await this.#settle(options.signal)
    if (state.phase !== 'dual') throw this.#refusal(state, 'Start the move first.')
    const progress = await backfill(
      this.#control,
      this.#attendant,
      this.#steps.sides,
      this.#parts,
      state,
      options,
    )
    await this.#note(state, { isBackfilled: true })
    return progress
  }

  /** Compares both sides key by key, and notes how it ended. */
  async verify(options: VerifyOptions = {}): Promise<RepositoryComparison> {
    const { state } = await this.#control.look()
    if (state.phase !== 'dual' && state.phase !== 'reverse')
      throw this.#refusal(state, 'There is a copy to compare from start to complete.')
    const comparison = await verify(this.#control, this.#steps.sides, this.#parts, state, options)
    const { compared, divergences } = comparison
    await this.#note(state, {
      verified: { at: this.#control.clock.now(), compared, divergences: divergences.length },
    })
    return comparison
  }

  /** What is missing on the following side, or may be. */
  async gaps(): Promise<readonly RepositoryGap[]> {
    const { state } = await this.#control.look()
    return (await notesOf(this.#control)).flatMap(({ claim, gaps }) =>
      [...(claim === undefined ? [] : [claim]), ...gaps].map(({ id, value }) => toGap(id, value, state)),
    )
  }

  /**
   * Brings over what is noted, now: what failed before is tried again, and what was left by processes that died is settled
   * by raising the epoch, for which calls wait a moment. How many are left.
   */
  async retry({ by, signal }: StepOptions = {}): Promise<number> {
    if ((await this.#drain()) === 0) return 0
    await this.#take(['dual', 'reverse'], 'same', by)
    await this.#settle(signal)
    return this.#drain()
  }

  /** Takes a gap off the list, because you have mended it by hand. False if it is not there, or somebody is at it. */
  async resolve(id: string): Promise<boolean> {
    const found = await this.#control.find<GapNote>(id)
    if (found?.value.state !== 'open') return false
    const control = this.#control
    return (await control.commit([control.delete(id)], [control.expect(id, found.revision)])).isDone
  }

  /**
   * Lets the new side lead: writes wait, whoever writes is waited for, what is noted is brought over. Fails with `gate` if
   * something is in the way, or if it cannot be done in time; then the old side leads on, and nothing is lost.
   */
  cutover(options: FlipOptions = {}): Promise<RepositoryCutover> {
    return this.#flip('legacy', options)
  }

  /** The same in the other direction, as often as wanted, until {@link complete}. */
  rollback(options: Omit<FlipOptions, 'force'> = {}): Promise<RepositoryCutover> {
    // Whoever wants the old side back wants it also if the new one differs.
    return this.#flip('next', { ...options, force: true })
  }

  /** Ends the move behind its cutover: nothing is copied back any more. */
  complete(options: StepOptions = {}): Promise<void> {
    return this.#end('reverse', 'next', options)
  }

  /** Ends the move before its cutover, or behind a rollback: nothing is copied any more. */
  cancel(options: StepOptions = {}): Promise<void> {
    return this.#end('dual', 'legacy', options)
  }

  async #flip(from: Side, { by, maxPauseMs = defaultMaxPauseMs, force = false, signal }: FlipOptions) {
    const { state } = await this.#settle(signal)
    if (state.phase !== phaseOf(from)) throw this.#refusal(state, 'Look at the status.')
    // Before the pause, so that little is left for it.
    await this.#drain()
    const { failing, shadow } = await this.status()
    const blocks = blocksOf(state, failing, shadow, this.#control.clock.now())
    const block = blocks.find(({ isForceable }) => !(isForceable && force))
    if (block !== undefined)
      throw gate(this.#control.name, block.text, block.clears, { blocks: blocks.map(({ text }) => text) })
    return flip(this.#steps, from, { by: by ?? null, maxPauseMs })
  }

  async #end(from: 'dual' | 'reverse', to: 'legacy' | 'next', { by, signal }: StepOptions): Promise<void> {
    await this.#settle(signal)
    await this.#take([from], to, by, () => ({ isBackfilled: false, verified: null }))
    await this.#settle(signal)
    const control = this.#control
    for (const kind of ['claim', 'gap', 'shadow'] as const)
      for (const { id } of await control.list(control.id(kind, '')))
        await control.insist([control.delete(id)])
  }

  #settle(signal: AbortSignal | undefined) {
    return this.#steps.settle([signal, this.#attendant.signal])
  }

  async #take(
    from: readonly RepositoryPhase[],
    to: RepositoryPhase | 'same',
    by: string | undefined,
    change: (epoch: number) => Parameters<typeof nextState>[2] = () => ({}),
  ): Promise<void> {
    await this.#steps.take((found) => {
      if (!from.includes(found.state.phase)) throw this.#refusal(found.state, 'Look at the status.')
      const phase = to === 'same' ? found.state.phase : to
      return nextState(found, phase, { by: by ?? null, ...change(found.state.epoch + 1) })
    })
  }

  /** Tries to bring over what is noted now, not what is noted meanwhile: how much is left, or failed. */
  async #drain(): Promise<number> {
    const { sides, control } = this.#steps
    let left = marksOf(await notesOf(control))
    for (let round = 0; left.size > 0 && round < roundsMax; round++) {
      if (round > 0) await sleep(control.clock, againMs)
      const permit = await this.#attendant.enter()
      try {
        const state = { ...permit.state, isSettled: (await control.look()).state.isSettled }
        await drain(control, sides.copy, permit.as(state), { isForced: round === 0 })
      } finally {
        permit.leave()
      }
      const now = marksOf(await notesOf(control))
      left = new Set([...left].filter((mark) => now.has(mark)))
    }
    const failing = (await this.gaps()).filter(({ tries }) => tries > 0).length
    return Math.max(left.size, failing)
  }

  /** Changes what is noted of a state, unless another phase began meanwhile. */
  async #note(state: State, change: Partial<Pick<State, 'isBackfilled' | 'verified'>>): Promise<void> {
    for (;;) {
      const found = await this.#control.look()
      if (found.state.begun !== state.begun || found.state.lead !== state.lead)
        throw this.#refusal(found.state, 'The phase changed meanwhile. Look at the status, and do it again.')
      if (await this.#control.change(found, { ...found.state, ...change })) return
    }
  }

  #refusal({ phase }: State, hint: string) {
    return gate(this.#control.name, `it is in the phase ${phase}`, hint)
  }

  get #control(): Control {
    return this.#steps.control
  }
}

interface Block {
  readonly text: string
  readonly clears: string
  readonly isForceable: boolean
}

/** What is in the way of letting the other side lead. */
function blocksOf(state: State, failing: number, shadow: ShadowCounts, now: number): Block[] {
  const { verified } = state
  const isFresh = verified !== null && now - verified.at <= verifiedForMs
  const blocks: (Block | false)[] = [
    state.phase !== 'dual' &&
      state.phase !== 'reverse' && {
        ...{ text: `it is in the phase ${state.phase}`, clears: 'Start the move.', isForceable: false },
      },
    !state.isBackfilled && {
      ...{ text: 'the copy was not filled', clears: 'Run the backfill to its end.', isForceable: false },
    },
    failing > 0 && {
      ...{
        text: `${failing} gap(s) cannot be closed`,
        clears: 'See why: gaps(). Then retry or resolve them.',
      },
      isForceable: false,
    },
    !isFresh && {
      ...{ text: 'both sides were not compared in the last hour', clears: 'Verify.', isForceable: true },
    },
    (verified?.divergences ?? 0) > 0 && {
      ...{ text: `${verified?.divergences} key(s) differ`, clears: 'Find out why; then verify again.' },
      isForceable: true,
    },
    shadow.divergence > 0 && {
      ...{ text: `${shadow.divergence} compared read(s) differ`, clears: 'See the examples of the status.' },
      isForceable: true,
    },
  ]
  return blocks.filter((block) => block !== false)
}

function toGap(id: string, note: Claim | GapNote, state: State): RepositoryGap {
  const { key, at: since } = note
  const { tries, error } = 'tries' in note ? note : { tries: 0, error: null }
  const isOpen = 'state' in note && note.state === 'open'
  const what = isOpen ? 'open' : isLeft(note, state) ? 'left' : 'writing'
  return { id, key, state: what, since, tries, error }
}
