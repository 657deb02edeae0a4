/** A door in front of a backend, at which commits can be held: they have their epoch, and nothing of them has arrived. */
import type { Backend } from '../../../src/backend/backend.ts'
import { isUnderpinError } from '../../../src/error.ts'
import { Forward } from '../../../src/wrapper/forward.ts'

export class Gate extends Forward {
  /** What became of the commits that were held: `accepted`, or the code of the refusal. */
  readonly outcomes: string[] = []
  #held: Promise<void> | undefined
  #letGo = () => {}
  #arrive = () => {}

  /** Holds what comes from now on; settles when something has come. */
  shut(): Promise<void> {
    this.#held = new Promise((resolve) => (this.#letGo = resolve))
    return new Promise((resolve) => (this.#arrive = resolve))
  }

  /** Lets go on what is held, and what comes. */
  release(): void {
    this.#held = undefined
    this.#letGo()
  }

  override async commit(...call: Parameters<Backend['commit']>) {
    if (this.#held === undefined) return this.inner.commit(...call)
    this.#arrive()
    await this.#held
    try {
      const outcomes = await this.inner.commit(...call)
      this.outcomes.push('accepted')
      return outcomes
    } catch (error) {
      this.outcomes.push(isUnderpinError(error) ? error.code : String(error))
      throw error
    }
  }
}
