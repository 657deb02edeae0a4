/** Schedules in which a writer was once told something untrue on PostgreSQL. */
import { once } from 'node:events'
import pg from 'pg'
import { describe, expect, it } from 'vitest'
import { isRefusal } from '../src/backend/postgres/error.ts'
import { postgres } from '../src/backend/postgres/postgres.ts'
import { append } from '../src/conformance/harness.ts'
import { openStore, verifyDomain } from '../src/index.ts'
import { vacantFence } from '../src/model/fence.ts'
import { scratchForEach } from './server/scratch.ts'

const scratch = scratchForEach()
const { url } = scratch

const open = (deadlineMs = 10_000) =>
  openStore(`${url}?schema=${scratch.schema}`, { domains: { app: {} }, deadlineMs })
const own = async (value: string) => {
  await scratch.admin.query(`CREATE TABLE "${scratch.schema}".mine (x text PRIMARY KEY)`)
  await scratch.admin.query(`INSERT INTO "${scratch.schema}".mine VALUES ($1)`, [value])
}

describe('a table handler', () => {
  it('that leaves a failing statement behind undoes the commit, and nobody is told that it was made', async () => {
    await using store = await open()
    await using other = await open()
    const app = store.domain('app')
    await own('there')
    let left: Promise<void> | undefined
    const told = app.transaction((tx) => {
      tx.append('s', { type: 't', data: 1 })
      tx.tables<pg.PoolClient>((client) => {
        // Not awaited: the second is sent behind the handler, and fails.
        const second = client
          .query(`INSERT INTO "${scratch.schema}".mine VALUES ('new')`)
          .then(() => client.query(`INSERT INTO "${scratch.schema}".mine VALUES ('there')`))
        left = expect(second).rejects.toMatchObject({ code: '23505' })
      })
    })
    await expect(told).rejects.toMatchObject({ code: 'invalid' })
    await left
    await other.domain('app').log.append('elsewhere', { type: 't', data: 1 })
    expect((await app.log.append('s', { type: 't', data: 2 })).seqs).toEqual([1])
    const [backend] = store.backends.values()
    expect((await verifyDomain(backend as never, 'app')).isSound).toBe(true)
  })

  it('that commits by itself is told that the outcome is unknown', async () => {
    await using store = await open()
    const told = store.domain('app').transaction((tx) => {
      tx.append('s', { type: 't', data: 1 })
      tx.tables<pg.PoolClient>(async (client) => {
        await client.query('COMMIT')
      })
    })
    await expect(told).rejects.toMatchObject({ code: 'unknown' })
  })
})

describe('a commit within a transaction', () => {
  it.each(['aborted', 'beyond its deadline'])(
    'that is %s sends nothing more, whatever becomes of the transaction',
    async (how) => {
      await using store = await open(how === 'aborted' ? 10_000 : 600)
      const app = store.domain('app')
      await app.log.append('s', { type: 't', data: 'first' })
      await scratch.admin.query('BEGIN')
      await scratch.admin.query(`SELECT 1 FROM "${scratch.schema}".underpin_fences FOR UPDATE`)
      const client = new pg.Client(url)
      await client.connect()
      await client.query('BEGIN')
      const signal = how === 'aborted' ? AbortSignal.timeout(200) : undefined
      const options = signal === undefined ? {} : { signal }
      const told = app.within(client).log.append('s', { type: 't', data: 'late' }, options)
      await expect(told).rejects.toMatchObject({ code: 'unknown' })
      // It waits behind the statement that waits for the lock; what comes behind it is in no transaction.
      const ended = client.query('ROLLBACK')
      await scratch.admin.query('COMMIT')
      await ended
      await client.query('SELECT 1')
      await client.end()
      expect(await app.log.seq('s')).toBe(1)
    },
  )

  it('that cannot be taken back tells why it failed, by its code, and why it is not taken back', async () => {
    await using store = await open()
    const [client, holder] = [new pg.Client(url), new pg.Client(url)]
    for (const each of [client, holder]) {
      await each.connect()
      await each.query('BEGIN')
    }
    const lost = once(client, 'error')
    await holder.query(`SELECT 1 FROM "${scratch.schema}".underpin_fences FOR UPDATE`)
    const told = store.domain('app').within(client).log.append('s', { type: 't', data: 1 })
    const refused = expect(told).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('; taking it back failed too: '),
      cause: { errors: [{ code: '57P01' }, expect.any(Error)] },
    })
    await endedAsItWaits(client)
    await refused
    expect(await lost).toEqual([expect.any(Error)])
    await holder.end()
  })

  it('whose handler rolls back by itself and then fails tells both', async () => {
    await using store = await open()
    const client = new pg.Client(url)
    await client.connect()
    await client.query('BEGIN')
    const held = store.domain('app').within(client)
    const told = held.transaction((tx) => {
      tx.append('s', { type: 't', data: 1 })
      tx.tables<pg.Client>(async (given) => {
        await given.query('ROLLBACK')
        throw Object.assign(new Error('changed my mind'), { code: 'MINE' })
      })
    })
    await expect(told).rejects.toMatchObject({
      code: 'MINE',
      message: expect.stringMatching(/^changed my mind; taking it back failed too: ./),
      errors: [{ code: 'MINE' }, { code: '25P01' }],
    })
    await client.end()
  })

  /** Ends a session once it waits for a lock. */
  async function endedAsItWaits(client: pg.Client): Promise<void> {
    const { processID } = client as unknown as { processID: number }
    const waiting = `SELECT FROM pg_stat_activity WHERE pid = ${processID} AND wait_event_type = 'Lock'`
    await expect.poll(async () => (await scratch.admin.query(waiting)).rowCount).toBe(1)
    await scratch.admin.query(`SELECT pg_terminate_backend(${processID})`)
  }
})

