/**
 * What the processes that share a repository agree on: documents of the collection `$repositories` in the control domain.
 * The state says who leads and under which epoch; a change of it is one compare-and-set, so of two that want one, one wins.
 */
import type { CallOptions } from '../../backend/backend.ts'
import { sleep } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { OwnCollections, Port } from '../../facet/port.ts'
import type { Write } from '../../model/change.ts'
import type { Check, DocumentExpectation, FailedCheck } from '../../model/check.ts'
import { repositoriesCollection as collection, plainCollection } from '../../model/collection.ts'
import type { Document } from '../../model/document.ts'
import type { Cursor, Page } from '../../model/page.ts'
import type { Position } from '../../model/position.ts'
import { decodeValue, encodeValue } from '../../model/value.ts'

export type Side = 'legacy' | 'next'

/**
 * - `legacy`: only the old repository is used;
 * - `dual`: the old one leads, what is written to it is copied to the new one;
 * - `sealed`: writes wait, so that the copy can be completed;
 * - `reverse`: the new one leads, what is written to it is copied to the old one;
 * - `next`: only the new one is used.
 */
export type RepositoryPhase = 'legacy' | 'dual' | 'sealed' | 'reverse' | 'next'

/** How a comparison of all keys ended. */
export interface VerifyNote {
  readonly at: number
  readonly compared: number
  readonly divergences: number
}

export interface State {
  readonly phase: RepositoryPhase
  /** Raised at every change of the phase. */
  readonly epoch: number
  /** The epoch at which the copy was begun. */
  readonly begun: number
  /** Which one serves reads and takes writes first; while sealed, which one did. */
  readonly lead: Side
  /** Nobody works under an earlier epoch any more. */
  readonly isSettled: boolean
  /** The copy was filled since it was begun. */
  readonly isBackfilled: boolean
  readonly verified: VerifyNote | null
  /** While sealed: milliseconds after which anybody may give the cutover up. */
  readonly maxPauseMs: number | null
  readonly at: number
  readonly by: string | null
  /** Tells one's own change when nobody answered whether it was made. */
  readonly nonce: string
}

export interface FoundState {
  readonly state: State
  readonly revision: Position
}

/** A record as found. */
export interface Found<T> {
  readonly id: string
  readonly value: T
  readonly revision: Position
}

export const repositoryCollections: OwnCollections = { [collection]: plainCollection }

/** What a commit came to: where its writes are, or which records were not as expected. */
export type Done =
  | { readonly isDone: true; readonly positions: readonly Position[] }
  | { readonly isDone: false; readonly failed: readonly string[] }

const pageItems = 500
/** Milliseconds between two tries of what must not be left undone. */
const retryMs = 20

export class Control {
  readonly name: string
  readonly port: Port

  constructor(name: string, port: Port) {
    this.name = name
    this.port = port
  }

  get clock() {
    return this.port.clock
  }

  id(kind: 'claim' | 'gap' | 'shadow', rest: string): string {
    return `${kind}/${this.name}/${rest}`
  }

  get #stateId(): string {
    return `state/${this.name}`
  }

  /** The state; created by whoever asks first. */
  async look(options?: CallOptions): Promise<FoundState> {
    for (;;) {
      const found = await this.find<State>(this.#stateId, options)
      if (found !== undefined) return { state: found.value, revision: found.revision }
      await this.commit([this.put(this.#stateId, this.#first())], [this.expect(this.#stateId, 'absent')])
    }
  }

  #first(): State {
    return {
      ...{ phase: 'legacy', epoch: 1, begun: 1, lead: 'legacy', isSettled: true, isBackfilled: false },
      ...{ verified: null, maxPauseMs: null, at: this.clock.now(), by: null, nonce: '' },
    }
  }

  /** Changes the state if it still is the one that was found. False means: look again. */
  async change({ revision }: FoundState, next: State): Promise<boolean> {
    const nonce = this.clock.id()
    const write = this.put(this.#stateId, { ...next, at: this.clock.now(), nonce })
    try {
      return (await this.commit([write], [this.expect(this.#stateId, revision)])).isDone
    } catch (error) {
      if (!isUnderpinError(error, 'unknown')) throw error
      return (await this.look()).state.nonce === nonce
    }
  }

  /** What a commit depends on that may only be while this is the state. */
  isState({ revision }: FoundState): Check {
    return this.expect(this.#stateId, revision)
  }

  put(id: string, value: unknown): Write {
    return { kind: 'put', collection, id, data: encodeValue(value), expiresAt: null }
  }

  delete(id: string): Write {
    return { kind: 'delete', collection, id }
  }

  expect(id: string, expect: DocumentExpectation): Check {
    return { kind: 'document', collection, id, expect }
  }

  async commit(
    writes: readonly Write[],
    checks: readonly Check[] = [],
    options?: CallOptions,
  ): Promise<Done> {
    const outcome = await this.port.commit({ at: this.clock.now(), writes, checks }, options)
    if (outcome.kind === 'refused') throw outcome.error
    if (outcome.kind === 'committed') return { isDone: true, positions: outcome.positions }
    return { isDone: false, failed: outcome.failed.map(idOf) }
  }

  /**
   * Commits what must be known whatever happens meanwhile, again and again for as long as a call may take. After an
   * unknown outcome a check may fail because of what was committed itself.
   */
  async insist(writes: readonly Write[], checks: readonly Check[] = []): Promise<Done> {
    const since = this.clock.monotonic()
    for (;;) {
      try {
        return await this.commit(writes, checks)
      } catch (error) {
        const isOver = this.clock.monotonic() - since > this.port.deadlineMs
        if (isOver || !isPassing(error)) throw error
      }
      await sleep(this.clock, retryMs)
    }
  }

  async find<T>(id: string, options?: CallOptions): Promise<Found<T> | undefined> {
    const [found] = (await this.port.get([{ collection, id }], options)).documents
    return found?.kind === 'document' ? toFound<T>(found) : undefined
  }

  /** All records whose ids begin so. */
  async list<T>(prefix: string, options?: CallOptions): Promise<Found<T>[]> {
    const found: Found<T>[] = []
    const query = { collection, by: 'id', prefix, backwards: false, limit: pageItems } as const
    let after: Cursor | null = null
    do {
      const page: Page<Document, Cursor | null> = await this.port.scan({ ...query, after }, options)
      found.push(...page.items.map((document) => toFound<T>(document)))
      after = page.next
    } while (after !== null)
    return found
  }
}

/** Whether the same call can succeed later, and does no harm if it took effect before. */
export function isPassing(error: unknown): boolean {
  return isUnderpinError(error) && (error.retryable || error.code === 'unknown')
}

export function gate(name: string, message: string, hint: string, details: object = {}): UnderpinError {
  return new UnderpinError('gate', `Repository ${name}: ${message}`, {
    hint,
    details: { repository: name, ...details },
  })
}

function toFound<T>({ id, data, position }: Document): Found<T> {
  return { id, value: decodeValue(data) as T, revision: position }
}

function idOf(failed: FailedCheck): string {
  return failed.kind === 'stream' ? failed.stream : failed.id
}
