/** The application's users during the rollout: they go on through every step, and remember what they were told. */
import { setTimeout as pause } from 'node:timers/promises'
import { accrue } from '../../lib/money.ts'
import type { StreamRecord } from '../../lib/stream.ts'
import { type Answer, Client } from '../client.ts'
import { type Facts, judge, judgeList, type Paid } from '../ledger.ts'

export const terms = {
  ...{ sender: 'wallet-ada', recipient: 'wallet-bob', currency: 'EUR' },
  ...{ deposit: 10 ** 9, ratePerHour: 36_000_000 },
}
/** Milliseconds that a caller thinks between two requests. */
const thinkMs = 20
/** Every so many answers are kept, to be asked for again. */
const keepEvery = 10

/** A POST and its answer. */
export interface Kept {
  readonly path: string
  readonly body: unknown
  readonly answer: Answer
}

export class Load {
  /** The users, whose latencies are the figures. */
  readonly client: Client
  /** Who looks into it meanwhile. */
  readonly prober: Client
  readonly kept: Kept[] = []
  /** Streams in the order in which they were acknowledged, with the time before they were asked for. */
  readonly #streams: { readonly id: string; readonly since: number }[] = []
  readonly #paid: Paid[] = []
  readonly #versions = new Map<string, number[]>()
  readonly #stop = new AbortController()
  /** Answers to users that were not what they had to be. */
  readonly #wrong: string[] = []
  #answers = 0
  #running: Promise<readonly PromiseSettledResult<void>[]> = Promise.resolve([])

  constructor(servers: () => readonly string[]) {
    this.client = new Client(servers)
    this.prober = new Client(servers)
  }

  get streams(): number {
    return this.#streams.length
  }

  get payments(): number {
    return this.#paid.length
  }

  begin(callers: number): void {
    this.#running = Promise.allSettled(Array.from({ length: callers }, (_, n) => this.#call(n)))
  }

  /** Callers finish the request that they are at. Fails as the first of them that failed. */
  async end(): Promise<void> {
    this.#stop.abort()
    const failed = (await this.#running).find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  }

  /** A POST whose answer belongs to the record. */
  async post(path: string, body?: unknown, client = this.client): Promise<Answer> {
    const answer = await client.post(path, body === undefined ? {} : { body })
    if (this.#answers++ % keepEvery === 0) this.kept.push({ path, body, answer })
    return answer
  }

  async create(more: Partial<typeof terms> = {}): Promise<string> {
    const since = Date.now()
    const { status, body, text } = await this.post('/streams', { ...terms, ...more })
    if (status !== 201) throw new Error(`A stream was not created: ${status} ${text}`)
    this.#streams.push({ id: body.id, since })
    this.#versions.set(body.id, [body.version])
    return body.id
  }

  async command(id: string, kind: string): Promise<Answer> {
    const answer = await this.post(`/streams/${id}/${kind}`)
    if (answer.status === 200) this.#versions.get(id)?.push(answer.body.version)
    return answer
  }

  async withdraw(id: string, amount: number, client = this.client): Promise<Answer> {
    const answer = await this.post(`/streams/${id}/withdraw`, { amount }, client)
    if (answer.status === 200)
      this.#paid.push({ stream: id, key: answer.key, amount, version: answer.body.version })
    return answer
  }

  /** A user with streams that nobody else changes. */
  async #call(number: number): Promise<void> {
    let id = await this.#begin()
    for (let n = number; !this.#stop.signal.aborted; n++) {
      if (n % 12 === 0) id = await this.#begin()
      else if (n % 5 === 0) this.#expect(await this.client.get('/streams?status=active&limit=20'), 'the list')
      else if (n % 3 === 0) await this.#read(id)
      else if (n % 2 === 0) this.#expect(await this.command(id, 'settle'), `${id}: settle`)
      else this.#expect(await this.withdraw(id, 1 + (n % 7)), `${id}: withdraw`, 200, 422)
      await pause(thinkMs)
    }
  }

  async #begin(): Promise<string> {
    const id = await this.create()
    this.#expect(await this.command(id, 'start'), `${id}: start`)
    return id
  }

  /** The stream as it is read has the last change that its user was told of. */
  async #read(id: string): Promise<void> {
    const answer = await this.client.get(`/streams/${id}`)
    this.#expect(answer, `${id}: read`)
    const last = Math.max(
      ...(this.#versions.get(id) ?? []),
      ...this.#paid.filter(({ stream }) => stream === id).map(({ version }) => version),
    )
    if (answer.status === 200 && answer.body.version < last)
      this.#wrong.push(`${id}: version ${last} was told, and ${answer.body.version} read behind it`)
  }

  #expect({ status, text }: Answer, what: string, ...expected: readonly number[]): void {
    if (!(expected.length === 0 ? [200] : expected).includes(status))
      this.#wrong.push(`${what} was answered ${status} ${text}`)
  }

  /** What callers were told and is not so: nothing, if nothing was lost or done twice. */
  async judge(): Promise<readonly string[]> {
    const streams: Facts['streams'][number][] = []
    const lost: string[] = []
    for (const { id, since } of this.#streams) {
      const { status, body: record } = await this.prober.get(`/streams/${id}`)
      if (status !== 200) {
        lost.push(`${id}: was acknowledged, and is answered ${status}`)
        continue
      }
      const { accrued } = (await this.prober.get(`/streams/${id}/balance`)).body
      streams.push({ record, accrued, ...this.#most(record, since), activity: await this.#activity(id) })
    }
    const listed: StreamRecord[] = await allPages(this.prober, '/streams?limit=200')
    const lists = judgeList(
      [...this.#versions.keys()],
      listed.map(({ id }) => id),
    )
    return [
      ...this.#wrong,
      ...lost,
      ...lists,
      ...judge({ paid: this.#paid, versions: this.#versions, streams }),
    ]
  }

  #most({ ratePerHour, deposit }: StreamRecord, since: number) {
    return { accruedAtMost: accrue(ratePerHour, Date.now() - since, deposit) }
  }

  #activity(id: string) {
    return allPages(this.prober, `/streams/${id}/activity?limit=200`)
  }
}

/** All items of a list, page by page. */
// biome-ignore lint/suspicious/noExplicitAny: what the server answers.
export async function allPages(client: Client, path: string): Promise<any[]> {
  const items = []
  let cursor: string | undefined
  do {
    const { status, body } = await client.get(cursor === undefined ? path : `${path}&cursor=${cursor}`)
    if (status !== 200) throw new Error(`${path} was answered ${status}`)
    items.push(...body.items)
    cursor = body.cursor
  } while (cursor !== undefined)
  return items
}
