/** States that were read or written last, with their revisions: bounded by entries and by characters. */
import type { JsonText } from '../../model/value.ts'

export interface CachedState {
  /** Undefined for a document that is not there. */
  readonly text: JsonText | undefined
  /** 0 for a document that is not there. */
  readonly revision: number
}

const mostEntries = 20_000
const mostCharacters = 32_000_000

export class StateCache {
  readonly #entries = new Map<string, CachedState>()
  #characters = 0

  get(key: string): CachedState | undefined {
    return this.#entries.get(key)
  }

  set(key: string, state: CachedState): void {
    this.delete(key)
    this.#entries.set(key, state)
    this.#characters += key.length + (state.text?.length ?? 0)
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= mostEntries && this.#characters <= mostCharacters) return
      this.delete(oldest)
    }
  }

  delete(key: string): void {
    const found = this.#entries.get(key)
    if (found === undefined) return
    this.#entries.delete(key)
    this.#characters -= key.length + (found.text?.length ?? 0)
  }

  clear(): void {
    this.#entries.clear()
    this.#characters = 0
  }
}
