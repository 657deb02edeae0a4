/**
 * A client as it should be: a key for each request that is meant anew, the same key when it asks again, another server
 * when one does not answer. So whatever dies, each request takes effect once, and its caller sees no error.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Parsed from JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: what the tests and scripts look into.
  readonly body: any
  readonly key: string
}

export interface Asking {
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** A new one if left out. */
  readonly key?: string
}

export interface Counts {
  requests: number
  /** Asked again, because a server was gone, or said to come back. */
  repeats: number
  /** What a caller was left with: a request without an answer, or with a 5xx. */
  errors: number
  readonly latenciesMs: number[]
}

const giveUpMs = 60_000
/** A server that says nothing for so long may be stopped: another one is asked, with the same key. */
const answerMs = 20_000
const pauseMs = 20

export class Client {
  readonly counts: Counts = { requests: 0, repeats: 0, errors: 0, latenciesMs: [] }
  /** The addresses of the servers that there are now. */
  readonly #servers: () => readonly string[]
  #next = 0

  constructor(servers: () => readonly string[]) {
    this.#servers = servers
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.#ask('GET', path, '', { headers })
  }

  post(path: string, { key = randomUUID(), ...asking }: Asking = {}): Promise<Answer> {
    return this.#ask('POST', path, key, asking)
  }

  async #ask(method: string, path: string, key: string, { body, headers = {} }: Asking): Promise<Answer> {
    const since = performance.now()
    let last: Answer | undefined
    for (let isFirst = true; isFirst || performance.now() - since < giveUpMs; isFirst = false) {
      if (!isFirst) {
        this.counts.repeats++
        await pause(pauseMs)
      }
      const init = {
        method,
        headers: { ...headers, ...(key === '' ? {} : { 'idempotency-key': key }) } as Record<string, string>,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }
      if (body !== undefined) init.headers['content-type'] = 'application/json'
      last = await this.#once(path, init, key)
      if (last === undefined || isToBeAskedAgain(last)) continue
      this.counts.requests++
      this.counts.latenciesMs.push(performance.now() - since)
      if (last.status >= 500) this.counts.errors++
      return last
    }
    this.counts.errors++
    throw new Error(
      `${method} ${path} was not answered in ${giveUpMs} ms; last: ${last?.status} ${last?.text}`,
    )
  }

  /** Undefined if the server is not there, or went away while it answered. */
  async #once(path: string, init: RequestInit, key: string): Promise<Answer | undefined> {
    const servers = this.#servers()
    const address = servers[this.#next++ % servers.length]
    if (address === undefined) return undefined
    try {
      const response = await fetch(address + path, { ...init, signal: AbortSignal.timeout(answerMs) })
      const text = await response.text()
      const isJson = response.headers.get('content-type')?.includes('json') === true
      const { status, headers } = response
      return { status, headers, text, body: isJson ? JSON.parse(text) : undefined, key }
    } catch (error) {
      // What fetch throws when there is no connection, or none any more; and when the time is over.
      if (error instanceof TypeError) return undefined
      if (error instanceof DOMException && error.name === 'TimeoutError') return undefined
      throw error
    }
  }
}

/** Whether the answer says to come back: the store is away for a moment, or the same request is under way. */
function isToBeAskedAgain({ status, headers }: Answer): boolean {
  return (status === 503 || status === 409) && headers.has('retry-after')
}

/** The value below which a part of the numbers is, 0.99 for p99. */
export function quantile(numbers: readonly number[], part: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0
}