describe('a domain', () => {
  it('that was made anew elsewhere, up to the same head, takes nothing planned on what it was', async () => {
    const [a, b] = [postgres(url, { schema: scratch.schema }), postgres(url, { schema: scratch.schema })]
    await a.open()
    await b.open()
    const commit = (stream: string) => [{ at: 1, checks: [], writes: [append(stream)] }]
    const authority = (incarnation: string) =>
      ({ ...vacantFence, role: 'authority', epoch: 1, incarnation }) as const
    await a.transition('d', vacantFence, authority('one'))
    for (let i = 0; i < 3; i++) await a.commit('d', 1, commit('s'))
    await b.transition('d', await b.fence('d'), vacantFence)
    await b.transition('d', await b.fence('d'), authority('two'))
    for (let i = 0; i < 3; i++) await b.commit('d', 1, commit('other'))
    expect(await a.commit('d', 1, commit('s'))).toMatchObject([{ kind: 'committed', seqs: [1] }])
    expect((await verifyDomain(b, 'd')).isSound).toBe(true)
    await a.close()
    await b.close()
  })

  it('tells the commits of a part that was written so, when a later part fails in any way', async () => {
    const backend = postgres(url, { schema: scratch.schema })
    await backend.open()
    await backend.transition('d', vacantFence, {
      ...vacantFence,
      role: 'authority',
      epoch: 1,
      incarnation: 'one',
    })
    await scratch.admin.query(
      `CREATE FUNCTION "${scratch.schema}".boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.stream = 'bad' THEN RAISE EXCEPTION 'boom' USING ERRCODE = 'P0001'; END IF; RETURN NEW; END $$`,
    )
    await scratch.admin.query(
      `CREATE TRIGGER boom BEFORE INSERT ON "${scratch.schema}".d__events FOR EACH ROW EXECUTE FUNCTION "${scratch.schema}".boom()`,
    )
    const told = await backend.commit('d', 1, [
      { at: 1, checks: [], writes: [append('good')], tables: () => {} },
      { at: 1, checks: [], writes: [append('bad')] },
    ])
    expect(told).toMatchObject([{ kind: 'committed' }, { kind: 'refused' }])
    await backend.close()
  })
})

describe('an error of the server', () => {
  it('that may have come behind the point of no return is no refusal', () => {
    const error = (code: string) => Object.assign(new Error(code), { code, severity: 'PANIC' })
    for (const code of ['53100', '58030', 'XX000', '57P01', '25P03', '08006'])
      expect([code, isRefusal(error(code))]).toEqual([code, false])
    for (const code of ['23505', '40001', '40P01', '55P03', '42501'])
      expect([code, isRefusal(error(code))]).toEqual([code, true])
  })
})
