import { writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { Cli, json } from './cli-process.ts'

const cli = new Cli()
afterAll(() => cli.remove())

const library = new URL('../dist/index.js', import.meta.url).href
writeFileSync(
  cli.path('domains.mjs'),
  `import { becomes, defineEvents, event, retired, typed } from ${JSON.stringify(library)}
const positive = { '~standard': { version: 1, vendor: 'test', validate: async (value) =>
  value.cents > 0 ? { value } : { issues: [{ message: 'must be positive', path: ['cents'] }] } } }
export const domains = {
  orders: { events: defineEvents({
    placed: event({ schema: positive, version: 2, upcast: { 1: ({ amount }) => ({ cents: amount.valueOf() * 100 }) } }),
    noted: retired({ 1: () => becomes() }),
  }) },
  chat: {},
}`,
)
writeFileSync(cli.path('domains.json'), '{"orders":{}}')

function filled(...lines: readonly object[]): string[] {
  const store = cli.store('orders')
  writeFileSync(cli.path('lines.ndjson'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  expect(cli.run(['import', 'lines.ndjson', ...store, '--create']).code).toBe(0)
  return [...store]
}

const fine = [
  { stream: 'a', type: 'placed', data: { amount: 1 } },
  { stream: 'a', type: 'placed', data: { cents: 5 }, meta: { $version: 2 } },
  { stream: 'a', type: 'noted', data: 'x' },
]
const check = ['schema', 'check', '--domains', 'domains.mjs']

describe('underpin schema check', () => {
  it('counts stored events by type and version, and ends with 0 when all can be read', () => {
    const { code, out } = cli.run([...check, ...filled(...fine)])
    expect(out).toMatch(
      /orders {2}placed {2}1 +1 +0\norders {2}placed {2}2 +1 +0\norders {2}noted {3}1 +1 +0/,
    )
    expect(out).toContain('3 events, 0 do not fit.')
    expect(code).toBe(0)
  })

  it('names what cannot be read, and ends with 4', () => {
    const store = filled(
      ...fine,
      { stream: 'b', type: 'placed', data: {} },
      { stream: 'b', type: 'placed', data: { amount: -1 } },
      { stream: 'b', type: 'placed', data: { cents: 1 }, meta: { $version: 3 } },
      { stream: 'b', type: 'gone', data: 1 },
    )
    const { code, out } = cli.run([...check, ...store, '--json'])
    expect(code).toBe(4)
    const records = json(out)
    expect(
      records.slice(0, -1).map(({ stream, seq, position, code }) => [stream, seq, position, code]),
    ).toEqual([
      ['b', 1, 5, 'invalid'],
      ['b', 2, 6, 'invalid'],
      ['b', 3, 7, 'unsupported'],
      ['b', 4, 8, 'unsupported'],
    ])
    expect(records[0].message).toContain('the upcaster of "placed" from version 1 threw')
    expect(records[1].message).toContain('cents: must be positive')
    expect(records.at(-1)).toMatchObject({ ok: false, data: { events: 7, failed: 4 } })
    const few = cli.run([...check, ...store, '--failures', '1'])
    expect(few.out.match(/^orders: /gm)).toHaveLength(1)
    expect(few.out).toContain('7 events, 4 do not fit.')
  })

  it('refuses modules without definitions, and stores without the domain', () => {
    const store = filled(...fine)
    for (const flags of [
      ['--domains', 'domains.json', ...store],
      ['--domains', 'domains.mjs', ...store.slice(0, 2), '-d', 'chat'],
    ])
      expect(cli.run(['schema', 'check', ...flags])).toMatchObject({
        code: 2,
        err: expect.stringContaining('whose events are defined'),
      })
    expect(cli.run(['schema', 'check', ...store]).code).toBe(2)
    expect(cli.run([...check, '-s', 'sqlite:./none.db']).code).toBe(6)
    const other = cli.store('other')
    cli.run(['append', 's', ...other, '--create', '--type', 't', '--data', '1'])
    expect(cli.run([...check, ...other.slice(0, 2), '-d', 'orders'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('no domain "orders"'),
    })
  })
})
