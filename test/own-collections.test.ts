import { expect, it } from 'vitest'
import { memory } from '../src/backend/memory.ts'
import { defineJobs, job, openStore } from '../src/index.ts'
import { DurableMap, openStoreSync } from '../src/sync.ts'

const domains = { app: {} } as const

it('applications read what facets keep, and cannot write it', async () => {
  const backend = memory()
  const store = await openStore(backend, { domains })
  const app = store.domain('app')
  await app.prepare()
  const { id } = await app.jobs(defineJobs({ mail: job<null>() })).enqueue('mail', null)
  for (const n of [1, 2, 3]) await app.log.append('s', { type: 'counted', data: n })

  expect(await app.documents('$jobs').get(id)).toMatchObject({ value: { state: 'waiting' } })
  const refused = { code: 'invalid', details: { collection: expect.stringMatching(/^\$/) } }
  await expect(app.documents('$jobs').delete(id)).rejects.toMatchObject(refused)
  await expect(app.documents('$jobs').update(id, (value) => value)).rejects.toMatchObject(refused)
  await expect(app.documents('$truncated').put('s', { before: 3 })).rejects.toMatchObject(refused)
  await expect(app.transaction((tx) => tx.put('$truncated', 's', { before: 3 }))).rejects.toMatchObject(
    refused,
  )
  await expect(app.transaction((tx) => tx.delete('$jobs', id))).rejects.toMatchObject(refused)

  const sync = openStoreSync(backend, { domains }).domain('app')
  const code = (call: () => unknown) => {
    try {
      return call()
    } catch (error) {
      return (error as { code?: unknown }).code
    }
  }
  expect(code(() => sync.documents('$jobs').put(id, {}))).toBe('invalid')
  expect(code(() => sync.documents('$jobs').delete(id))).toBe('invalid')
  expect(code(() => sync.transaction((tx) => tx.put('$jobs', id, {})))).toBe('invalid')
  expect(code(() => sync.transaction((tx) => tx.delete('$jobs', id)))).toBe('invalid')
  expect(code(() => new DurableMap(sync, '$jobs'))).toBe('invalid')

  expect((await app.log.read('s')).events).toHaveLength(3)
  expect(await app.documents('$jobs').get(id)).toBeDefined()
})
