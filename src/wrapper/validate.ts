/** Refuses what no backend may be given, by the same rule for all of them, before anything is written. */
import type { Backend, SyncBackend } from '../backend/backend.ts'
import { UnderpinError } from '../error.ts'
import type { Write } from '../model/change.ts'
import type { Check } from '../model/check.ts'
import { checkCollectionName } from '../model/collection.ts'
import type { Commit } from '../model/commit.ts'
import { checkId, checkName, quote } from '../model/key.ts'
import { limits as commonLimits, type Limits } from '../model/limit.ts'
import { Forward, type Wrapper } from './forward.ts'

/** The limits that hold on a backend: the common ones, or its own where they are tighter. */
export function limitsOf(backend: Backend): Limits {
  const merged: Record<string, number> = { ...commonLimits }
  for (const [name, limit] of Object.entries(backend.supports.limits))
    merged[name] = Math.min(limit, merged[name] ?? limit)
  return merged as unknown as Limits
}

export const validate: Wrapper = (backend) => new Validated(backend)

class Validated extends Forward {
  readonly #limits = limitsOf(this.inner)
  readonly #canTables = this.inner.supports.tables

  override get sync(): SyncBackend | undefined {
    const { sync } = this.inner
    return sync === undefined ? undefined : validateSync(sync, this.#limits, this.#canTables)
  }

  override within(client: unknown): Backend {
    return new Validated(this.inner.within(client))
  }

  override commit(...call: Parameters<Backend['commit']>) {
    try {
      checkCommits(call[0], call[2], this.#limits, this.#canTables)
    } catch (error) {
      return Promise.reject(error)
    }
    return this.inner.commit(...call)
  }

  override async read(...call: Parameters<Backend['read']>) {
    checkRead(call[0], call[1], call[2].limit, this.#limits)
    return this.inner.read(...call)
  }

  override async get(...call: Parameters<Backend['get']>) {
    checkGet(call[0], call[1], this.#limits)
    return this.inner.get(...call)
  }

  override async scan(...call: Parameters<Backend['scan']>) {
    checkPage(call[0], call[1].limit, this.#limits)
    return this.inner.scan(...call)
  }

  override async changes(...call: Parameters<Backend['changes']>) {
    checkPage(call[0], call[2], this.#limits)
    checkPosition(call[1])
    return this.inner.changes(...call)
  }
}

/** The same rules before the synchronous verbs. */
export function validateSync(sync: SyncBackend, limits: Limits, canTables: boolean): SyncBackend {
  return {
    open: () => sync.open(),
    close: () => sync.close(),
    domains: () => sync.domains(),
    fence: (domain) => sync.fence(domain),
    apply: (...call) => sync.apply(...call),
    transition: (...call) => sync.transition(...call),
    commit(...call) {
      checkCommits(call[0], call[2], limits, canTables)
      return sync.commit(...call)
    },
    read(...call) {
      checkRead(call[0], call[1], call[2].limit, limits)
      return sync.read(...call)
    },
    get(...call) {
      checkGet(call[0], call[1], limits)
      return sync.get(...call)
    },
    scan(...call) {
      checkPage(call[0], call[1].limit, limits)
      return sync.scan(...call)
    },
    changes(...call) {
      checkPage(call[0], call[2], limits)
      checkPosition(call[1])
      return sync.changes(...call)
    },
  }
}

function checkCommits(domain: string, commits: readonly Commit[], limits: Limits, canTables: boolean): void {
  checkName(domain, 'The domain', limits)
  for (const commit of commits) {
    checkCommit(commit, limits)
    if (commit.tables !== undefined) checkHandler(commit, canTables)
  }
}

function checkHandler({ tables, writes }: Commit, canTables: boolean): void {
  if (typeof tables !== 'function') throw new TypeError('A table handler must be a function')
  if (!canTables) {
    throw new UnderpinError('unsupported', 'This backend has no tables of yours to write in a commit', {
      hint: 'SQLite and PostgreSQL have (supports.tables).',
    })
  }
  if (writes.length === 0)
    throw new UnderpinError('invalid', 'A commit with a table handler must write an event or a document too')
}

function checkCommit({ at, writes, checks }: Commit, limits: Limits): void {
  if (!Number.isSafeInteger(at) || at < 0)
    throw new UnderpinError(
      'invalid',
      `The time of a commit must be whole milliseconds since 1970, not ${at}`,
    )
  if (writes.length > limits.commitItems)
    throw tooMany('writes in one commit', writes.length, limits.commitItems)
  if (checks.length > limits.commitItems)
    throw tooMany('checks in one commit', checks.length, limits.commitItems)
  let bytes = 0
  for (const write of writes) bytes += checkWrite(write, limits)
  if (bytes > limits.commitBytes) throw tooMany('bytes of JSON in one commit', bytes, limits.commitBytes)
  for (const check of checks) checkCheck(check, limits)
}

function checkWrite(write: Write, limits: Limits): number {
  if (write.kind === 'append') {
    checkId(write.stream, 'The stream name', limits)
    checkId(write.type, 'The event type', limits)
    return checkText(write.data, limits) + (write.meta === null ? 0 : checkText(write.meta, limits))
  }
  checkCollection(write.collection, limits)
  checkId(write.id, 'The document id', limits)
  if (write.kind === 'delete') return 0
  const { expiresAt } = write
  if (expiresAt !== null && !(Number.isSafeInteger(expiresAt) && expiresAt >= 0)) {
    throw new UnderpinError(
      'invalid',
      `expiresAt must be whole milliseconds since 1970 or null, not ${expiresAt}`,
    )
  }
  return checkText(write.data, limits)
}

/** A cheap guard: the text came from `encodeValue` by its type, which checked it with the common limits. */
function checkText(text: string, limits: Limits): number {
  if (typeof text !== 'string' || text.length === 0)
    throw new UnderpinError('invalid', 'A value must be given as JSON text')
  const bytes = Buffer.byteLength(text)
  if (bytes > limits.valueBytes) throw tooMany('bytes of JSON in one value', bytes, limits.valueBytes)
  return bytes
}

function checkCheck(check: Check, limits: Limits): void {
  const { expect } = check
  const words = check.kind === 'stream' ? ['none', 'some'] : ['absent', 'present']
  if (!(typeof expect === 'string' ? words.includes(expect) : Number.isSafeInteger(expect) && expect >= 0)) {
    throw new UnderpinError('invalid', `A ${check.kind} cannot be expected to be ${quote(expect)}`, {
      hint: `Expect a whole number, "${words[0]}" or "${words[1]}", or leave the expectation out altogether.`,
    })
  }
  if (check.kind === 'stream') {
    checkId(check.stream, 'The stream name', limits)
  } else {
    checkCollection(check.collection, limits)
    checkId(check.id, 'The document id', limits)
  }
}

function checkCollection(name: string, limits: Limits): void {
  checkCollectionName(name, 'The collection', limits)
}

function checkRead(domain: string, stream: string, limit: number, limits: Limits): void {
  checkPage(domain, limit, limits)
  checkId(stream, 'The stream name', limits)
}

function checkGet(domain: string, keys: readonly { collection: string; id: string }[], limits: Limits): void {
  checkName(domain, 'The domain', limits)
  if (keys.length > limits.pageItems) throw tooMany('keys in one get', keys.length, limits.pageItems)
  for (const { collection, id } of keys) {
    checkCollection(collection, limits)
    checkId(id, 'The document id', limits)
  }
}

function checkPage(domain: string, limit: number, limits: Limits): void {
  checkName(domain, 'The domain', limits)
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new UnderpinError('invalid', `A page must have a whole number of records from 1 on, not ${limit}`)
  if (limit > limits.pageItems) throw tooMany('records in one page', limit, limits.pageItems)
}

function checkPosition(position: number): void {
  if (Number.isSafeInteger(position) && position >= 0) return
  throw new UnderpinError('invalid', `A position must be a whole number from 0 on, not ${position}`)
}

function tooMany(what: string, found: number, limit: number): UnderpinError {
  return new UnderpinError('too-large', `There are ${found} ${what}; the limit is ${limit}`, {
    details: { found, limit },
  })
}
