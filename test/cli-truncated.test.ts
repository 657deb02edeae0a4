import { writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { archiveFolder, type Fold, openStore } from '../src/index.ts'
import { Cli } from './cli-process.ts'

const cli = new Cli()
afterAll(() => cli.remove())

const count: Fold<number> = { name: 'count', version: 1, seed: 0, step: (n) => n + 1 }

describe('the command line on a domain with a truncated stream', () => {
  it('verifies it, shows it, tells where it begins, and lets no import take it for whole', {
    timeout: 60_000,
  }, async () => {
    const url = `sqlite:${cli.path('shop.db')}`
    await using store = await openStore(url, { domains: { shop: {} } })
    const shop = store.domain('shop')
    await shop.log.append(
      'a',
      Array.from({ length: 20 }, (_, n) => ({ type: 't', data: { n } })),
    )
    await shop.log.append('b', { type: 't', data: {} })
    const archive = archiveFolder(cli.path('archives'))
    const compacted = await shop.compact('a', count, { archive, keep: 5 })
    const flags = ['-s', url, '-d', 'shop']

    expect(cli.run(['verify', ...flags, '--no-progress']).code).toBe(0)
    expect(cli.run(['doctor', ...flags]).out).toContain('1 stream truncated')

    const read = cli.envelope(['read', 'a', ...flags])
    expect(read.error).toMatchObject({
      code: 'truncated',
      details: { first: 16, archive: compacted.archive },
    })
    expect(cli.envelope(['read', 'a', '--from', '16', ...flags]).data).toMatchObject({ count: 5 })

    const exported = cli.run(['export', 'shop.ndjson', ...flags, '--no-progress'])
    expect([exported.code, exported.err + exported.out]).toEqual([
      0,
      expect.stringContaining('no import takes'),
    ])
    const other = cli.store('other')
    const imported = cli.envelope(['import', 'shop.ndjson', ...other, '--create', '--no-progress'])
    expect(imported.error).toMatchObject({ code: 'unsupported' })
    const headless = cli
      .run(['export', '-', ...flags, '--no-progress'])
      .out.split('\n')
      .slice(1)
    writeFileSync(cli.path('headless.ndjson'), headless.join('\n'))
    const second = cli.envelope(['import', 'headless.ndjson', ...cli.store('o'), '--create', '--no-progress'])
    expect(second.error).toMatchObject({ code: 'unsupported' })

    const archived = cli.store('archived')
    const path = `archives/${compacted.archive}`
    expect(cli.run(['import', path, ...archived, '--create', '--no-progress']).code).toBe(0)
    expect(cli.envelope(['read', 'a', ...archived]).data).toMatchObject({ count: 15 })
  })
})
