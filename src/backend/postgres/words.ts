/** Short columns that the server put into one text, taken one after the other: `split` would cost more than the columns. */
export class Words {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** Up to the next space, or to the end. */
  next(): string {
    const end = this.#text.indexOf(' ', this.#at)
    const word = end < 0 ? this.rest : this.#text.slice(this.#at, end)
    this.#at = end < 0 ? this.#text.length : end + 1
    return word
  }

  skip(count: number): this {
    for (let left = count; left > 0; left--) this.next()
    return this
  }

  /** All that was not taken yet, with its spaces. */
  get rest(): string {
    return this.#text.slice(this.#at)
  }
}
