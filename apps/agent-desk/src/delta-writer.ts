/** Writes the deltas of a message: one commit at a time, and what comes meanwhile together in the next. */
import { isUnderpinError } from 'underpin'
import type { Desk } from './desk.ts'

const textsAtOnce = 1_000

export class DeltaWriter {
  readonly #desk: Desk
  readonly #messageId: string
  readonly #runner: string
  #index: number
  readonly #pending: string[] = []
  #writing: Promise<void> | undefined
  #failure: { readonly cause: unknown } | undefined

  constructor(desk: Desk, messageId: string, runner: string) {
    this.#desk = desk
    this.#messageId = messageId
    this.#runner = runner
    this.#index = desk.state.messages.get(messageId)?.deltas ?? 0
  }

  /** Takes a delta, and throws what the writing of one before it failed with. */
  push(text: string): void {
    this.#throwFailure()
    this.#pending.push(text)
    this.#writing ??= this.#write()
  }

  /** Resolves when all is stored. */
  async end(): Promise<void> {
    await this.#writing
    this.#throwFailure()
  }

  async #write(): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        const texts = this.#pending.splice(0, textsAtOnce)
        await this.#append(texts)
        this.#index += texts.length
      }
    } catch (cause) {
      // Thrown to whoever pushes next or ends: nobody awaits this promise at the moment.
      this.#failure = { cause }
    }
    this.#writing = undefined
  }

  async #append(texts: readonly string[]): Promise<void> {
    const command = {
      type: 'message.append',
      messageId: this.#messageId,
      index: this.#index,
      texts,
      runner: this.#runner,
    }
    try {
      await this.#desk.dispatch(command)
    } catch (error) {
      // Stored or not, nobody can tell: the same again, and what is stored already is passed over.
      if (!isUnderpinError(error, 'unknown')) throw error
      await this.#desk.dispatch(command)
    }
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.cause
  }
}
