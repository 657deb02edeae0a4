import { beforeEach, describe, expect, expectTypeOf, it } from 'vitest'
import { z } from 'zod'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import {
  type Becomes,
  becomes,
  defineEvents,
  type EventTypes,
  event,
  events,
  type NewEvent,
  openStore,
  retired,
  type Schema,
  type StoredEvent,
  storedEvents,
  typed,
} from '../src/index.ts'
import { DurableArray, openStoreSync } from '../src/sync.ts'
import { placeKinds } from './places.ts'

/** The application in three releases: what was written by the first is read by the last. */
const first = defineEvents({
  placed: event<{ amount: number }>(),
  payed: event<{ by: string }>(),
  noted: event<string>(),
})
const second = defineEvents({
  placed: event({
    schema: typed<{ cents: number }>(),
    version: 2,
    upcast: { 1: (old: { amount: number }) => ({ cents: old.amount * 100 }) },
  }),
  payed: event<{ by: string }>(),
  noted: event<string>(),
})
const third = defineEvents({
  placed: event({
    schema: z.object({ cents: z.number().int(), currency: z.string() }),
    version: 3,
    upcast: {
      1: (old: { amount: number }) => ({ cents: old.amount * 100 }),
      2: (old: { cents: number }) => ({ ...old, currency: 'EUR' }),
    },
  }),
  paid: event<{ by: string }>(),
  closed: event<null>(),
  payed: retired({
    1: (old: { by: string }) => becomes({ type: 'paid', data: old }, { type: 'closed', data: null }),
  }),
  noted: retired({ 1: (_: string) => becomes() }),
})

const brief = (events: readonly StoredEvent[]) => events.map(({ seq, type, data }) => [seq, type, data])

describe.each(placeKinds)('event definitions on $name', ({ make, missing }) => {
  beforeEach(({ skip }) => skip(missing !== '', missing))

  it('bring what every earlier release wrote up to date, in every way of reading', async () => {
    const place = make()
    const one = (await place.open({ d: { events: first } })).domain('d')
    await one.log.append('s', [
      { type: 'placed', data: { amount: 1 } },
      { type: 'noted', data: 'nothing' },
      { type: 'payed', data: { by: 'ada' }, meta: { why: 'due' } },
    ])
    const two = (await place.open({ d: { events: second } })).domain('d')
    await two.log.append('s', { type: 'placed', data: { cents: 250 }, meta: { by: 'x' } })
    const three = (await place.open({ d: { events: third } })).domain('d')
    await three.log.append('s', { type: 'placed', data: { cents: 3, currency: 'NOK' } })

    const expected = [
      [1, 'placed', { cents: 100, currency: 'EUR' }],
      [3, 'paid', { by: 'ada' }],
      [3, 'closed', null],
      [4, 'placed', { cents: 250, currency: 'EUR' }],
      [5, 'placed', { cents: 3, currency: 'NOK' }],
    ]
    const { events } = await three.log.read('s')
    expect(brief(events)).toEqual(expected)
    expect(events.map(({ meta }) => meta)).toEqual([
      undefined,
      { why: 'due' },
      { why: 'due' },
      { by: 'x' },
      undefined,
    ])
    expect(brief((await three.log.read('s', { backwards: true })).events)).toEqual(expected.toReversed())
    expect(await three.log.seq('s')).toBe(5)
    const streamed = []
    for await (const event of three.log.events('s')) streamed.push(event)
    expect(brief(streamed)).toEqual(expected)
    const fed = (await three.changes()).items.flatMap((item) => (item.kind === 'event' ? [item] : []))
    expect(brief(fed)).toEqual(expected)
    const followed = []
    for await (const item of three.follow()) {
      if (item.kind === 'event') followed.push(item)
      if (followed.length === expected.length) break
    }
    expect(brief(followed)).toEqual(expected)
  })

  it('let a transaction depend on a stream whose events became more or fewer', async () => {
    const place = make()
    const one = (await place.open({ d: { events: first } })).domain('d')
    await one.log.append('s', [
      { type: 'noted', data: 'a' },
      { type: 'noted', data: 'b' },
    ])
    const three = (await place.open({ d: { events: third } })).domain('d')
    const { seqs } = await three.transaction(async (tx) => {
      expect(await tx.read('s')).toEqual([])
      tx.append('s', { type: 'closed', data: null })
    })
    expect(seqs).toEqual([3])
  })

  it('count stored events for a limit', async () => {
    const place = make()
    const one = (await place.open({ d: { events: first } })).domain('d')
    await one.log.append('s', [
      { type: 'noted', data: 'a' },
      { type: 'payed', data: { by: 'b' } },
      { type: 'payed', data: { by: 'c' } },
    ])
    const three = (await place.open({ d: { events: third } })).domain('d')
    const page = await three.log.read('s', { limit: 2 })
    expect(page.events.map(({ type }) => type)).toEqual(['paid', 'closed'])
    expect((await three.log.read('s', page.next)).events.map(({ seq }) => seq)).toEqual([3, 3])
    const types = []
    for await (const { type } of three.log.events('s', { limit: 2 })) types.push(type)
    expect(types).toEqual(['paid', 'closed'])
  })

  it('write nothing of a group in which one event does not fit', async () => {
    const { domain } = await make()
      .open({ d: { events: third } })
      .then((store) => ({ domain: store.domain('d') }))
    const misfit = { type: 'placed', data: { cents: 1.5, currency: 'EUR' } } as const
    await expect(domain.log.append('s', [{ type: 'closed', data: null }, misfit])).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/"placed".*cents/),
    })
    await expect(domain.log.append('s', { type: 'nope', data: 1 } as never)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/"nope".*"placed", "paid", "closed"/),
    })
    await expect(domain.log.append('s', { type: 'payed', data: {} } as never)).rejects.toMatchObject({
      code: 'invalid',
    })
    await expect(domain.transaction((tx) => tx.append('s', misfit))).rejects.toMatchObject({
      code: 'invalid',
    })
    expect(await domain.head()).toBe(0)
  })
})

