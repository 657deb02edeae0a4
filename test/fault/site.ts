/** A store behind a fault proxy of its own, in a schema of its own, and the look at it past the proxy. */
import { expect } from 'vitest'
import { PostgresBackend } from '../../src/backend/postgres/postgres.ts'
import { type Backend, collection, isUnderpinError, openStore, verifyDomain } from '../../src/index.ts'
import type { Change } from '../../src/model/change.ts'
import { eventChecksum } from '../../src/model/event.ts'
import { type Fence, vacantFence } from '../../src/model/fence.ts'
import type { Page } from '../../src/model/page.ts'
import type { Trial } from './judge.ts'
import { hasMark, type Operation } from './operation.ts'
import { type Fault, FaultProxy } from './proxy.ts'

export type FollowerPage = Page<Change, number>

/** What an operation is called through. */
export type Doors = Awaited<ReturnType<typeof openDoors>>

const collections = {
  plain: {},
  unique: collection<{ mail: string }>({
    fields: { mail: 'string' },
    indexes: { mail: { fields: ['mail'], unique: true } },
  }),
}

async function openDoors(raw: Backend, deadlineMs: number) {
  const store = await openStore(raw, {
    domains: { app: { collections }, still: { collections: { plain: {} } } },
    deadlineMs,
  })
  return {
    store,
    app: store.domain('app'),
    still: store.domain('still'),
    backend: store.backends.get('main') as Backend,
  }
}

/** A deadline that is not reached, and for faults that last, one that is. */
const deadlines = { cut: 20_000, delay: 20_000, slice: 20_000, late: 1_000, blackhole: 250 } as const

/** A caller's deadline is looked at four times within it. */
const limitOf = (deadlineMs: number) => deadlineMs * 1.25 + 500

/** More than the groups that go under the lock after writers met. */
const mostTouches = 40

export class Site {
  readonly proxy: FaultProxy
  readonly patient: Doors
  readonly #direct: PostgresBackend
  readonly #doors: Readonly<Record<Fault['kind'], Doors>>

  private constructor(proxy: FaultProxy, direct: PostgresBackend, doors: Record<Fault['kind'], Doors>) {
    this.proxy = proxy
    this.patient = doors.cut
    this.#direct = direct
    this.#doors = doors
  }

  static async open(url: string, schema: string): Promise<Site> {
    const proxy = await FaultProxy.start(url)
    const raw = new PostgresBackend(proxy.url, { schema, poolSize: 3 })
    const patient = await openDoors(raw, deadlines.cut)
    const late = await openDoors(raw, deadlines.late)
    const blackhole = await openDoors(raw, deadlines.blackhole)
    const direct = new PostgresBackend(url, { schema, poolSize: 1 })
    await direct.open()
    const fence = { ...vacantFence, epoch: 1, incarnation: schema }
    await raw.transition('copy', vacantFence, { ...fence, role: 'prepared' })
    await raw.transition('turn', vacantFence, { ...fence, role: 'authority' })
    await fillStill(patient)
    return new Site(proxy, direct, { cut: patient, delay: patient, slice: patient, late, blackhole })
  }

