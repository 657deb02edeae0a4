/** The export facet: what tenants may take away, as files that are made beside the work, kept for a while, and audited. */
import { setMaxListeners } from 'node:events'
import type { CallOptions } from '../../backend/backend.ts'
import { Alarm } from '../../clock.ts'
import { isUnderpinError, UnderpinError } from '../../error.ts'
import type { Event } from '../../model/event.ts'
import { quote } from '../../model/key.ts'
import { limits } from '../../model/limit.ts'
import type { Page } from '../../model/page.ts'
import { encodeValue } from '../../model/value.ts'
import { throwIfAborted } from '../blob/content.ts'
import type { BlobStore } from '../blob/store.ts'
import { type AnyDomain, portOf } from '../domain.ts'
import type { JobContext } from '../job/run.ts'
import { Lease, Leases, leaseCollections } from '../lease.ts'
import { LeasedPort } from '../leased-port.ts'
import type { Port } from '../port.ts'
import { type StoredEvent, toStoredDocument, toStoredEvent } from '../shape.ts'
import type { ExportFormat } from './csv.ts'
import { download } from './download.ts'
import { type ExportJob, type ExportJobs, requestWrites, runJob } from './job.ts'
import { checkKinds, type ExportKinds, kindOf, type ParamsOf } from './kind.ts'
import { type FoundExport, Ledger } from './ledger.ts'
import { Signer, type SigningKey } from './link.ts'
import {
  auditStream,
  type ExportEvent,
  type ExportInfo,
  type ExportRecord,
  exportCollections,
  exportsCollection,
  keyOf,
  toInfo,
} from './record.ts'
import { ended, isOver, runExport } from './run.ts'

export interface ExportsOptions<K extends ExportKinds> {
  /** Where the files are kept. */
  readonly blobs: BlobStore
  readonly kinds: K
  /** Signs the links of downloads with the first, and accepts those of all. */
  readonly keys: readonly SigningKey[]
  /** About so many bytes are written between two commits; 4 MiB if left out. */
  readonly partBytes?: number
  /** Milliseconds without a sign of life after which the export of a worker that died goes on elsewhere; 10,000 if left out. */
  readonly ttlMs?: number
  /** Makes each export a job of these, which `jobs.work({ export: exports.job })` works on; `work` is then not needed. */
  readonly jobs?: ExportJobs
}

export type ExportRequest<K extends ExportKinds> = {
  [Kind in keyof K & string]: {
    readonly kind: Kind
    readonly format: ExportFormat
    /** Requested again under the same id, it is the same export; a new one if left out. */
    readonly id?: string
    /** Who asked for it, for the audit. */
    readonly requestedBy?: string
  } & (undefined extends ParamsOf<K[Kind]>
    ? { readonly params?: ParamsOf<K[Kind]> }
    : { readonly params: ParamsOf<K[Kind]> })
}[keyof K & string]

export interface LinkOptions extends CallOptions {
  /** Where {@link Exports.handle} is reached: `https://app.example.org/exports`. */
  readonly url: string
  /** Milliseconds that the link can be used; 15 minutes if left out, never longer than the export is kept. */
  readonly expiresInMs?: number
}

export interface WorkOptions {
  /** Ends the work. What is under way is gone on with by whoever works next. */
  readonly signal: AbortSignal
  /** Exports at once in this process; 1 if left out. */
  readonly concurrency?: number
  /** Milliseconds between two looks for work; 500 if left out. */
  readonly pollMs?: number
}

const defaultPartBytes = 4_194_304
const defaultTtlMs = 10_000
const defaultLinkMs = 900_000
const defaultPollMs = 500
const auditItems = 1_000

/**
 * The exports of a domain. Every call names the tenant; what is another tenant's is not there. States and audit events
 * are one commit, so the audit has every state an export was ever in.
 */
export class Exports<K extends ExportKinds = ExportKinds> {
  readonly #port: Port
  readonly #ledger: Ledger
  readonly #options: ExportsOptions<K>
  readonly #signer: Signer

