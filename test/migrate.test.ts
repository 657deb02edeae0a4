import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import pg from 'pg'
import { afterAll, afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { grantPostgres } from '../src/backend/postgres/postgres.ts'
import { connect } from '../src/backend/sqlite/driver.ts'
import { type Backend, type DomainOptions, idempotencyToken, openStore, verifyDomain } from '../src/index.ts'
import { Cli } from './cli-process.ts'

const cli = new Cli()
afterAll(() => cli.remove())

const domains = {
  orders: {
    collections: {
      users: { fields: { city: 'string' }, indexes: { by_city: { fields: ['city'] } } },
      carts: {},
    },
  },
  chat: {},
} as const satisfies Record<string, DomainOptions>

writeFileSync(cli.path('domains.json'), JSON.stringify(domains))
writeFileSync(cli.path('named.mjs'), `export const domains = ${JSON.stringify(domains)}`)
writeFileSync(cli.path('default.mjs'), `export default ${JSON.stringify(domains)}`)
writeFileSync(
  cli.path('common.cjs'),
  `const domains = ${JSON.stringify(domains)}\nmodule.exports = { domains }`,
)
writeFileSync(
  cli.path('compiled.cjs'),
  `Object.defineProperty(exports, '__esModule', { value: true })\nexports.default = ${JSON.stringify(domains)}`,
)

describe('underpin migrate', () => {
  it.each(['domains.json', 'named.mjs', 'default.mjs', 'common.cjs', 'compiled.cjs'])(
    'makes a store with the domains and collections of %s, once',
    (module) => {
      const store = cli.store('chat,extra')
      const first = cli.run(['migrate', ...store, '--domains', module])
      expect(first).toMatchObject({ code: 0, err: '' })
      expect(first.out.split('\n').slice(0, -1).sort()).toEqual([
        'applied 001-fences.sql',
        'created domain chat',
        'created domain extra',
        'created domain orders',
        'declared collection carts of orders',
        'declared collection users of orders',
      ])
      expect(cli.envelope(['info', ...store.slice(0, 2)]).data.domains).toMatchObject([
        { name: 'chat', head: 0, collections: [] },
        { name: 'extra', head: 0 },
        { name: 'orders', head: 2, collections: ['carts', 'users'] },
      ])
      expect(cli.run(['migrate', ...store, '--domains', module])).toEqual({
        code: 0,
        out: 'Nothing to do: all is current.\n',
        err: '',
      })
    },
  )

  it('says with --dry-run what it would do, with exit code 3, and does nothing', () => {
    const [s, url] = cli.store('none')
    const dry = (...flags: string[]) => cli.run(['migrate', s, url, '--dry-run', ...flags])
    expect(dry('--domains', 'domains.json')).toMatchObject({
      code: 3,
      out: expect.stringMatching(/would make .*\nwould create domain orders\nwould declare collection carts/),
    })
    expect(existsSync(cli.path(url.replace('sqlite:./', '')))).toBe(false)
    cli.run(['migrate', s, url, '--domains', 'domains.json'])
    expect(dry('--domains', 'domains.json')).toMatchObject({ code: 0 })
    const more = { orders: { collections: { users: { fields: { age: 'number' } }, notes: {} } } }
    writeFileSync(cli.path('more.json'), JSON.stringify(more))
    const { data } = cli.envelope(['migrate', s, url, '--dry-run', '--domains', 'more.json'])
    expect(data).toMatchObject({
      isDryRun: true,
      pending: [],
      steps: [
        {
          domain: 'orders',
          isNew: false,
          collections: [
            { name: 'notes', isNew: true },
            { name: 'users', isNew: false },
          ],
        },
      ],
    })
    expect(cli.envelope(['info', s, url]).data.domains[1].collections).toEqual(['carts', 'users'])
  })

  it('names the migrations that are pending', () => {
    const [s, url] = cli.store('none')
    cli.run(['migrate', s, url])
    const connection = connect(cli.path(url.replace('sqlite:./', '')), false)
    connection.exec('DELETE FROM underpin_migrations')
    connection.close()
    expect(cli.run(['migrate', s, url, '--dry-run'])).toMatchObject({
      code: 3,
      out: expect.stringContaining('would apply 001-fences.sql'),
    })
  })

  it('makes nothing when a declaration, the module or a name is wrong', () => {
    const [s, url] = cli.store('none')
    writeFileSync(
      cli.path('wrong.json'),
      '{"a":{},"b":{"collections":{"c":{"indexes":{"i":{"fields":["n"]}}}}}}',
    )
    writeFileSync(cli.path('number.mjs'), 'export default 42')
    for (const flags of [
      ['--domains', 'wrong.json'],
      ['--domains', 'number.mjs'],
      ['--domains', 'not-there.mjs'],
      ['--domains', 'not-there.json'],
      ['-d', 'Not A Name'],
    ])
      expect(cli.run(['migrate', s, url, ...flags]).code).toBe(2)
    expect(cli.run(['migrate', s, url, '--grant', 'app'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('unsupported'),
    })
    expect(existsSync(cli.path(url.replace('sqlite:./', '')))).toBe(false)
  })

  it('refuses a field of another type before it makes any of the domains', () => {
    const [s, url] = cli.store('none')
    cli.run(['migrate', s, url, '--domains', 'domains.json'])
    const other = { first: {}, orders: { collections: { users: { fields: { city: 'number' } } } } }
    writeFileSync(cli.path('other.json'), JSON.stringify(other))
    for (const flags of [[], ['--dry-run']])
      expect(cli.run(['migrate', s, url, '--domains', 'other.json', ...flags])).toMatchObject({ code: 5 })
    expect(cli.envelope(['info', s, url]).data.domains).toHaveLength(2)
  })

  it('leaves out domains that are placed on another backend, and says so', () => {
    const [s, url] = cli.store('none')
    writeFileSync(cli.path('placed.json'), '{"here":{},"there":{"backend":"second"}}')
    const migrate = (...flags: string[]) =>
      cli.envelope(['migrate', s, url, '--domains', 'placed.json', ...flags])
    const first = migrate()
    expect(first.data.steps.map((step: { domain: string }) => step.domain)).toEqual(['here'])
    expect(first.warnings).toEqual([expect.stringContaining('--backend second')])
    const second = migrate('--backend', 'second')
    expect(second.data.steps.map((step: { domain: string }) => step.domain)).toEqual(['there'])
  })
})

const server = inject('postgres')
const missing = 'reason' in server ? server.reason : undefined
const admin = 'url' in server ? server.url : ''

describe('on PostgreSQL', () => {
  let client: pg.Client
  let schema: string
  let role: string

  beforeEach(async ({ skip }) => {
    skip(missing !== undefined, missing)
    const id = randomBytes(4).toString('hex')
    // Names that only quotes make names.
    schema = `migrate ${id} "Größe"`
    role = `App "${id}"`
    client = new pg.Client(admin)
    await client.connect()
    await client.query(`CREATE ROLE ${quote(role)} LOGIN PASSWORD 'secret'`)
  })
  afterEach(async () => {
    if (client === undefined) return
    await client.query(`DROP SCHEMA IF EXISTS ${quote(schema)} CASCADE`)
    await client.query(`DROP OWNED BY ${quote(role)}`)
    await client.query(`DROP ROLE ${quote(role)}`)
    await client.end()
  })

  const at = (user?: string) => {
    const url = new URL(admin)
    url.searchParams.set('schema', schema)
    if (user !== undefined) {
      url.username = encodeURIComponent(user)
      url.password = 'secret'
    }
    return url.href
  }
  const migrate = (...flags: string[]) => cli.run(['migrate', '-s', at(), ...flags])

  it('a role without CREATE appends, puts, scans, follows and verifies after underpin migrate', async () => {
    expect(migrate('--domains', 'domains.json', '--dry-run', '--grant', role)).toMatchObject({ code: 3 })
    await expectNothing()
    const { code, out, err } = migrate('--domains', 'domains.json', '--grant', role)
    expect([code, err]).toEqual([0, ''])
    expect(out).toMatch(/granted to App ".*" what running needs: schema migrate .*, \d+ tables/)
    const store = await openStore(at(role), { domains })
    const orders = store.domain('orders')
    await orders.log.append('o-1', { type: 'placed', data: { total: 42 } }, { id: 'once' })
    const users = orders.documents('users')
    for (const id of ['ada', 'bob']) await users.put(id, { city: 'Oslo' })
    await users.delete('bob')
    await orders.transaction(async (tx) => {
      tx.append('o-1', { type: 'paid', data: {} })
      tx.put('carts', 'c', { n: 1 })
    })
    expect((await users.list({ index: 'by_city', equals: ['Oslo'] })).documents.map(({ id }) => id)).toEqual([
      'ada',
    ])
    const seen = []
    for await (const { position } of orders.follow({ signal: AbortSignal.timeout(20_000) })) {
      seen.push(position)
      if (position === (await orders.head())) break
    }
    expect(seen.length).toBeGreaterThan(4)
    const [backend] = store.backends.values()
    expect(await verifyDomain(backend as Backend, 'orders')).toMatchObject({ isSound: true })
    await store.close()
    expect(cli.run(['verify', '-s', at(role)]).code).toBe(0)
    expect(cli.run(['doctor', '-s', at(role)]).code).toBe(0)
  })

  it('a role without CREATE takes locks and does work once after underpin migrate --facets, and not without it', async () => {
    migrate('--domains', 'domains.json', '--grant', role)
    const store = await openStore(at(role), { domains })
    const orders = store.domain('orders')
    const useFacets = () =>
      orders.withLock('k', ({ domain }) =>
        domain.once(idempotencyToken('o', 'k'), 1, (tx) => tx.append('o-1', { type: 'placed', data: 1 })),
      )
    await expect(useFacets()).rejects.toMatchObject({
      code: 'unsupported',
      hint: expect.stringContaining('underpin migrate'),
    })
    const dry = migrate('--domains', 'domains.json', '--facets', '--dry-run')
    expect(dry).toMatchObject({
      code: 3,
      out: expect.stringContaining('would declare collection $leases of orders'),
    })
    expect(migrate('--domains', 'domains.json', '--facets')).toMatchObject({
      code: 0,
      out: expect.stringContaining('declared collection $once of chat'),
    })
    expect(migrate('--domains', 'domains.json', '--facets', '--dry-run')).toMatchObject({ code: 0 })
    expect(await useFacets()).toMatchObject({ isReplay: false })
    await store.close()
    const again = await openStore(at(role), { domains })
    expect(await again.domain('orders').once(idempotencyToken('o', 'k'), 1, () => 0)).toMatchObject({
      isReplay: true,
    })
    await again.close()
  })

  it.each([
    ['a new domain', { ...domains, extra: {} }],
    ['a new collection', { ...domains, chat: { collections: { rooms: {} } } }],
    ['a new field', { orders: { collections: { users: { fields: { age: 'number' } } } } }],
  ] as const)(
    'such a role is refused %s, told of underpin migrate, and nothing is written',
    async (_, wanted) => {
      migrate('--domains', 'domains.json', '--grant', role)
      const before = cli.envelope(['info', '-s', at()]).data.domains
      await expect(openStore(at(role), { domains: wanted as never })).rejects.toMatchObject({
        code: 'unsupported',
        hint: expect.stringContaining('underpin migrate'),
      })
      expect(cli.envelope(['info', '-s', at()]).data.domains).toEqual(before)
      const { rows } = await client.query(
        `SELECT count(*)::int AS n FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relname ~ 'rooms|extra'`,
        [quote(schema)],
      )
      expect(rows[0].n).toBe(0)
    },
  )

  it('such a role is refused a schema that is not there, or that it may not see', async () => {
    const open = () => openStore(at(role), { domains: {} })
    const refusal = { code: 'unsupported', hint: expect.stringContaining('underpin migrate') }
    await expect(open()).rejects.toMatchObject(refusal)
    await expectNothing()
    migrate('-d', 'chat')
    await expect(open()).rejects.toMatchObject(refusal)
    expect(cli.run(['migrate', '-s', at(role), '-d', 'chat'])).toMatchObject({ code: 1 })
  })

  it('what is granted covers later domains, and neither migrations nor tables of others', async () => {
    migrate('--grant', role)
    await client.query(`CREATE TABLE ${quote(schema)}.foreign_table (n int)`)
    migrate('-d', 'later')
    await client.query(`REVOKE ALL ON ${quote(schema)}.foreign_table FROM ${quote(role)}`)
    const { tables } = await grantPostgres(at(), role)
    expect(tables).toContain('later__events')
    expect(tables).not.toContain('foreign_table')
    const store = await openStore(at(role), { domains: { later: {} } })
    await store.domain('later').log.append('s', { type: 't', data: 1 })
    await store.close()
    const may = async (table: string, right: string) => {
      const { rows } = await client.query('SELECT has_table_privilege($1, $2, $3) AS may', [
        role,
        `${quote(schema)}.${table}`,
        right,
      ])
      return rows[0].may
    }
    expect(await may('underpin_migrations', 'SELECT')).toBe(true)
    expect(await may('foreign_table', 'SELECT')).toBe(false)
    for (const right of ['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'])
      expect(await may('underpin_migrations', right)).toBe(false)
    for (const right of ['TRUNCATE', 'REFERENCES', 'TRIGGER'])
      expect(await may('later__events', right)).toBe(false)
  })

  it('a role that the server does not have is named before anything is made, with exit code 2', async () => {
    expect(migrate('--domains', 'domains.json', '--grant', 'nobody; DROP SCHEMA public')).toMatchObject({
      code: 2,
      err: expect.stringContaining('no role'),
    })
    await expectNothing()
  })

  it('a role that may not grant is told so, instead of that it was done', async () => {
    migrate('--domains', 'domains.json', '--grant', role)
    await client.query(`CREATE ROLE ${quote(`${role}2`)}`)
    await expect(grantPostgres(at(role), `${role}2`)).rejects.toMatchObject({ code: 'unsupported' })
    await client.query(`DROP ROLE ${quote(`${role}2`)}`)
  })

  it('a role that may create tables in its own schema, but no schemas, migrates it', async () => {
    await client.query(`CREATE SCHEMA ${quote(schema)} AUTHORIZATION ${quote(role)}`)
    const store = await openStore(at(role), { domains })
    expect(await store.domain('chat').head()).toBe(0)
    await store.close()
  })

  it('commands that only look make no schema', async () => {
    for (const command of ['info', 'verify', 'tail'])
      expect(cli.run([command, '-s', at()])).toMatchObject({ code: 6 })
    expect(cli.run(['doctor', '-s', at()])).toMatchObject({
      code: 1,
      out: expect.stringContaining('FAILURE'),
    })
    await expectNothing()
    cli.run(['migrate', '-s', at()])
    await client.query(`DELETE FROM ${quote(schema)}.underpin_migrations`)
    await client.query(`INSERT INTO ${quote(schema)}.underpin_migrations VALUES (1, 'other', 'other')`)
    expect(cli.run(['doctor', '-s', at()])).toMatchObject({ code: 1 })
  })

  async function expectNothing(): Promise<void> {
    const { rows } = await client.query('SELECT to_regnamespace($1) AS found', [quote(schema)])
    expect(rows[0].found).toBeNull()
  }
})

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
