import { once } from 'node:events'
import { existsSync, readFileSync, truncateSync, watch, writeFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { openStore } from '../src/index.ts'
import { Cli, ended, json } from './cli-process.ts'

const cli = new Cli()
afterAll(() => cli.remove())

type Flags = readonly [string, string, string, string]

/** Lines of events over seven streams, numbered in their data. */
function eventLines(size: number, text = ''): string[] {
  return Array.from({ length: size }, (_, i) =>
    JSON.stringify({ stream: `s-${i % 7}`, type: 't', data: { i, text } }),
  )
}

/** A file of such lines, imported into a new store. */
function imported(name: string, size: number, text = ''): Flags {
  const store = cli.store('d')
  writeFileSync(cli.path(name), eventLines(size, text).join('\n'))
  expect(cli.run(['import', name, ...store, '--create', '--no-progress']).code).toBe(0)
  return store
}

/** The numbers of all events, stream by stream: as they were in the file, if nothing was lost, doubled or moved. */
async function expectAllEvents([, url, , name]: Flags, size: number): Promise<void> {
  await using store = await openStore(url.replace('./', `${cli.folder}/`), { domains: { [name]: {} } })
  const domain = store.domain(name)
  for (let stream = 0; stream < 7; stream++) {
    const found: number[] = []
    for await (const { data } of domain.log.events(`s-${stream}`)) found.push((data as { i: number }).i)
    const wanted = Array.from({ length: Math.ceil((size - stream) / 7) }, (_, n) => stream + n * 7)
    expect(found).toEqual(wanted)
  }
}

/** What an export says without what an import cannot keep: positions, times, and the checkpoint of the import. */
function contentOf(path: string): unknown[] {
  const bytes = readFileSync(cli.path(path))
  return json((path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString())
    .slice(1, -1)
    .filter(({ collection, id }) => collection !== 'underpin-imports' && id !== 'underpin-imports')
    .map(({ position: _p, commit: _c, at: _a, ...content }) => content)
}

describe('export and import', () => {
  it('carry events, documents, tombstones, metadata, expiry and indexes over, to the byte', async () => {
    const url = `sqlite:${cli.path('first.db')}`
    const users = {
      fields: { mail: 'string' },
      indexes: { by_mail: { fields: ['mail'], unique: true } },
    } as const
    await using store = await openStore(url, { domains: { orders: { collections: { users, plain: {} } } } })
    const orders = store.domain('orders')
    const odd = { 'é\u2028"\\': ['\u001b', 1e21, 0.1, -5, null, { __proto__x: {} }], 9: 1, 1: 2 }
    await orders.log.append('a b/*>', { type: 'odd', data: odd, meta: { by: 'ada' } }, { id: 'once' })
    await orders.documents('users').put('ada', { mail: 'a@b.c' }, { expiresAt: 4_000_000_000_000 })
    await orders.documents('plain').put('gone', 1)
    await orders.documents('plain').delete('gone')
    const from = ['-s', 'sqlite:./first.db', '-d', 'orders']
    const to = ['-s', 'sqlite:./second.db', '-d', 'copy']
    cli.run(['export', 'first.ndjson.gz', ...from])
    expect(cli.run(['import', 'first.ndjson.gz', ...to, '--create']).code).toBe(0)
    cli.run(['export', 'second.ndjson', ...to])
    const first = contentOf('first.ndjson.gz')
    expect(first).toHaveLength(6)
    // The records of commit ids stay behind.
    expect(contentOf('second.ndjson')).toEqual(first.filter((line) => !isCommitRecord(line)))
    expect(cli.run(['put', 'users', 'eve', ...to, '--data', '{"mail":"a@b.c"}']).code).toBe(5)
    expect(cli.run(['verify', ...to]).code).toBe(0)
  })

  it('begin with a header and end with the head and the digest of the domain', () => {
    const store = imported('few.ndjson', 10)
    expect(cli.envelope(['export', 'few.gz', ...store]).data).toMatchObject({ records: 12, head: 12 })
    const lines = json(gunzipSync(readFileSync(cli.path('few.gz'))).toString())
    const [{ digest }] = cli.envelope(['info', ...store]).data.domains
    expect(lines[0]).toMatchObject({ underpin: 1, kind: 'export', domain: 'd' })
    expect(lines.at(-1)).toEqual({ kind: 'end', domain: 'd', records: 12, head: 12, digest })
  })

  it('go through pipes, plain and packed', async () => {
    const store = imported('piped.ndjson', 3_000)
    const { out, err } = cli.run(['export', '-', ...store, '--json'])
    expect(json(out).at(-1)).toMatchObject({ kind: 'end', records: 3_002 })
    expect(json(err)[0]).toMatchObject({ ok: true })
    const to = cli.store('d')
    expect(cli.run(['import', '-', ...to, '--create'], gzipSync(out)).code).toBe(0)
    await expectAllEvents(to, 3_000)
  })
})

function isCommitRecord(line: unknown): boolean {
  return (line as { collection?: string }).collection === '$commits'
}

/** A store whose export takes a while: made once. */
const large = (() => {
  let made: Flags | undefined
  return () => (made ??= imported('large.ndjson', 20_000, 'x'.repeat(700)))
})()

describe('an export', () => {
  it('replaces a file only when that is confirmed', () => {
    const store = imported('small.ndjson', 3)
    writeFileSync(cli.path('there.ndjson'), 'mine')
    expect(cli.run(['export', 'there.ndjson', ...store]).code).toBe(2)
    expect(readFileSync(cli.path('there.ndjson'), 'utf8')).toBe('mine')
    expect(cli.run(['export', 'there.ndjson', ...store, '--yes']).code).toBe(0)
    expect(contentOf('there.ndjson')).toHaveLength(3)
  })

  it.each(['ndjson', 'ndjson.gz'])(
    'that was killed goes on where it was, in a file of type %s',
    async (type) => {
      const size = 30_000
      const store = imported(`of.${type}.lines`, size, 'x'.repeat(500))
      cli.run(['export', `whole.${type}`, ...store])
      const child = cli.start(['export', `half.${type}`, ...store])
      const end = ended(child)
      await appeared(`half.${type}.part.state`, 3)
      child.kill('SIGKILL')
      expect((await end).signal).toBe('SIGKILL')
      const state = JSON.parse(readFileSync(cli.path(`half.${type}.part.state`), 'utf8'))
      expect(state.records).toBeGreaterThan(0)
      expect(cli.run(['export', `half.${type}`, ...store]).code).toBe(2)
      expect(cli.run(['export', `half.${type}`, ...store, '--resume']).code).toBe(0)
      const text = (name: string) => {
        const bytes = readFileSync(cli.path(`${name}.${type}`))
        return type.endsWith('gz') ? gunzipSync(bytes) : bytes
      }
      expect(text('half').equals(text('whole'))).toBe(true)
      expect(existsSync(cli.path(`half.${type}.part`))).toBe(false)
    },
  )

  it('is not gone on with from another store', () => {
    const [first, second] = [imported('one.ndjson', 3), imported('two.ndjson', 3)]
    const state = { domain: 'd', incarnation: 'another', isGzip: false, position: 1, records: 1, bytes: 1 }
    writeFileSync(cli.path('mixed.ndjson.part'), '{')
    writeFileSync(cli.path('mixed.ndjson.part.state'), JSON.stringify(state))
    for (const store of [first, second])
      expect(cli.run(['export', 'mixed.ndjson', ...store, '--resume']).code).toBe(2)
  })

  it('is not gone on with when less of it is there than its state says', async () => {
    const store = large()
    const child = cli.start(['export', 'short.out', ...store])
    const end = ended(child)
    await appeared('short.out.part.state', 2)
    child.kill('SIGKILL')
    await end
    truncateSync(cli.path('short.out.part'), 10)
    expect(cli.run(['export', 'short.out', ...store, '--resume']).code).toBe(4)
    expect(existsSync(cli.path('short.out'))).toBe(false)
    expect(cli.run(['export', 'short.out', ...store, '--yes']).code).toBe(0)
  })

  it('that is interrupted says how to go on', async () => {
    const store = large()
    const child = cli.start(['export', 'long.out', ...store])
    const end = ended(child)
    await appeared('long.out.part.state', 1)
    child.kill('SIGINT')
    const { code, err } = await end
    expect(code).toBe(130)
    expect(err).toContain(`underpin export long.out ${store.join(' ')} --resume`)
    expect(cli.run(['export', 'long.out', ...store, '--resume']).code).toBe(0)
  })
})

describe('an import', () => {
  it('names the line that is wrong, writes nothing of its commit, and goes on when it is mended', async () => {
    const lines = eventLines(1_200)
    const store = cli.store('d')
    cli.run(['append', 'first', ...store, '--create', '--type', 't', '--data', '1'])
    const wrong: readonly (string | Buffer)[] = [
      '{"stream":"s"',
      '{"stream":"s"}',
      '{"stream":"","type":"t","data":1}',
      '{"stream":"s","type":"t","data":0.12345678901234567890}',
      '{"collection":"nope","id":"i","data":1}',
      Buffer.from([0x22, 0xff, 0x22]),
    ]
    for (const line of wrong) {
      const all = [...lines.slice(0, 1_100), line, ...lines.slice(1_101)]
      writeFileSync(
        cli.path('mended.ndjson'),
        Buffer.concat(all.map((one) => Buffer.concat([Buffer.from(one), newline]))),
      )
      const { code, err } = cli.run(['import', 'mended.ndjson', ...store])
      expect([code, err]).toEqual([2, expect.stringContaining('Line 1101: ')])
    }
    expect(cli.envelope(['info', ...store]).data.domains[0].head).toBe(1 + 1 + 2 * 501)
    writeFileSync(cli.path('mended.ndjson'), lines.join('\n'))
    const { data } = cli.envelope(['import', 'mended.ndjson', ...store])
    expect(data).toMatchObject({ skippedLines: 1_000, records: 200 })
    await expectAllEvents(store, 1_200)
  })

  it('takes documents of collections that it makes with --create, and names the line that breaks a unique index', () => {
    const store = cli.store('d')
    const definition = { fields: { n: 'number' }, indexes: { by_n: { fields: ['n'], unique: true } } }
    const lines = [
      { kind: 'document', collection: '$collections', id: 'c', value: definition },
      { collection: 'c', id: 'a', data: { n: 1 } },
      { collection: 'plain', id: 'p', value: 'text' },
      { collection: 'c', id: 'b', data: { n: 1 } },
    ]
    writeFileSync(cli.path('documents.ndjson'), lines.map((line) => JSON.stringify(line)).join('\n'))
    const { code, err } = cli.run(['import', 'documents.ndjson', ...store, '--create'])
    expect([code, err]).toEqual([5, expect.stringMatching(/Line 4: .*by_n/)])
    writeFileSync(
      cli.path('documents.ndjson'),
      lines
        .slice(0, 3)
        .map((line) => JSON.stringify(line))
        .join('\n'),
    )
    expect(cli.run(['import', 'documents.ndjson', ...store]).code).toBe(0)
    expect(cli.envelope(['get', 'plain', 'p', ...store]).data.value).toBe('text')
  })

  it('loses nothing and doubles nothing when it is killed and run again', async () => {
    const size = 40_000
    const store = cli.store('d')
    writeFileSync(cli.path('killed.ndjson'), eventLines(size).join('\n'))
    const args = ['import', 'killed.ndjson', ...store, '--create']
    for (const commits of [10, 40]) {
      const child = cli.start(args)
      const end = ended(child)
      await committed(store, commits * 500)
      child.kill('SIGKILL')
      expect((await end).signal).toBe('SIGKILL')
    }
    const { skippedLines, lines, records } = cli.envelope([...args, '--no-progress']).data
    expect(skippedLines).toBeGreaterThanOrEqual(15_000)
    expect([lines, skippedLines + records]).toEqual([size, size])
    await expectAllEvents(store, size)
    expect(cli.envelope([...args, '--no-progress']).data).toMatchObject({ records: 0, lines: size })
  })

  it('that is interrupted says how to go on', async () => {
    const store = cli.store('d')
    writeFileSync(cli.path('stopped.ndjson'), eventLines(40_000).join('\n'))
    const child = cli.start(['import', 'stopped.ndjson', ...store, '--create'])
    const end = ended(child)
    await committed(store, 5_000)
    child.kill('SIGINT')
    const { code, err } = await end
    expect(code).toBe(130)
    expect(err).toContain(`underpin import stopped.ndjson ${store.join(' ')} --create`)
    cli.run(['import', 'stopped.ndjson', ...store])
    await expectAllEvents(store, 40_000)
  })

  it('keeps its order and its checkpoint while others write to the domain', async () => {
    const size = 20_000
    const store = cli.store('d')
    writeFileSync(cli.path('shared.ndjson'), eventLines(size).join('\n'))
    cli.run(['append', 'other', ...store, '--create', '--type', 't', '--data', '1'])
    await using other = await openStore(store[1].replace('./', `${cli.folder}/`), { domains: { d: {} } })
    const child = cli.start(['import', 'shared.ndjson', ...store, '--no-progress'])
    const end = ended(child)
    let appended = 0
    for (let isOver = false; !isOver; appended++) {
      await other.domain('d').log.append('other', { type: 't', data: 1 })
      isOver = child.exitCode !== null
    }
    const { code, err } = await end
    // One that takes long says how far it is.
    expect({ code, err: err.replace(/^import .*\n/gm, '') }).toEqual({ code: 0, err: '' })
    expect(appended).toBeGreaterThan(10)
    await expectAllEvents(store, size)
  })

  it('refuses a second run of the same import beside it', async () => {
    const size = 40_000
    const store = cli.store('d')
    writeFileSync(cli.path('twice.ndjson'), eventLines(size).join('\n'))
    cli.run(['append', 'first', ...store, '--create', '--type', 't', '--data', '1'])
    const args = ['import', 'twice.ndjson', ...store, '--no-progress']
    const ends = await Promise.all([ended(cli.start(args)), ended(cli.start(args))])
    expect(ends.map(({ code }) => code).sort()).toEqual([0, 5])
    await expectAllEvents(store, size)
  })

  it('refuses another file under the name of an import', () => {
    const store = imported('name.ndjson', 10)
    writeFileSync(cli.path('name.ndjson'), eventLines(11, 'other').join('\n'))
    expect(cli.run(['import', 'name.ndjson', ...store])).toMatchObject({
      code: 5,
      err: expect.stringContaining('--name'),
    })
    writeFileSync(cli.path('name.ndjson'), eventLines(9).join('\n'))
    expect(cli.run(['import', 'name.ndjson', ...store]).code).toBe(5)
    expect(cli.envelope(['import', 'name.ndjson', ...store, '--name', 'another']).data.records).toBe(9)
  })

  it('of an export that is cut short fails with 4, and goes on behind it with the whole file', async () => {
    const store = imported('whole-of.ndjson', 2_000)
    cli.run(['export', 'copy.ndjson', ...store])
    cli.run(['export', 'copy.gz', ...store])
    const whole = readFileSync(cli.path('copy.ndjson'))
    const to = cli.store('d')
    writeFileSync(cli.path('copy.ndjson'), whole.subarray(0, whole.lastIndexOf('\n', whole.length / 2) + 1))
    expect(cli.run(['import', 'copy.ndjson', ...to, '--create']).code).toBe(4)
    writeFileSync(cli.path('copy.ndjson'), whole)
    expect(cli.run(['import', 'copy.ndjson', ...to]).code).toBe(0)
    await expectAllEvents(to, 2_000)
    const packed = readFileSync(cli.path('copy.gz'))
    writeFileSync(cli.path('cut.gz'), packed.subarray(0, packed.length / 2))
    expect(cli.run(['import', 'cut.gz', ...cli.store('d'), '--create']).code).toBe(4)
  })

  it('tells its progress as records among its output with --json', async () => {
    const child = cli.start(['import', '-', ...cli.store('d'), '--create', '--json'])
    const end = ended(child)
    let isTold = false
    for (const told of [once(child.stdout as Readable, 'data'), once(child, 'exit')])
      void told.then(() => (isTold = true))
    // However fast it is, there is more to come until it has told something.
    let written = 0
    for (; !isTold; written += 1_000) {
      child.stdin?.write(`${eventLines(1_000).join('\n')}\n`)
      await pause(20)
    }
    child.stdin?.end()
    const lines = json((await end).out)
    expect(lines.length).toBeGreaterThan(1)
    for (const line of lines.slice(0, -1)) {
      expect(line).toMatchObject({ kind: 'progress', verb: 'import' })
      expect(line.done).toBeLessThanOrEqual(written)
    }
    expect(lines.at(-1)).toMatchObject({ ok: true, data: { records: written } })
  })
})

const newline = Buffer.from('\n')

/** Resolves when a file has been replaced so many times in the folder of the tests. */
async function appeared(file: string, times: number): Promise<void> {
  const watcher = watch(cli.folder)
  for (let count = 0; count < times; ) {
    const [, name] = await once(watcher, 'change')
    if (name === file) count++
  }
  watcher.close()
}

/** Resolves when a process has brought the domain to this position. */
async function committed([, url, , name]: Flags, position: number): Promise<void> {
  const watcher = watch(cli.folder)
  while (!existsSync(cli.path(url.slice('sqlite:./'.length)))) await once(watcher, 'change')
  watcher.close()
  await using store = await openStore(url.replace('./', `${cli.folder}/`), { domains: { [name]: {} } })
  for await (const item of store.domain(name).follow({ signal: new AbortController().signal }))
    if (item.position >= position) return
}
