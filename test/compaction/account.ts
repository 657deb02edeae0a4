/** The domain that compaction is tested on, and a child process that compacts it and dies where it is told to. */
import { type Archive, events, type Fold, openStore } from '../../src/index.ts'

export interface Moved {
  readonly type: 'moved'
  readonly data: { readonly by: number }
}

export interface Account {
  readonly balance: number
  readonly moves: number
}

export const domains = { bank: { events: events<Moved>() } }

export const account: Fold<Account, Moved> = {
  name: 'account',
  version: 1,
  seed: { balance: 0, moves: 0 },
  step: ({ balance, moves }, { data }) => ({
    balance: (balance * 31 + data.by) % 1_000_003,
    moves: moves + 1,
  }),
}

export const moved = (by: number): Moved => ({ type: 'moved', data: { by } })

/** The state after so many events, the n-th of which moved n. */
export function accountAfter(count: number): Account {
  let state = account.seed
  for (let by = 1; by <= count; by++)
    state = account.step(state, { stream: '', type: 'moved', data: { by }, meta: undefined, at: 0 })
  return state
}

export const open = (url: string) => openStore(url, { domains })

/** What is wrong with a stream of `count` events, wherever its compaction ended; its first seq if nothing is. */
export async function examine(url: string, archive: Archive, stream: string, count: number) {
  await using store = await open(url)
  const bank = store.domain('bank')
  const { state, seq } = await bank.state(account, stream)
  const whole: number[] = []
  for await (const { data } of bank.history(stream, archive)) whole.push(data.by)
  const [first] = await bank.log
    .read(stream, { backwards: true, limit: count })
    .then(({ events }) => events.toReversed())
    .catch(async (error: { details: { first: number } }) => {
      const { events } = await bank.log.read(stream, { after: error.details.first - 1 })
      return events
    })
  const wrong: string[] = []
  if (seq !== count) wrong.push(`the state is at seq ${seq}`)
  if (JSON.stringify(state) !== JSON.stringify(accountAfter(count))) wrong.push('the state is another')
  if (whole.length !== count || whole.some((by, i) => by !== i + 1))
    wrong.push(`the history has ${whole.length} events of ${count}, or others`)
  return { wrong, first: first?.seq ?? 0 }
}
