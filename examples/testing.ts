/**
 * The testing kit: a decider and a projection without a store, then the application on a store that fails on purpose.
 * Run: `npm run build && npx tsx examples/testing.ts`.
 */
import { strict as assert } from 'node:assert'
import { isUnderpinError, openStore } from 'underpin'
import { type Decider, faultyMemory, given } from 'underpin/testing'

type AccountEvent = { type: 'opened'; data: { limit: number } } | { type: 'spent'; data: { amount: number } }

const account: Decider<number, { spend: number }, AccountEvent> = {
  seed: 0,
  step: (left, event) => (event.type === 'opened' ? event.data.limit : left - event.data.amount),
  decide(left, { spend }) {
    if (spend > left) throw new RangeError(`Only ${left} left`)
    return { type: 'spent', data: { amount: spend } }
  },
}

// Given what happened, when a command comes, then these events follow, or this error.
const opened = { type: 'opened', data: { limit: 10 } } as const
const spent = (amount: number) => ({ type: 'spent', data: { amount } }) as const
given<AccountEvent>([opened, spent(3)])
  .when(account, { spend: 7 })
  .then(spent(7))
given<AccountEvent>([opened, spent(3)])
  .when(account, { spend: 8 })
  .thenFails('Only 7 left')

// A projection is given events and leads to a state.
const payments = {
  seed: 0,
  step: (count: number, { type }: { type: string }) => count + Number(type === 'spent'),
}
given<AccountEvent>([opened, spent(3), spent(4)])
  .project(payments)
  .then(2)

// The application on a store that conflicts, waits, fails and forgets to answer; the seed repeats it.
const backend = faultyMemory({ seed: 42, conflicts: 0.2, unavailable: 0.2, unknown: 0.2, delays: 0.3 })
backend.isQuiet = true
const store = await openStore(backend, { domains: { accounts: { collections: { balances: {} } } } })
const accounts = store.domain('accounts')
backend.isQuiet = false

async function earn(id: string): Promise<void> {
  for (;;) {
    try {
      await accounts.transaction(
        async (tx) => {
          const balance = await tx.get('balances', 'ada')
          tx.put('balances', 'ada', Number(balance?.value ?? 0) + 1)
        },
        { id },
      )
      return
    } catch (error) {
      // With an id, the same call may be made again: it is applied once.
      if (!isUnderpinError(error, 'unknown') && !isUnderpinError(error, 'unavailable')) throw error
    }
  }
}
for (let n = 0; n < 50; n++) await earn(`salary-${n}`)

backend.isQuiet = true
console.log(backend.injected)
assert.equal((await accounts.documents('balances').get('ada'))?.value, 50)
await store.close()
