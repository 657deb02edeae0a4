/**
 * Presence, for who wants it: each process says in the domain that it is there, and which copies of the domain it can
 * reach, so that an operator sees before a cutover who could not follow. Nothing is decided by it: a process that does
 * not say so is refused by the fence like any other. Clocks decide only what counts as expired.
 */
import { hostname } from 'node:os'
import type { Backend, CallOptions } from '../backend/backend.ts'
import type { Clock } from '../clock.ts'
import { isUnderpinError } from '../error.ts'
import { plainCollection, processesCollection } from '../model/collection.ts'
import type { Commit, Outcome } from '../model/commit.ts'
import { type Document, isExpired } from '../model/document.ts'
import type { Cursor, Page, Query } from '../model/page.ts'
import { decodeValue, encodeValue } from '../model/value.ts'
import { Round } from './round.ts'
import type { Sides } from './sides.ts'

const presenceCollections = { [processesCollection]: plainCollection } as const

export interface PresenceOptions {
  /** What people call this process, `api-3`; its host and pid, if left out. */
  readonly name?: string
  /** Milliseconds between two signs of life; 5,000 if left out. After three times that a silent one counts as gone. */
  readonly everyMs?: number
}

export interface PresentProcess {
  /** Names the store that was opened. */
  readonly process: string
  readonly name: string
  readonly pid: number
  readonly host: string
  /** Milliseconds since 1970 at which the store was opened. */
  readonly since: number
  /** The copies of the domain that it can reach: their incarnations, by its own names for the backends. */
  readonly copies: Readonly<Record<string, string>>
}

/** The domain's route, as far as it is needed here. */
interface Announced {
  readonly domain: string
  readonly clock: Clock
  ensure(collections: typeof presenceCollections): Promise<void>
  commit(commit: Commit, options?: CallOptions): Promise<Outcome>
  scan(query: Query): Promise<Page<Document, Cursor | null>>
}

const defaultEveryMs = 5_000
const isGoneAfter = 3

export class Presence {
  readonly #port: Announced
  readonly #candidates: ReadonlyMap<string, Backend>
  readonly #process: string
  readonly #everyMs: number
  readonly #about: Pick<PresentProcess, 'name' | 'pid' | 'host' | 'since'>
  readonly #round: Round
  #error: unknown

  constructor(
    port: Announced,
    candidates: ReadonlyMap<string, Backend>,
    { id, name, everyMs = defaultEveryMs }: PresenceOptions & { readonly id: string },
  ) {
    const host = hostname()
    const { pid } = process
    this.#port = port
    this.#candidates = candidates
    this.#process = id
    this.#everyMs = everyMs
    this.#about = { name: name ?? `${host}:${pid}`, pid, host, since: port.clock.now() }
    const tell = (error: unknown) => {
      this.#error = error
    }
    this.#round = new Round({ clock: port.clock, everyMs, work: () => this.#announce(), tell })
  }

  /** What the last sign of life failed with; undefined if it did not. */
  get error(): unknown {
    return this.#error
  }

  /** Gives the first sign of life, removes those of processes that died, and goes on. Never rejects. */
  async begin(): Promise<void> {
    await this.#round.now()
    // Who cannot be removed now is by whoever comes next.
    await Promise.allSettled([this.#removeDead()])
  }

  /** Takes leave, if that can be done before the signal aborts. Never rejects. */
  async end(signal: AbortSignal): Promise<void> {
    await this.#round.end()
    const leave = { kind: 'delete', collection: processesCollection, id: this.#process } as const
    // Who cannot take leave expires.
    await Promise.allSettled([this.#commit(leave, { signal })])
  }

  async #announce(): Promise<void> {
    await this.#port.ensure(presenceCollections)
    const { clock } = this.#port
    const value: PresentProcess = {
      process: this.#process,
      ...this.#about,
      copies: await this.#copies(),
    }
    await this.#commit({
      kind: 'put',
      ...{ collection: processesCollection, id: this.#process, data: encodeValue(value) },
      expiresAt: clock.now() + isGoneAfter * this.#everyMs,
    })
  }

  async #removeDead(): Promise<void> {
    const { clock } = this.#port
    const query = { by: 'expiry', until: clock.now(), backwards: false, limit: 100, after: null } as const
    const { items } = await this.#port.scan({ collection: processesCollection, ...query })
    const writes = items.map(({ id }) => ({ kind: 'delete', collection: processesCollection, id }) as const)
    const checks = items.map(
      ({ id, position }) =>
        ({ kind: 'document', collection: processesCollection, id, expect: position }) as const,
    )
    if (writes.length > 0) await this.#port.commit({ at: clock.now(), writes, checks })
  }

  /** A candidate that does not answer is not among them: this process could not follow there. */
  async #copies(): Promise<Record<string, string>> {
    const looks = [...this.#candidates].map(
      async ([name, backend]) => [name, (await backend.fence(this.#port.domain)).incarnation] as const,
    )
    const found = await Promise.allSettled(looks)
    const copies = found.flatMap((look) => (look.status === 'fulfilled' ? [look.value] : []))
    return Object.fromEntries(copies.filter(([, incarnation]) => incarnation !== ''))
  }

  async #commit(write: Commit['writes'][number], options?: CallOptions): Promise<void> {
    const outcome = await this.#port.commit(
      { at: this.#port.clock.now(), writes: [write], checks: [] },
      options,
    )
    if (outcome.kind === 'refused') throw outcome.error
  }
}

/** The processes that say they use the domain, by the authority's own documents. None if no process ever did. */
export async function presentProcesses(
  { domain, source, clock }: Pick<Sides, 'domain' | 'source' | 'clock'>,
  options?: CallOptions,
): Promise<readonly PresentProcess[]> {
  const query = { collection: processesCollection, by: 'id', prefix: '', backwards: false } as const
  const processes: PresentProcess[] = []
  let after: Cursor | null = null
  do {
    const page: Page<Document, Cursor | null> | undefined = await source
      .scan(domain, { ...query, limit: 500, after }, options)
      .catch(noneIfUndeclared)
    for (const { data, expiresAt } of page?.items ?? [])
      if (!isExpired(expiresAt, clock.now())) processes.push(decodeValue(data) as PresentProcess)
    after = page?.next ?? null
  } while (after !== null)
  return processes
}

/** Those that could not follow a cutover to this copy. */
export function processesWithout(
  processes: readonly PresentProcess[],
  incarnation: string,
): readonly PresentProcess[] {
  return processes.filter(({ copies }) => !Object.values(copies).includes(incarnation))
}

function noneIfUndeclared(error: unknown): undefined {
  if (isUnderpinError(error, 'invalid')) return undefined
  throw error
}
