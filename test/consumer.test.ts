import { beforeEach, describe, expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { type EventCodec, plainEvents } from '../src/facet/event/codec.ts'
import { ForwardPort } from '../src/facet/forward-port.ts'
import { Leases, leaseCollections } from '../src/facet/lease.ts'
import type { Port } from '../src/facet/port.ts'
import {
  checkpointCollections,
  makeCheckpoints,
  readCheckpoints,
} from '../src/facet/subscription/checkpoint.ts'
import { type ConsumerOptions, consumeAlone } from '../src/facet/subscription/consumer.ts'
import { Pulse } from '../src/facet/subscription/pulse.ts'
import { Subscription } from '../src/facet/subscription/subscription.ts'
import { limits } from '../src/model/limit.ts'
import { encodeValue } from '../src/model/value.ts'
import { createDomain } from '../src/move/create.ts'
import { Route } from '../src/route.ts'
import { FakeClock, idle } from './fake-clock.ts'

const ttlMs = 900

describe('a consumer', () => {
  let port: Port
  let clock: FakeClock
  let stop: AbortController
  beforeEach(async () => {
    const backend = memory()
    await backend.open()
    clock = new FakeClock()
    stop = new AbortController()
    const route = new Route('app', [backend], { clock, limits, deadlineMs: 10_000 })
    await createDomain({ domain: 'app', candidates: [backend], on: backend, clock: route.clock })
    await route.declare(new Map([['things', { definition: { fields: {}, indexes: {} }, schema: undefined }]]))
    await route.ensure({ ...leaseCollections, ...checkpointCollections })
    port = route
    await makeCheckpoints(port, ['sum'], 0)
  })

  const put = (id: string) =>
    port.commit({
      at: 0,
      writes: [{ kind: 'put', collection: 'things', id, data: encodeValue(1), expiresAt: null }],
      checks: [],
    })
  const options = (take: ConsumerOptions['take'], holder = 'p'): ConsumerOptions => ({
    id: 'sum',
    leases: new Leases(port, holder),
    pulse: new Pulse(port, stop.signal),
    ttlMs,
    limit: 10,
    saveEveryMs: 100,
    take,
  })

  it('commits effect and checkpoint together, page by page, then as changes come', async () => {
    await put('a')
    const pages: number[] = []
    const consuming = consumeAlone(
      port,
      options(async (page, session) => {
        if (!page.items.some((change) => change.kind === 'document' && change.collection === 'things')) return
        pages.push(page.next)
        const write = {
          kind: 'append',
          stream: 'out',
          type: 'took',
          data: encodeValue(page.next),
          meta: null,
        } as const
        await session.save(page.next, { writes: [write] })
      }),
    )
    await idle()
    await put('b')
    await idle()
    expect(pages).toHaveLength(2)
    const [checkpoint] = await readCheckpoints(port, ['sum'])
    expect(checkpoint?.position).toBe(pages[1])
    stop.abort()
    await consuming
    expect(clock.timers).toBe(0)
  })

  it('gets the events of the codec: none or several of one, and parks what it cannot decode', async () => {
    const events: EventCodec = {
      types: undefined,
      encode: (event) => event,
      async examine() {},
      decode(event) {
        const [decoded] = plainEvents.decode(event)
        if (decoded === undefined || event.type === 'gone') return []
        if (event.type === 'unknown') throw new Error('unknown version 9')
        return event.type === 'two' ? [decoded, { ...decoded, type: 'second' }] : [decoded]
      },
    }
    const seen: unknown[] = []
    const subscription = new Subscription(new Decoding(port, events), {
      name: 'decoded',
      filter: { streams: 's' },
      handleBatch: (items) => seen.push(...items.map((item) => item.kind === 'event' && item.type)),
    })
    const types = ['one', 'gone', 'two', 'unknown', 'one']
    const writes = types.map(
      (type) => ({ kind: 'append', stream: 's', type, data: encodeValue(1), meta: null }) as const,
    )
    await port.commit({ at: 0, writes, checks: [] })
    const running = subscription.run({ signal: stop.signal })
    await idle()
    await idle()
    expect(seen).toEqual(['one', 'two', 'second', 'one'])
    expect(await subscription.parked()).toMatchObject([
      { change: { type: 'unknown', seq: 4 }, error: 'Error: unknown version 9', attempts: 1 },
    ])
    stop.abort()
    await running
    expect(clock.timers).toBe(0)
  })
})

class Decoding extends ForwardPort {
  readonly #events: EventCodec

  constructor(inner: Port, events: EventCodec) {
    super(inner)
    this.#events = events
  }

  override get events() {
    return this.#events
  }

  protected override around(inner: Port): Port {
    return new Decoding(inner, this.#events)
  }
}
