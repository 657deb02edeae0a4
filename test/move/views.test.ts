/** Views that an application made on the tables of a copy. */
import pg from 'pg'
import { expect, it } from 'vitest'
import { openStore } from '../../src/index.ts'
import { type PlaceKind, placeKinds } from '../places.ts'

it('views of an application do not stand in the way of a copy that is made anew', async ({ skip }) => {
  const [{ missing, make }] = placeKinds.filter(({ name }) => name === 'postgres') as [PlaceKind]
  skip(missing !== '', missing)
  const url = new URL(make().url as string)
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
