/**
 * A TCP proxy between a driver and its server that fails at a chosen byte. Bytes of the server's answers and the
 * client's requests are counted from `arm` on, over all connections; the fault strikes once.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'

export type Fault =
  /** The connection ends, on both sides, when so many bytes of the answer were forwarded. */
  | { readonly kind: 'cut'; readonly after: number }
  /** Everything behind so many bytes of the answer waits for `ms`. */
  | { readonly kind: 'delay'; readonly after: number; readonly ms: number }
  /** Nothing more is forwarded on any connection, and none is closed. */
  | { readonly kind: 'blackhole'; readonly after: number }
  /** Behind so many bytes of the answer, the next few arrive one by one, and then the rest. */
  | { readonly kind: 'slice'; readonly after: number }
  /**
   * At the client's request of this number (from 1) the client's side dies, and the server gets the request later: just
   * before request number `before` (from 1) of the sessions that the client opens or uses afterwards, or at `settle`.
   */
  | { readonly kind: 'late'; readonly request: number; readonly before: number }

interface Link {
  readonly client: Socket
  readonly server: Socket
  /** Resolves when the server's side is closed: the server does nothing for this session any more. */
  readonly isGone: Promise<unknown>
  forwarding: Promise<void>
}

/** How long a later request waits for the answer to the late one, which may itself wait for a lock. */
const lateHeadStartMs = 20

/** Bytes that arrive one by one. */
const slices = 6

export class FaultProxy {
  /** Bytes of the server's answers since `arm`. */
  answered = 0
  /** The client's requests since `arm`. */
  requests = 0
  /** Whether the fault has struck. */
  hasStruck = false
  /** Whether a late request has reached the server. */
  isDelivered = false
  readonly #server: Server
  readonly #target: URL
  readonly #links = new Set<Link>()
  readonly #struck = new Set<Link>()
  #fault: Fault | undefined
  #late: { readonly link: Link; readonly bytes: Buffer; requestsSince: number } | undefined
  #silence: { readonly text: string; readonly isLost: boolean; readonly begin: () => void } | undefined

  private constructor(server: Server, target: URL) {
    this.#server = server
    this.#target = target
    server.on('connection', (client) => this.#accept(client))
  }

  static async start(url: string): Promise<FaultProxy> {
    const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new FaultProxy(server, new URL(url))
  }

  /** The server's URL by way of this proxy. */
  get url(): string {
    const url = new URL(this.#target)
    url.host = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    return url.href
  }

  /** Counts from here on; without a fault, only counts. */
  arm(fault?: Fault): void {
    this.#fault = fault
    this.answered = 0
    this.requests = 0
    this.hasStruck = false
    this.isDelivered = false
  }

  /**
   * From the next request on that contains a text, its connection is silent: no answer is forwarded, and no later
   * request, and nothing is closed. Lost, the request does not reach the server either. Resolves when it begins.
   */
  silence(text: string, { isLost }: { isLost: boolean }): Promise<void> {
    return new Promise((begin) => {
      this.#silence = { text, isLost, begin }
    })
  }

  /** Ends the fault: delivers what is late, closes what was struck, and waits until the server is done with it. */
  async settle(): Promise<void> {
    await this.#deliver()
    if (this.#isDark) for (const link of this.#links) this.#end(link)
    this.#fault = undefined
    await Promise.all([...this.#struck].map(({ isGone }) => isGone))
    this.#struck.clear()
  }

  async close(): Promise<void> {
    for (const { client, server } of this.#links) for (const socket of [client, server]) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  get #isDark(): boolean {
    return this.hasStruck && this.#fault?.kind === 'blackhole'
  }

  #accept(client: Socket): void {
    const server = connect({ host: this.#target.hostname, port: Number(this.#target.port), noDelay: true })
    const link: Link = {
      client,
      server,
      isGone: new Promise((resolve) => server.on('close', resolve)),
      forwarding: Promise.resolve(),
    }
    this.#links.add(link)
    client.on('error', () => {})
    server.on('error', () => {})
    client.on('data', (bytes) => this.#queue(link, () => this.#request(link, bytes)))
    server.on('data', (bytes) => this.#queue(link, () => this.#answer(link, bytes)))
    client.on('close', () => {
      if (this.#late?.link !== link && !this.#isDark) server.end()
    })
    server.on('close', () => {
      this.#links.delete(link)
      if (!this.#isDark) client.end()
    })
  }

  #queue(link: Link, forward: () => Promise<void> | void): void {
    link.forwarding = link.forwarding.then(forward)
  }

  async #request(link: Link, bytes: Buffer): Promise<void> {
    if (this.#isDark || this.#struck.has(link)) return
    this.requests++
    if (this.#silence !== undefined && bytes.includes(this.#silence.text)) {
      const { isLost, begin } = this.#silence
      this.#silence = undefined
      this.#struck.add(link)
      if (!isLost) link.server.write(bytes)
      begin()
      return
    }
    const fault = this.#fault
    if (fault?.kind === 'late') {
      if (!this.hasStruck && this.requests === fault.request) {
        this.hasStruck = true
        this.#late = { link, bytes, requestsSince: 0 }
        this.#struck.add(link)
        link.client.resetAndDestroy()
        return
      }
      if (this.#late !== undefined && ++this.#late.requestsSince === fault.before) await this.#deliver()
    }
    link.server.write(bytes)
  }

  async #answer(link: Link, bytes: Buffer): Promise<void> {
    const fault = this.#fault
    const before = this.answered
    this.answered += bytes.length
    if (this.#isDark || this.#struck.has(link)) return
    if (fault === undefined || fault.kind === 'late' || this.hasStruck || this.answered < fault.after) {
      link.client.write(bytes)
      return
    }
    this.hasStruck = true
    const at = fault.after - before
    if (at > 0) link.client.write(bytes.subarray(0, at))
    await this.#strike(link, fault, bytes.subarray(at))
  }

  async #strike(link: Link, fault: Exclude<Fault, { kind: 'late' }>, rest: Buffer): Promise<void> {
    switch (fault.kind) {
      case 'cut':
        this.#end(link)
        return
      case 'blackhole':
        return
      case 'delay':
        await sleep(fault.ms)
        link.client.write(rest)
        return
      case 'slice':
        for (const byte of rest.subarray(0, slices)) {
          link.client.write(Buffer.of(byte))
          await nextTurn()
        }
        link.client.write(rest.subarray(slices))
    }
  }

  #end(link: Link): void {
    this.#struck.add(link)
    link.client.end()
    link.server.end()
  }

  /** Gives the server the late request; gives it a head start before whatever is forwarded next. */
  async #deliver(): Promise<void> {
    const late = this.#late
    if (late === undefined) return
    this.#late = undefined
    this.isDelivered = true
    const { link, bytes } = late
    link.server.end(bytes)
    await Promise.race([link.isGone, sleep(lateHeadStartMs)])
  }
}
