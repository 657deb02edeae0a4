import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { openStore, type Store, systemClock } from '../../src/index.ts'
import { presentProcesses, processesWithout } from '../../src/move/presence.ts'
import { type Place, placeKinds } from '../places.ts'

const domains = { app: {} } as const

// What is in memory cannot be opened by another store.
describe.each(placeKinds.filter(({ name }) => name !== 'memory'))(
  'presence on $name',
  ({ make, missing }) => {
    const stores: Store<typeof domains>[] = []
    let place: Place
    beforeEach(({ skip }) => {
      skip(missing !== '', missing)
      place = make()
    })
    afterEach(async () => {
      for (const store of stores.splice(0)) await store.close()
    })

    async function open(name: string, hasTarget: boolean, everyMs = 5_000): Promise<Store<typeof domains>> {
      const backends = hasTarget ? { old: place.url as string, new: 'memory:' } : { old: place.url as string }
      const store = await openStore(backends, { domains, presence: { name, everyMs } })
      stores.push(store)
      return store
    }

    const seen = (store: Store<typeof domains>) =>
      presentProcesses({
        domain: 'app',
        source: store.backends.get('old') as Backend,
        clock: systemClock,
      })

    it('tells who is there, and leaves when the store is closed', async () => {
      const first = await open('api-1', false)
      const second = await open('api-2', false)
      const processes = await seen(first)
      expect(processes.map(({ name }) => name).sort()).toEqual(['api-1', 'api-2'])
      expect(processes[0]).toMatchObject({ pid: process.pid, host: expect.any(String) })
      await second.close()
      expect((await seen(first)).map(({ name }) => name)).toEqual(['api-1'])
    })

    it('tells who cannot reach the copy that a move goes to', async () => {
      const able = await open('able', true, 100)
      await open('unable', false, 100)
      const move = await able.move('app', { to: 'new' })
      await move.start()
      const { incarnation } = await (able.backends.get('new') as Backend).fence('app')
      const lacking = async () => processesWithout(await seen(able), incarnation).map(({ name }) => name)
      await expect.poll(lacking).toEqual(['unable'])
    })

    it('ends for those who give no sign of life, and what they left is removed', async () => {
      const dead = await open('dead', false, 20)
      const store = await open('alive', false)
      // As when the process is killed: the backend is gone, and with it every way to take leave.
      await (dead.backends.get('old') as Backend).close()
      await expect.poll(async () => (await seen(store)).map(({ name }) => name)).toEqual(['alive'])
      await open('next', false)
      const { documents } = await store
        .domain('app')
        .documents('$processes' as never)
        .list()
      expect(documents).toHaveLength(2)
    })

    it('is not given by those who did not ask for it', async () => {
      const store = await openStore({ old: place.url as string }, { domains })
      stores.push(store)
      expect(await seen(store)).toEqual([])
    })
  },
)
