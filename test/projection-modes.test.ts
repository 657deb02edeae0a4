/** One projection over random histories: inline, asynchronous, live and replayed give the same, byte for byte. */
import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { events, fold, projection } from '../src/index.ts'
import { type Place, placeKinds } from './places.ts'
import { append as appendProof } from './proof.ts'

type Moved = { type: 'moved'; data: { from: string; to: string; n: number } }
type Closed = { type: 'closed'; data: { account: string } }
type Event = Moved | Closed

interface Account {
  balance: number
  last: string
  log: number[]
}

const of = (name: string) =>
  projection<Account, Event>({
    name,
    version: 1,
    seed: { balance: 0, last: '', log: [] },
    key: ({ type, data }) => {
      if (type === 'closed') return data.account
      return data.n === 0 ? undefined : [data.from, data.to]
    },
    step(state, event, key) {
      if (event.type === 'closed') return undefined
      const { from, n } = event.data
      // Steps may change the state they are given: it is theirs.
      state.log.push(n)
      return { ...state, balance: state.balance + (key === from ? -n : n), last: event.stream }
    },
    fields: { balance: 'number' },
    indexes: { by_balance: { fields: ['balance'] } },
  })

const account = fc.constantFrom('a', 'b', 'ü/%', '__proto__', '𝒳')
const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('moved' as const),
      data: fc.record({ from: account, to: account, n: fc.integer({ min: 0, max: 9 }) }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('closed' as const), data: fc.record({ account }) }) },
)
/** Appends of one to three events each, several at once. */
const history = fc.array(
  fc.record({
    stream: fc.constantFrom('s', 't', 'u'),
    events: fc.array(event, { minLength: 1, maxLength: 3 }),
    wait: fc.boolean(),
  }),
  { minLength: 1, maxLength: 30 },
)

const seed = Number(process.env.UNDERPIN_SEED ?? Date.now() % 1_000_000)
const histories = Number(process.env.UNDERPIN_PROJECTION_HISTORIES ?? 8)

async function statesOf(documents: {
  list(): Promise<{ documents: readonly { id: string; value: unknown }[] }>
}) {
  const { documents: found } = await documents.list()
  return Object.fromEntries(found.map(({ id, value }) => [`k ${id}`, JSON.stringify(value)]))
}

const textsOf = (states: Map<string, unknown>) =>
  Object.fromEntries([...states].map(([key, state]) => [`k ${key}`, JSON.stringify(state)]))

describe.each(placeKinds)('a projection on $name', ({ name, make, missing }) => {
  let place: Place
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    place = make()
  })

  it('gives the same inline, asynchronously, live and replayed', async () => {
    const since = performance.now()
    let total = 0
    let run = 0
    await fc.assert(
      fc.asyncProperty(history, fc.integer({ min: 1, max: 7 }), async (appends, batch) => {
        const domain = `d${run++}`
        const [inline, later] = [of('inline'), of('later')]
        const open = () =>
          place.open(
            { [domain]: { events: events<Event>(), projections: { inline: [inline] } } },
            { deadlineMs: 20_000 },
          )
        const stores = [await open()]
        if (place.url !== undefined || name === 'memory') stores.push(await open())
        const domains = stores.map((store) => store.domain(domain))
        const first = domains[0] as (typeof domains)[0]
        const abort = new AbortController()
        const running = first.projection(later).run({ signal: abort.signal, batch })
        const live = await first.projection(inline).live({ signal: abort.signal })
        const under: Promise<unknown>[] = []
        for (const [i, { stream, events: given, wait }] of appends.entries()) {
          const domain = domains[i % domains.length] as typeof first
          under.push(domain.log.append(stream, given))
          total += given.length
          if (wait) await Promise.all(under)
        }
        await Promise.all(under)
        const head = await first.head()
        await first.projection(later).waitFor(head)
        await live.waitFor(head)
        const replayed = textsOf(await first.projection(inline).replay())
        expect(await statesOf(first.projection(inline))).toEqual(replayed)
        expect(await statesOf(first.projection(later))).toEqual(replayed)
        expect(
          Object.fromEntries([...live.keys()].map((key) => [`k ${key}`, JSON.stringify(live.get(key))])),
        ).toEqual(replayed)
        for (const each of [inline, later]) {
          const verified = await first.projection(each).verify()
          expect(verified).toMatchObject({ ok: true, differences: [], impurities: [] })
        }
        abort.abort()
        await running
        for (const store of stores) if (name !== 'memory') await store.close()
      }),
      { numRuns: histories, seed, endOnFailure: true },
    )
    const seconds = (performance.now() - since) / 1_000
    console.log(
      `${name}: ${run} histories, ${total} events, seed ${seed}: inline = asynchronous = live = replay, ${seconds.toFixed(1)} s`,
    )
    appendProof({
      promise: 'a projection is the same in every mode',
      backend: name,
      tried: run,
      failed: 0,
      unknown: 0,
      seed,
      seconds,
    })
  }, 60_000)
})

describe('fold', () => {
  it('needs no store', () => {
    const moved = (n: number) => ({
      stream: 's',
      type: 'moved' as const,
      data: { from: 'a', to: 'b', n },
      meta: undefined,
      at: 0,
    })
    expect(fold(of('x'), [moved(1), moved(0), moved(2)]).get('b')).toEqual({
      balance: 3,
      last: 's',
      log: [1, 2],
    })
  })
})
