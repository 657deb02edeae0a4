/** A COMMIT that gets no answer: the network keeps quiet and closes nothing, so that the client has to give it up. */
import { beforeEach, describe, expect, inject, it } from 'vitest'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { collection, openStore, verifyDomain } from '../src/index.ts'
import { FaultProxy } from './fault/proxy.ts'
import { openScratch } from './server/scratch.ts'

const server = inject('postgres')
const url = 'url' in server ? server.url : ''
beforeEach(({ skip }) => skip('reason' in server, 'reason' in server ? server.reason : ''))

const people = collection<{ mail: string }>({
  fields: { mail: 'string' },
  indexes: { mail: { fields: ['mail'], unique: true } },
})
const domains = { app: { collections: { people } } }
const ann = { mail: 'ann@example.org' }
const event = { type: 't', data: 1 }

const hastyMs = 3_000
/** A caller's deadline is looked at ten times within it; two cores may be busy. */
const hastyLimitMs = hastyMs * 1.1 + 2_000
/** Longer than the answer to a COMMIT, and to the ROLLBACK behind it, is waited for. */
const patientMs = 40_000

/** Two stores of one process, with less and with more time, behind a network that can be silenced. */
async function openPlace() {
  const scratch = await openScratch(url)
  const proxy = await FaultProxy.start(url)
  const backend = postgres(proxy.url, { schema: scratch.schema })
  const hasty = await openStore(backend, { domains, deadlineMs: hastyMs })
  const patient = await openStore(backend, { domains, deadlineMs: patientMs })
  return {
    ...{ proxy, backend, hasty: hasty.domain('app'), patient: patient.domain('app') },
    async [Symbol.asyncDispose]() {
      await Promise.all([hasty.close(), patient.close()])
      await proxy.close()
      await scratch[Symbol.asyncDispose]()
    },
  }
}

type App = Awaited<ReturnType<typeof openPlace>>['hasty']

/** How the COMMIT goes to the server. A unique key takes a transaction, and a handler runs before its end. */
const puts = {
  'behind the write': (app: App, handler = () => {}) =>
    app.transaction((tx) => {
      tx.put('people', 'ann', ann)
      tx.tables(handler)
    }),
  'together with the write': (app: App) => app.documents('people').put('ann', ann),
}

// Side by side, because each waits for the client to give up.
describe.concurrent('a COMMIT that gets no answer', { timeout: 60_000 }, () => {
  it.each([
    ['behind the write', 'lost'],
    ['behind the write', 'carried out'],
    ['together with the write', 'lost'],
    ['together with the write', 'carried out'],
  ] as const)('sent %s and %s, is unknown within the deadline, and the domain goes on', async (way, fate) => {
    await using place = await openPlace()
    const { proxy, backend, hasty, patient } = place
    const begun = proxy.silence('COMMIT', { isLost: fate === 'lost' })
    const since = performance.now()
    await expect(puts[way](hasty)).rejects.toMatchObject({ code: 'unknown' })
    expect(performance.now() - since).toBeLessThan(hastyLimitMs)
    await begun
    expect((await patient.log.append('s', event)).seqs).toEqual([1])
    expect((await hasty.log.append('s', event)).seqs).toEqual([2])
    const found = await hasty.documents('people').get('ann')
    expect(found?.value).toEqual(fate === 'lost' ? undefined : ann)
    expect(await verifyDomain(backend, 'app')).toMatchObject({ isSound: true })
  })

  it('and was carried out, is found out for a caller who has the time, and happens once', async () => {
    await using place = await openPlace()
    const { proxy, patient } = place
    let runs = 0
    const begun = proxy.silence('COMMIT', { isLost: false })
    const { positions } = await puts['behind the write'](patient, () => void runs++)
    await begun
    const { items } = await patient.changes()
    const ofAnn = items.filter((item) => item.kind === 'document' && item.id === 'ann')
    expect([ofAnn.map(({ position }) => position), runs]).toEqual([positions, 1])
  })
})
