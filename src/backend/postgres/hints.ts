/**
 * Hints between processes: a notification without payload when a domain has moved, at most every few milliseconds. Only
 * hints: whoever watches also looks for himself, often until a notification has shown that they arrive, then seldom.
 */
import type { Clock } from '../../clock.ts'
import { maskSecrets } from '../../error.ts'
import { checksumOf } from '../../model/digest.ts'
import type { Database, Listening } from './driver.ts'

/** The first of a burst is sent at once. */
const notifyEveryMs = 10
const lookEveryMs = 1_000
const reconnectAfterMs = 1_000

export class Hints {
  readonly #database: Database
  readonly #schema: string
  readonly #clock: Clock
  readonly #pollMs: number
  readonly #onHint: (domain: string) => void
  /** Domains that were told of lately, and whether they have moved since. */
  readonly #told = new Map<string, boolean>()
  readonly #sending = new Set<Promise<unknown>>()
  readonly #domains = new Map<string, string>()
  readonly #proven = new Set<string>()
  #listening: Promise<Listening | undefined> | undefined
  #cancelReconnect: (() => void) | undefined
  #isClosed = false

  constructor(
    database: Database,
    schema: string,
    { clock, pollMs }: { clock: Clock; pollMs: number },
    onHint: (domain: string) => void,
  ) {
    this.#database = database
    this.#schema = schema
    this.#clock = clock
    this.#pollMs = pollMs
    this.#onHint = onHint
  }

  /** Tells other processes that a domain has moved. */
  moved(domain: string): void {
    if (this.#told.has(domain)) {
      this.#told.set(domain, true)
      return
    }
    this.#told.set(domain, false)
    this.#notify(domain)
    this.#clock.timer(notifyEveryMs, () => {
      const hasMoved = this.#told.get(domain)
      this.#told.delete(domain)
      if (hasMoved && !this.#isClosed) this.moved(domain)
    })
  }

  /** Milliseconds until a watcher should look for himself. */
  lookAfterMs(domain: string): number {
    return this.#proven.has(domain) ? lookEveryMs : this.#pollMs
  }

  /** A move was found that nobody had told of: until the next notification comes, they are not relied on. */
  missed(domain: string): void {
    this.#proven.delete(domain)
  }

  /** Begins to listen for a domain; a notification to oneself shows whether they arrive. */
  async listen(domain: string): Promise<void> {
    if (this.#isClosed) return
    this.#domains.set(this.#channel(domain), domain)
    this.#listening ??= this.#connect()
    const listening = await this.#listening
    if (listening === undefined || this.#isClosed) return
    await listening.add(this.#channel(domain)).then(
      () => this.#notify(domain),
      () => undefined,
    )
  }

  /** Sends what is still to be told, and stops listening. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancelReconnect?.()
    for (const [domain, hasMoved] of this.#told) if (hasMoved) this.#notify(domain)
    // Whoever is still connecting is not waited for.
    void this.#listening?.then((listening) => listening?.close()).catch(warn)
    await Promise.allSettled([...this.#sending])
  }

  async #connect(): Promise<Listening | undefined> {
    const onNotify = (channel: string) => {
      const domain = this.#domains.get(channel)
      if (domain === undefined) return
      this.#proven.add(domain)
      this.#onHint(domain)
    }
    try {
      return await this.#database.listen?.(onNotify, () => this.#lost())
    } catch {
      this.#lost()
      return undefined
    }
  }

  /** Listens again after a while. */
  #lost(): void {
    this.#proven.clear()
    this.#listening = undefined
    if (this.#isClosed || this.#cancelReconnect !== undefined) return
    for (const domain of this.#domains.values()) this.#onHint(domain)
    this.#cancelReconnect = this.#clock.timer(reconnectAfterMs, () => {
      this.#cancelReconnect = undefined
      for (const domain of this.#domains.values()) void this.listen(domain)
    })
  }

  #notify(domain: string): void {
    // A hint that is not sent costs others only the time until they look for themselves.
    const sending = this.#database
      .query(`NOTIFY "${this.#channel(domain)}"`)
      .catch(() => undefined)
      .finally(() => this.#sending.delete(sending))
    this.#sending.add(sending)
  }

  /** One for each domain, of a length that fits whatever the names. */
  #channel(domain: string): string {
    return `underpin_${checksumOf(`${this.#schema}\0${domain}`)}`
  }
}

/** Of a session that does not end nobody is left to be told but the process; the server ends it with the process. */
function warn(error: unknown): void {
  const because = error instanceof Error ? error.message : String(error)
  process.emitWarning(maskSecrets(`A session that heard notifications did not end: ${because}`), {
    type: 'UnderpinWarning',
  })
}
