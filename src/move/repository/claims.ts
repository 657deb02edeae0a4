/**
 * The claims that a process holds under one permit. A write claims its key before it begins; the copy is made behind it,
 * when no write of the key is under way; writes that come meanwhile join the claim, and have it copied again. Whoever
 * finds the key claimed by another process notes a gap instead, and leaves the copying to others.
 */
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Position } from '../../model/position.ts'
import type { Control } from './control.ts'
import { type Claim, type GapNote, messageOf, newGapId, openGap } from './gap.ts'
import type { Permit } from './permit.ts'

/** Brings one key over; fails if it cannot be done now. */
export type Copy = (key: string, permit: Permit) => Promise<void>

/** What a write holds for one of its keys. */
export interface Intent {
  /** The write has ended, well or not: what it left is to be brought over. */
  done(): void
}

/** Claims held at once: what is written faster than it can be copied waits. */
const heldMax = 10_000

interface Held {
  readonly key: string
  /** The claim's revision; undefined if somebody else had claimed the key. */
  readonly taking: Promise<Position | undefined>
  writers: number
  isWritten: boolean
  isCopying: boolean
  /** Settles when it is given up; then the key can be claimed again. */
  ended: Promise<void> | undefined
}

export class Claims {
  readonly #control: Control
  readonly #permit: Permit
  readonly #copy: Copy
  readonly #onGap: () => void
  readonly #held = new Map<string, Held>()

  /** `onGap` is called when a gap waits for its copy. */
  constructor(control: Control, permit: Permit, copy: Copy, onGap: () => void) {
    this.#control = control
    this.#permit = permit
    this.#copy = copy
    this.#onGap = onGap
  }

  /** The same for several keys: all, or none. */
  async takeAll(keys: readonly string[]): Promise<readonly Intent[]> {
    const intents: Intent[] = []
    try {
      for (const key of keys) intents.push(await this.take(key))
    } catch (error) {
      for (const intent of intents) intent.done()
      throw error
    }
    return intents
  }

  /** Notes, before anything is written, that a key is to be brought over. */
  async take(key: string): Promise<Intent> {
    for (;;) {
      const held = this.#held.get(key) ?? this.#begin(key)
      if (held.ended !== undefined) {
        await held.ended
        continue
      }
      held.writers++
      if (await this.#isOurs(held)) return { done: () => this.#written(held) }
      return this.#overlap(key)
    }
  }

  async #isOurs(held: Held): Promise<boolean> {
    let isOurs = false
    try {
      isOurs = (await held.taking) !== undefined
    } finally {
      if (!isOurs) this.#forget(held)
    }
    return isOurs
  }

  #begin(key: string): Held {
    if (this.#held.size >= heldMax)
      throw new UnderpinError(
        'unavailable',
        `${heldMax} keys wait to be copied: the other side is too slow`,
        {
          hint: 'Nothing was written. Make the same call again.',
        },
      )
    const taking = this.#put(key)
    const held: Held = { key, taking, writers: 0, isWritten: false, isCopying: false, ended: undefined }
    this.#held.set(key, held)
    return held
  }

  #forget(held: Held): void {
    held.writers--
    if (this.#held.get(held.key) === held) this.#held.delete(held.key)
  }

  /** The claim's revision, or undefined if the key has one. */
  async #put(key: string): Promise<Position | undefined> {
    const control = this.#control
    const id = control.id('claim', key)
    const claim: Claim = {
      ...{ key, permit: this.#permit.id, epoch: this.#permit.state.epoch },
      ...{ at: control.clock.now(), nonce: control.clock.id() },
    }
    try {
      const done = await control.commit([control.put(id, claim)], [control.expect(id, 'absent')])
      return done.isDone ? done.positions[0] : undefined
    } catch (error) {
      if (!isUnderpinError(error, 'unknown')) throw error
      const found = await control.find<Claim>(id)
      return found?.value.nonce === claim.nonce ? found.revision : undefined
    }
  }

  async #overlap(key: string): Promise<Intent> {
    const control = this.#control
    const { id: permit, state } = this.#permit
    const note = { key, permit, epoch: state.epoch }
    const id = newGapId(control)
    const gap: GapNote = { ...note, state: 'writing', at: control.clock.now(), tries: 0, error: null }
    await control.commit([control.put(id, gap)])
    const open = async () => {
      await control.insist([openGap(control, note, { id })])
      this.#onGap()
    }
    return { done: () => this.#use(open()) }
  }

  #written(held: Held): void {
    held.writers--
    held.isWritten = true
    if (held.writers > 0 || held.isCopying) return
    held.isCopying = true
    this.#use(this.#settle(held))
  }

  /** Copies until nothing was written since, then gives the claim up; what cannot be copied becomes a gap. */
  async #settle(held: Held): Promise<void> {
    let failure: unknown
    // Under a permit that is over nothing may be written any more.
    while (held.isWritten && held.writers === 0 && failure === undefined && this.#permit.isLive) {
      held.isWritten = false
      try {
        await this.#copy(held.key, this.#permit)
      } catch (error) {
        failure = error
      }
    }
    // Whoever writes now begins anew when they have ended.
    held.isCopying = false
    if (held.writers > 0) return
    held.ended = this.#end(held, failure).finally(() => this.#held.delete(held.key))
    await held.ended
  }

  async #end({ key, taking, isWritten }: Held, failure: unknown): Promise<void> {
    const control = this.#control
    const { id: permit, state } = this.#permit
    const note = { key, permit, epoch: state.epoch }
    const id = control.id('claim', key)
    const error = failure === undefined ? null : messageOf(failure)
    const isCopied = failure === undefined && !isWritten
    const gap = isCopied ? [] : [openGap(control, note, { tries: failure === undefined ? 0 : 1, error })]
    const release = [control.expect(id, (await taking) ?? 'absent')]
    const { isDone } = await control.insist([...gap, control.delete(id)], release)
    // Taken for dead, and the key by somebody else: whatever was written since is to be copied once more.
    if (!isDone || !this.#permit.isLive) await control.insist([openGap(control, note)])
  }

  /** Keeps the permit until the work has ended. What fails leaves its note, which is found when the epoch is raised. */
  #use(work: Promise<unknown>): void {
    this.#permit.enter()
    void Promise.allSettled([work]).then(() => this.#permit.leave())
  }
}
