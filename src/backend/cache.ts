/** What a process knows of stream heads and documents, so that it need not ask again while nobody else writes. */
import type { Held, Stage } from './stage.ts'

/** A map that forgets what was not used for a while: two generations, the older dropped when the younger is full. */
export class Generations<V> {
  readonly #size: number
  readonly #weigh: (value: V) => number
  #young = new Map<string, V>()
  #old = new Map<string, V>()
  #weight = 0

  /** A generation is full when the weights of its values come to `size`; each weighs 1 if not told otherwise. */
  constructor(size: number, weigh: (value: V) => number = () => 1) {
    this.#size = size
    this.#weigh = weigh
  }

  get(key: string): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) this.set(key, old)
    return old
  }

  set(key: string, value: V): void {
    if (this.#weight >= this.#size) {
      this.#old = this.#young
      this.#young = new Map()
      this.#weight = 0
    }
    this.#young.set(key, value)
    this.#weight += this.#weigh(value)
  }

  delete(key: string): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
    this.#weight = 0
  }
}

const generationSize = 50_000

/** Valid at one head of a domain; null for a document that is known not to be there. */
export class HeadCache {
  readonly seqs = new Generations<number>(generationSize)
  readonly documents = new Generations<Held | null>(generationSize)
  #head = -1

  isAt(head: number): boolean {
    return head === this.#head
  }

  /** Forgets everything if the head is another than the one it was filled at: somebody else wrote. */
  moveTo(head: number): void {
    if (head !== this.#head) this.clear()
    this.#head = head
  }

  /** Takes over what this process just wrote. */
  absorb(stage: Stage, head: number): void {
    for (const [stream, seq] of stage.seqs) this.seqs.set(stream, seq)
    for (const [collection, documents] of stage.documents) {
      for (const [id, held] of documents) this.documents.set(`${collection}\0${id}`, held)
    }
    this.#head = head
  }

  /** Forgets what is known at this head. */
  forget(): void {
    this.seqs.clear()
    this.documents.clear()
  }

  clear(): void {
    this.#head = -1
    this.forget()
  }
}
