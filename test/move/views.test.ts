/** Views that an application made on the tables of a copy. */
import pg from 'pg'
import { expect, it } from 'vitest'
import { openStore } from '../../src/index.ts'
import { placeKinds } from '../places.ts'

it('views of an application do not stand in the way of a copy that is made anew', async (context) => {
  const postgres = placeKinds.find(({ name }) => name === 'postgres')
  // Reason: places.ts says why this machine has no such server.
  context.skip(postgres?.missing !== '', postgres?.missing)
  const url = new URL(postgres?.make().url as string)
  const schema = url.searchParams.get('schema')
  const domains = { app: { collections: { docs: {} } } }
  const store = await openStore({ here: 'memory:', there: url.href }, { domains })
  url.searchParams.delete('schema')
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  try {
    await store.domain('app').documents('docs').put('a', 1)
    const move = await store.move('app', { to: 'there' })
    await move.start()
    await move.catchUp()
    await client.query(`CREATE VIEW ${schema}.mine AS SELECT id, data FROM ${schema}.app__d_docs`)
    expect((await client.query(`SELECT * FROM ${schema}.mine`)).rows).toEqual([{ id: 'a', data: '1' }])
    await move.cancel()
    await move.start()
    await move.catchUp()
    expect((await move.verify()).isEqual).toBe(true)
  } finally {
    await client.end()
    await store.close()
  }
})