  /** Does an operation while a fault strikes, and looks at what there is when the fault is over. */
  async try(operation: Operation, fault: Fault, place: string): Promise<Trial> {
    const { domain, width } = operation
    const mark = `${operation.name}, ${place}`
    await this.#warm(operation, mark)
    const prepared = await operation.prepare?.(this, mark)
    const before = await this.#direct.fence(domain)
    this.proxy.arm(fault)
    const since = performance.now()
    const { told, answer } = await tell(() => operation.run(this.#doors[fault.kind], mark, prepared))
    const ms = performance.now() - since
    const { hasStruck, isDelivered } = this.proxy
    await this.proxy.settle()
    const left = width === 0 ? nothing : await this.#look(domain, mark, before)
    const isRight = typeof answer === 'boolean' ? answer : isSame(answer, left.positions, domain)
    return {
      operation: operation.name,
      isRead: width === 0,
      place,
      hasStruck,
      isDelivered,
      told,
      isRight,
      ms,
      limitMs: limitOf(deadlines[fault.kind]),
      width,
      taken: left.taken,
      found: left.found,
    }
  }

  /** What a write left, when all that it started is over. */
  async #look(domain: Operation['domain'], mark: string, before: Fence) {
    await this.#touch(domain)
    const after = await this.#direct.fence(domain)
    if (domain === 'turn')
      return { taken: after.epoch - before.epoch, found: after.epoch - before.epoch, positions: [] }
    const { items } = await this.#direct.changes(domain, before.head, 100)
    const positions = items.filter((item) => hasMark(item, mark)).map(({ position }) => position)
    return { taken: after.head - before.head, found: positions.length, positions }
  }

  /** One event more for the follower. */
  async nextPage(mark: string): Promise<FollowerPage> {
    const head = (await this.#direct.fence('copy')).head + 1
    const event = {
      kind: 'event' as const,
      stream: 's',
      seq: head,
      type: 't',
      data: JSON.stringify(mark) as never,
      meta: null,
      at: 1,
      position: head,
      commit: head,
      checksum: '',
    }
    const items = [{ ...event, checksum: eventChecksum(event) }]
    return { items, next: head, epoch: 1, role: 'authority', head }
  }

  /** What is not sound in any domain: checksums, digests, seqs with gaps. */
  async faults(): Promise<readonly string[]> {
    const faults: string[] = []
    for (const domain of ['app', 'still', 'copy', 'turn']) {
      if (!(await verifyDomain(this.#direct, domain)).isSound) faults.push(`${domain} is not sound`)
      const seqs = new Map<string, number>()
      const { items } = await this.#direct.changes(domain, 0, 1_000_000)
      for (const item of items) {
        if (item.kind !== 'event') continue
        if (item.seq !== (seqs.get(item.stream) ?? 0) + 1) faults.push(`${domain} ${item.stream} ${item.seq}`)
        seqs.set(item.stream, item.seq)
      }
    }
    return faults
  }

  async close(): Promise<void> {
    await Promise.all([this.patient.store.close(), this.#direct.close()])
    await this.proxy.close()
  }

  /** Brings the operation to the way that it goes on a quiet day, with its statements prepared. */
  async #warm(operation: Operation, mark: string): Promise<void> {
    for (let touch = 0; operation.isGuarded && touch < mostTouches; touch++) {
      this.proxy.arm()
      await this.#touch(operation.domain)
      if (this.proxy.requests === 1) break
    }
    const warmMark = `${mark}-warm`
    await operation.run(this.patient, warmMark, await operation.prepare?.(this, warmMark))
  }

  /** A write of nothing: comes after all that the store has under way in the domain. */
  async #touch(domain: Operation['domain']): Promise<void> {
    const { backend } = this.patient
    if (domain === 'app') await backend.commit('app', 1, [{ at: 1, writes: [], checks: [] }])
    if (domain === 'copy') await this.#touchCopy()
    if (domain !== 'turn') return
    const fence = await this.#direct.fence('turn')
    expect(await backend.transition('turn', { ...fence, incarnation: 'nobody' }, fence)).toBe(false)
  }

  /** A page that ends before what came meanwhile is refused; then once more, from there. */
  async #touchCopy(): Promise<void> {
    const { head } = await this.#direct.fence('copy')
    const page: FollowerPage = { items: [], next: head, epoch: 1, role: 'authority', head }
    await this.patient.backend.apply('copy', 1, page).catch((error: unknown) => {
      if (!isUnderpinError(error, 'invalid')) throw error
      return this.#touchCopy()
    })
  }
}

/** As little as is needed for answers with records, each byte of which is tried. */
async function fillStill({ still }: Doors): Promise<void> {
  await still.log.append('s', { type: 't', data: 1 })
  await still.documents('plain').put('a', 1)
}

const nothing = { taken: 0, found: 0, positions: [] }

async function tell<T>(run: () => Promise<T>): Promise<{ told: string; answer?: T }> {
  try {
    return { told: 'done', answer: await run() }
  } catch (error) {
    return { told: isUnderpinError(error) ? error.code : String(error) }
  }
}

/** Whether the positions that the caller was told are those that the records have. */
function isSame(told: readonly number[] | undefined, found: readonly number[], domain: string): boolean {
  return told === undefined || domain === 'turn' || told.every((position) => found.includes(position))
}
