/** What the processes of the projection tests share: a ledger that two projections sum up. */
import { events, openStore, projection } from '../../src/index.ts'

export type Booked = { type: 'booked'; data: { account: string; n: number } }

export const sums = (name: string, version = 1) =>
  projection<{ sum: number; count: number }, Booked>({
    name,
    version,
    seed: { sum: 0, count: 0 },
    key: ({ data }) => ['all', data.account],
    step: ({ sum, count }, { data }) => ({ sum: sum + data.n * version, count: count + 1 }),
  })

export const inline = sums('inline')
export const later = sums('later')

export const openLedger = (url: string) =>
  openStore(url, {
    domains: { ledger: { events: events<Booked>(), projections: { inline: [inline] } } },
    deadlineMs: 20_000,
  })
