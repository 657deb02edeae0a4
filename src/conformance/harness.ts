/** What the laws are written with: the backend under test, a fresh domain for each law, and short words for commits. */
import assert from 'node:assert/strict'
import type { Backend, Supports } from '../backend/backend.ts'
import { type ErrorCode, isUnderpinError } from '../error.ts'
import type { Change, Write } from '../model/change.ts'
import type { Check, DocumentExpectation, StreamExpectation } from '../model/check.ts'
import { type CollectionDefinition, definitionsCollection } from '../model/collection.ts'
import type { Committed, Outcome } from '../model/commit.ts'
import { vacantFence } from '../model/fence.ts'
import type { Query, Range } from '../model/page.ts'
import { encodeValue } from '../model/value.ts'

/** What is put to the test: a way to open it, and what only its maker knows how to do. */
export interface Subject {
  /** A backend, opened; each law uses domains of its own in it. */
  open(): Promise<Backend>
  /** A second backend on the same place, opened, as another process would have it. */
  reopen?(): Promise<Backend>
  /** Changes the content of a stored record behind the backend's back, so that it no longer fits its checksum. */
  damage?(backend: Backend, domain: string, change: Change): Promise<void>
}

/** One law as a test. */
export interface Law {
  /** The number of the law in the design. */
  readonly law: number
  /** A sentence of behaviour. */
  readonly name: string
  /** The capabilities for which this is the test; left out, it is for all. A text says why it does not apply. */
  readonly when?: (supports: Supports, subject: Subject) => true | string
  run(context: Context): Promise<void>
}

export const now = 1_700_000_000_000

/** One law's run: a backend and a domain of which it is the only user. */
export class Context {
  readonly backend: Backend
  readonly subject: Subject
  readonly domain: string
  readonly #id: () => string

  constructor(backend: Backend, subject: Subject, domain: string, id: () => string) {
    this.backend = backend
    this.subject = subject
    this.domain = domain
    this.#id = id
  }

  /** Makes the backend the domain's authority at epoch 1. */
  async create(domain = this.domain, backend = this.backend): Promise<void> {
    const to = { ...vacantFence, role: 'authority', epoch: 1, incarnation: this.#id() } as const
    assert.equal(await backend.transition(domain, vacantFence, to), true, 'a vacant domain can be created')
  }

  /** Declares a collection. */
  async declare(name: string, definition: Partial<CollectionDefinition> = {}): Promise<void> {
    const data = encodeValue({ fields: {}, indexes: {}, ...definition })
    await this.commit([{ kind: 'put', collection: definitionsCollection, id: name, data, expiresAt: null }])
  }

  /** A commit that must succeed. */
  async commit(writes: readonly Write[], checks: readonly Check[] = [], at = now): Promise<Committed> {
    const outcome = await this.attempt(writes, checks, at)
    assert.equal(outcome.kind, 'committed', `the commit succeeds: ${JSON.stringify(outcome)}`)
    return outcome as Committed
  }

  /** A commit that may fail. */
  async attempt(writes: readonly Write[], checks: readonly Check[] = [], at = now): Promise<Outcome> {
    const [outcome] = await this.backend.commit(this.domain, 1, [{ at, writes, checks }])
    assert.ok(outcome, 'every commit has an outcome')
    return outcome
  }

  /** A commit that must fail by a check; returns what failed. */
  async refused(writes: readonly Write[], checks: readonly Check[] = [], at = now) {
    const before = await this.backend.fence(this.domain)
    const outcome = await this.attempt(writes, checks, at)
    assert.equal(outcome.kind, 'failed', `the commit fails by a check: ${JSON.stringify(outcome)}`)
    const after = await this.backend.fence(this.domain)
    assert.deepEqual(after, before, 'a failed commit leaves head and digest as they were')
    return outcome.kind === 'failed' ? outcome.failed : []
  }

  read(stream: string, range: Partial<Range> = {}) {
    const all = { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 1_000 }
    return this.backend.read(this.domain, stream, { ...all, ...range })
  }

  async get(collection: string, id: string) {
    return (await this.backend.get(this.domain, [{ collection, id }])).documents[0]
  }

  scan(query: Partial<Query> & { collection: string }) {
    const all = { by: 'id', prefix: '', backwards: false, limit: 1_000, after: null }
    return this.backend.scan(this.domain, { ...all, ...query } as Query)
  }

  /** The ids of all documents of a query, page by page. */
  async ids(query: Partial<Query> & { collection: string }): Promise<string[]> {
    const ids: string[] = []
    for (let after: string | null = null; ; ) {
      const page = await this.scan({ ...query, after })
      ids.push(...page.items.map(({ id }) => id))
      if (page.next === null) return ids
      after = page.next
    }
  }

  /** The whole feed, page by page; checks that pages follow one another. */
  async feed(limit = 1_000, backend = this.backend): Promise<Change[]> {
    const changes: Change[] = []
    for (let after = 0; ; ) {
      const page = await backend.changes(this.domain, after, limit)
      for (const change of page.items)
        assert.ok(change.position > after, 'a page begins behind the one before')
      changes.push(...page.items)
      assert.ok(page.next >= (page.items.at(-1)?.position ?? after), 'a page ends behind its last change')
      if (page.next >= page.head) return changes
      assert.ok(page.next > after, 'a page that is not the last goes on')
      after = page.next
    }
  }
}

export function append(stream: string, value: unknown = {}, type = 'happened'): Write {
  return { kind: 'append', stream, type, data: encodeValue(value), meta: null }
}

export function put(
  collection: string,
  id: string,
  value: unknown = {},
  expiresAt: number | null = null,
): Write {
  return { kind: 'put', collection, id, data: encodeValue(value), expiresAt }
}

export function remove(collection: string, id: string): Write {
  return { kind: 'delete', collection, id }
}

export function streamAt(stream: string, expect: StreamExpectation): Check {
  return { kind: 'stream', stream, expect }
}

export function documentAt(collection: string, id: string, expect: DocumentExpectation): Check {
  return { kind: 'document', collection, id, expect }
}

/** A domain beside that of the law, which follows and holds nothing yet. */
export async function follower(t: Context): Promise<string> {
  const copy = `${t.domain}-c`
  const prepared = { ...vacantFence, role: 'prepared', epoch: 1, incarnation: 'copy' } as const
  assert.ok(await t.backend.transition(copy, vacantFence, prepared))
  assert.ok(await t.backend.transition(copy, prepared, { ...prepared, role: 'follower' }))
  return copy
}

/** The call must fail with this code. */
export async function failsWith(code: ErrorCode, call: () => Promise<unknown>): Promise<void> {
  let result: unknown
  try {
    result = await call()
  } catch (error) {
    if (isUnderpinError(error, code)) return
    throw error
  }
  assert.fail(`the call fails with ${code}; it gave ${JSON.stringify(result)}`)
}