  constructor(domain: AnyDomain, options: ExportsOptions<K>) {
    checkKinds(options.kinds)
    this.#port = portOf(domain)
    if (options.jobs !== undefined && options.jobs.domain !== this.#port.domain)
      throw new TypeError(`Exports of ${this.#port.domain} cannot be jobs of ${options.jobs.domain}`)
    this.#ledger = new Ledger(this.#port)
    this.#options = options
    this.#signer = new Signer(options.keys)
  }

  /**
   * Asks for an export; a worker makes it. Under an id that is known, nothing is written: the export that there is, or
   * `mismatch` if that is another one. `invalid` for a kind or format that there is not, or parameters that are no JSON.
   */
  async request(tenant: string, request: ExportRequest<K>, options: CallOptions = {}): Promise<ExportInfo> {
    await this.#prepare()
    const record = this.#newRecord(tenant, request)
    const key = keyOf(tenant, record.id)
    const facts = { format: record.format, params: record.params, by: record.requestedBy }
    const writes = await requestWrites(this.#options.jobs, { tenant, id: record.id })
    for (;;) {
      const found = await this.#ledger.find(key, options)
      if (found !== undefined) return toInfo(sameAs(record, found.record))
      throwIfAborted(options.signal)
      const audit = { type: 'export.requested', facts } as const
      if (await this.#ledger.add(record, audit, writes, options)) return toInfo(record)
    }
  }

  /** An export of the tenant, or undefined if it has none of that id. */
  async get(tenant: string, id: string, options: CallOptions = {}): Promise<ExportInfo | undefined> {
    const found = await this.#find(tenant, id, options)
    return found && toInfo(found.record)
  }

  /** The exports of a tenant, the newest first; at most `limit`, 100 if left out. */
  async list(
    tenant: string,
    { limit = 100, ...options }: { readonly limit?: number } & CallOptions = {},
  ): Promise<readonly ExportInfo[]> {
    await this.#prepare()
    keyOf(tenant, 'any')
    const query = {
      collection: exportsCollection,
      by: 'index',
      index: 'by_tenant',
      equals: [tenant],
      backwards: true,
      limit,
      after: null,
    } as const
    const { items } = await this.#port.scan(query, options)
    const now = this.#port.clock.now()
    return items.flatMap((item) => {
      const found = toStoredDocument<ExportRecord>(item, now)
      return found === undefined ? [] : [toInfo(found.value)]
    })
  }

  /** Ends an export that is not over yet; a worker that is at it is stopped at its next commit. False if there was nothing to end. */
  async cancel(
    tenant: string,
    id: string,
    options: CallOptions & { readonly by?: string } = {},
  ): Promise<boolean> {
    for (;;) {
      const found = await this.#find(tenant, id, options)
      if (found === undefined || isOver(found.record)) return false
      const next = ended(found.record, 'cancelled', this.#port.clock.now())
      const audit = { type: 'export.cancelled', facts: { by: options.by ?? null } } as const
      if (await this.#ledger.change(found, next, audit, options)) return true
      throwIfAborted(options.signal)
    }
  }

  /** A link to download it with, or undefined if it is not there; `conflict` while it is not ready, or no longer. */
  async link(tenant: string, id: string, options: LinkOptions): Promise<string | undefined> {
    const found = await this.#find(tenant, id, options)
    if (found === undefined) return undefined
    const { state, expiresAt } = found.record
    const now = this.#port.clock.now()
    if (state !== 'ready' || expiresAt === null || expiresAt <= now)
      throw new UnderpinError('conflict', `Export ${quote(id)} is ${state === 'ready' ? 'expired' : state}`, {
        hint: isOver(found.record) ? 'Request a new one.' : 'Wait until it is ready.',
        details: { state },
      })
    const until = Math.min(expiresAt, now + (options.expiresInMs ?? defaultLinkMs))
    const url = new URL(options.url)
    for (const [name, value] of this.#signer.sign({ tenant, id, expiresAt: Math.floor(until) }))
      url.searchParams.set(name, value)
    return url.href
  }

  /**
   * Answers the request of a link: a Fetch handler. 200 with the file, audited as `export.downloaded` before its first
   * byte; 403 if the link was not signed so, 410 if it or the export has expired, 404 if the export is not there.
   */
  readonly handle = async (request: Request): Promise<Response> => {
    await this.#prepare()
    const { blobs, kinds } = this.#options
    return download({ ledger: this.#ledger, blobs, kinds, signer: this.#signer }, request)
  }

  /** What happened to the exports of a tenant, from the beginning. */
  async *audit(tenant: string, options: CallOptions = {}): AsyncGenerator<StoredEvent<ExportEvent>> {
    keyOf(tenant, 'any')
    for (let after: number | null = 0; after !== null; ) {
      const range = { after, before: Number.POSITIVE_INFINITY, backwards: false, limit: auditItems }
      const page: Page<Event, number | null> = await this.#port.read(auditStream(tenant), range, options)
      // Our own stream, which the definitions of the application say nothing of.
      for (const event of page.items) yield toStoredEvent<ExportEvent>(event)
      after = page.next
    }
  }

  /**
   * Works on exports until the signal aborts, and lets those expire whose time is over. Any number of processes may: each
   * export is made by one, and gone on with by another if that one dies. Failures of the store are waited out.
   */
  async work(options: WorkOptions): Promise<void> {
    if (options?.signal === undefined)
      throw new TypeError('The work on exports is told when to end: work({ signal })')
    const { signal: end, concurrency = 1, pollMs = defaultPollMs } = options
    // One of our own: every call under way listens to it, and they are as many as there is work.
    const signal = AbortSignal.any([end])
    setMaxListeners(0, signal)
    const leases = new Leases(this.#port)
    const running = new Map<string, Promise<void>>()
    let broken: unknown
    while (!signal.aborted && broken === undefined) {
      try {
        await this.#prepare()
        for (const key of await this.#due(running.size + concurrency, signal)) {
          if (running.size >= concurrency || running.has(key)) continue
          const work = this.#take(leases, key, signal)
            .catch((error: unknown) => {
              if (!maySubside(error, signal)) broken = error
            })
            .finally(() => running.delete(key))
          running.set(key, work)
        }
      } catch (error) {
        if (!maySubside(error, signal)) broken = error
      }
      const pause = new Alarm()
      const paused = pause.wait(this.#port.clock, pollMs, signal)
      await Promise.race([paused, ...running.values()])
      pause.ring()
    }
    await Promise.all(running.values())
    if (broken !== undefined && !isUnderpinError(broken, 'closed')) throw broken
  }

  /**
   * Works on one export until it is over, for callers with workers of their own; what it is then. If an attempt fails for
   * a reason that may pass, it ends with the export still `requested` or `running`, and its `error`: call it again later.
   */
  async run(tenant: string, id: string, options: CallOptions = {}): Promise<ExportInfo | undefined> {
    await this.#prepare()
    const record = await runExport(this.#setting(this.#ledger), keyOf(tenant, id), options)
    return record && toInfo(record)
  }

  /** The handler of {@link exportJob}: makes an export, and lets it expire when its time is over. */
  readonly job = (data: ExportJob, context: Pick<JobContext, 'signal' | 'transaction'>): Promise<null> =>
    runJob(this.#options.jobs, data, context, async (options) => {
      const found = await this.#find(data.tenant, data.id, options)
      if (found?.record.state === 'ready') await expire(this.#ledger, found, options)
      return this.run(data.tenant, data.id, options)
    })

  async #take(leases: Leases, key: string, signal: AbortSignal): Promise<void> {
    const options = { ttlMs: this.#options.ttlMs ?? defaultTtlMs, waitMs: 0, signal }
    const lease = await leases.acquire(`export/${key}`, options)
    if (!(lease instanceof Lease)) return
    try {
      const ledger = new Ledger(new LeasedPort(this.#port, lease))
      const found = await ledger.find(key, { signal })
      if (found?.record.state === 'ready') await expire(ledger, found, { signal })
      else await runExport(this.#setting(ledger), key, { signal: AbortSignal.any([signal, lease.signal]) })
    } finally {
      await lease.release().catch(() => {
        // It ends by itself in its time; what the work met must be heard.
      })
    }
  }

  #setting(ledger: Ledger) {
    const { blobs, kinds, partBytes = defaultPartBytes } = this.#options
    return { ledger, blobs, kinds, partBytes }
  }

  /** Exports to go on with, or to let expire. */
  async #due(limit: number, signal: AbortSignal): Promise<readonly string[]> {
    const query = {
      collection: exportsCollection,
      by: 'index',
      index: 'due',
      equals: [],
      from: 0,
      below: this.#port.clock.now() + 1,
      backwards: false,
      limit: limit + 100,
      after: null,
    } as const
    return (await this.#port.scan(query, { signal })).items.map(({ id }) => id)
  }

  async #find(tenant: string, id: string, options: CallOptions): Promise<FoundExport | undefined> {
    await this.#prepare()
    return this.#ledger.find(keyOf(tenant, id), options)
  }

  #newRecord(tenant: string, request: ExportRequest<K>): ExportRecord {
    const { kind: name, format, id = this.#port.clock.id(), requestedBy = null } = request
    const kind = kindOf(this.#options.kinds, name, format)
    const params = request.params ?? null
    encodeValue(params, limits)
    const now = this.#port.clock.now()
    return {
      tenant,
      id,
      kind: name,
      params,
      format,
      requestedBy,
      requestedAt: now,
      state: 'requested',
      dueAt: now,
      source: kind.source(tenant, request.params),
      cursor: null,
      isRead: false,
      rows: 0,
      bytes: 0,
      parts: [],
      content: null,
      failures: 0,
      error: null,
      finishedAt: null,
      expiresAt: null,
      downloads: 0,
    }
  }

  #prepare(): Promise<void> {
    return this.#port.ensure({ ...leaseCollections, ...exportCollections })
  }
}

/** Lets an export expire: its content goes with the next collection of blobs, as nothing refers to it any more. */
export async function expire(ledger: Ledger, found: FoundExport, options: CallOptions = {}): Promise<void> {
  const { record } = found
  const now = ledger.port.clock.now()
  if (record.state !== 'ready' || record.expiresAt === null || record.expiresAt > now) return
  await ledger.change(found, ended(record, 'expired', now), { type: 'export.expired' }, options)
}

/** The export that there is, if it is the one that was asked for. */
function sameAs(asked: ExportRecord, found: ExportRecord): ExportRecord {
  const isSame =
    found.kind === asked.kind &&
    found.format === asked.format &&
    encodeValue(found.params, limits) === encodeValue(asked.params, limits)
  if (isSame) return found
  throw new UnderpinError('mismatch', `Export ${quote(asked.id)} was requested before as something else`, {
    hint: 'Give each export an id of its own, or none.',
    details: { kind: found.kind, format: found.format },
  })
}

/** What a worker waits out: a store that cannot be reached, a lease that went to another one, the end of the work. */
function maySubside(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted) return true
  return (
    isUnderpinError(error) &&
    (error.retryable || error.code === 'lost-lease' || error.code === 'aborted' || error.code === 'unknown')
  )
}