describe('event definitions', () => {
  let backend: Backend
  beforeEach(() => {
    backend = memory()
  })
  const open = async <E extends Parameters<typeof openStore>[1]['domains'][string]['events']>(events: E) =>
    (await openStore(backend, { domains: { d: { events: events as NonNullable<E> } } })).domain('d')

  it('keep the version in the meta, nothing of it for version 1, and hide it', async () => {
    await (await open(first)).log.append('s', { type: 'placed', data: { amount: 1 }, meta: { a: 1 } })
    const two = await open(second)
    await two.log.append('s', { type: 'placed', data: { cents: 1 }, meta: { a: 1 } })
    await two.log.append('s', { type: 'placed', data: { cents: 1 } })
    const stored = (await backend.read('d', 's', { after: 0, before: 9, backwards: false, limit: 9 })).items
    expect(stored.map(({ meta }) => meta)).toEqual(['{"a":1}', '{"$version":2,"a":1}', '{"$version":2}'])
    expect((await two.log.read('s')).events.map(({ meta }) => meta)).toEqual([{ a: 1 }, { a: 1 }, undefined])
  })

  it('refuse reserved keys in the meta, with definitions and without', async () => {
    const reserved = { type: 'placed', data: { amount: 1 }, meta: { $version: 7 } }
    for (const domain of [await open(first), await open(events())])
      await expect(domain.log.append('s', reserved as never)).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringContaining('$version'),
      })
    const tool = await open({ codec: storedEvents })
    await tool.log.append('s', reserved)
    expect((await tool.log.read('s')).events[0]?.meta).toEqual({ $version: 7 })
  })

  it('name a type or a version that they do not know', async () => {
    await (await open(second)).log.append('s', { type: 'placed', data: { cents: 1 } })
    await expect((await open(first)).log.read('s')).rejects.toMatchObject({
      code: 'unsupported',
      message:
        'Event 1 of stream "s" (position 1) is "placed" in version "2", and version 1 is the newest that is defined',
      details: { stream: 's', seq: 1, position: 1, type: 'placed', version: 2 },
    })
    const other = await open(defineEvents({ shipped: event<null>() }))
    await expect(other.changes()).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/"placed" is in Event 1 of stream "s".*defined are "shipped"/),
    })
  })

  it('name the event and the step of an upcaster that fails', async () => {
    await (await open(first)).log.append('s', { type: 'noted', data: 'x' })
    const bad: Record<string, (old: string) => unknown> = {
      'threw: no luck': () => {
        throw new Error('no luck')
      },
      'returned undefined': () => undefined,
      'returned a promise': () => Promise.reject(new Error('late')),
      'gave no other events': (old) => old,
      'no end is in sight': (old) => becomes({ type: 'noted', data: old, version: 1 }),
    }
    for (const [why, upcaster] of Object.entries(bad)) {
      const domain = await open(defineEvents({ noted: retired({ 1: upcaster as () => Becomes<never> }) }))
      await expect(domain.log.read('s')).rejects.toMatchObject({
        code: 'invalid',
        message: expect.stringMatching(
          new RegExp(`^Event 1 of stream "s" \\(position 1\\).*version \\d .*${why}`),
        ),
        details: { stream: 's', seq: 1, type: 'noted' },
      })
    }
  })

  it('let an upcaster name the version of what it makes, which is then upcast further', async () => {
    await (await open(first)).log.append('s', { type: 'noted', data: '7' })
    const domain = await open(
      defineEvents({
        counted: event({
          schema: typed<{ n: number }>(),
          version: 2,
          upcast: { 1: (old: string) => ({ n: Number(old) }) },
        }),
        noted: retired({ 1: (old: string) => becomes({ type: 'counted', data: old, version: 1 }) }),
      }),
    )
    expect(brief((await domain.log.read('s')).events)).toEqual([[1, 'counted', { n: 7 }]])
  })

  it('leave streams of Underpin’s own as they are', async () => {
    await (await open(events())).log.append('$exports/a', { type: 'requested', data: 1 })
    const domain = await open(first)
    expect(brief((await domain.log.read('$exports/a')).events)).toEqual([[1, 'requested', 1]])
    expect(brief((await domain.changes()).items as never)).toEqual([[1, 'requested', 1]])
  })

  it('refuse a schema that validates asynchronously', async () => {
    const validate = () => Promise.reject(new Error('late'))
    const schema: Schema<string> = { '~standard': { version: 1, vendor: 'test', validate } }
    const domain = await open(defineEvents({ a: event({ schema }) }))
    await expect(domain.log.append('s', { type: 'a', data: 'x' })).rejects.toMatchObject({
      code: 'unsupported',
      message: 'The data of event "a" has a schema that validates asynchronously',
    })
    expect(await domain.head()).toBe(0)
  })

  it('hold for synchronous code too, and refuse a list in their domain', async () => {
    const store = openStoreSync(backend, { domains: { d: { events: first } } })
    store.domain('d').log.append('s', { type: 'payed', data: { by: 'ada' } })
    const domain = openStoreSync(backend, { domains: { d: { events: third } } }).domain('d')
    expect(brief([...domain.log.events('s')])).toEqual([
      [1, 'paid', { by: 'ada' }],
      [1, 'closed', null],
    ])
    expect(domain.changes().items).toHaveLength(2)
    expect(() => domain.transaction((tx) => tx.append('s', { type: 'nope' } as never))).toThrow('"nope"')
    expect(() => new DurableArray(domain, 'list')).toThrow('its events')
  })

  it('are refused when they contradict themselves', () => {
    expect(() => event({ version: 0 })).toThrow(TypeError)
    expect(() => event({ version: 3, upcast: { 2: (old: number) => old } })).toThrow('upcaster for version 1')
    expect(() => event({ version: 1, upcast: { 1: (old: number) => old } })).toThrow('upcaster for version 1')
  })

  it('give the types of events, and take no upcaster whose result does not fit', () => {
    type Third = typeof third extends EventTypes<infer E extends NewEvent> ? E : never
    expectTypeOf<Third['type']>().toEqualTypeOf<'placed' | 'paid' | 'closed'>()
    type Placed = Extract<Third, { type: 'placed' }>['data']
    expectTypeOf<Placed>().toEqualTypeOf<{ cents: number; currency: string }>()
    const schema = typed<{ cents: number }>()
    // @ts-expect-error: the last upcaster gives no { cents }.
    event({ schema, version: 2, upcast: { 1: (old: { a: number }) => ({ b: old.a }) } })
    // @ts-expect-error: the first gives what the second does not take.
    event({ schema, version: 3, upcast: { 1: (_: 1) => 'text', 2: (old: number) => ({ cents: old }) } })
    // @ts-expect-error: it becomes an event that is not defined.
    defineEvents({ a: event<1>(), b: retired({ 1: (_: string) => becomes({ type: 'c', data: 1 }) }) })
    // @ts-expect-error: it becomes an event with other data than is defined.
    defineEvents({ a: event<1>(), b: retired({ 1: (_: string) => becomes({ type: 'a', data: 2 }) }) })
    // @ts-expect-error: a retired type must become others.
    retired({ 1: (old: string) => old })
    defineEvents({ a: event<1[]>(), b: retired({ 1: (_: string) => becomes({ type: 'a', data: [1, 1] }) }) })
  })
})
