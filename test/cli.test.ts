import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { Cli, ended, json, main } from './cli-process.ts'

const cli = new Cli()
afterAll(() => cli.remove())

/** A store with two events and a document: made once by the commands themselves, then copied. */
function filled(): string[] {
  if (!existsSync(cli.path('template.db'))) {
    const store = ['-s', 'sqlite:./template.db', '-d', 'orders']
    cli.run(['append', 'o-1', ...store, '--create', '--type', 'placed', '--data', '{"total":42}'])
    cli.run(['append', 'o-1', ...store, '--type', 'paid', '--data', '{"by":"\\u001b[31mada"}'])
    cli.run(['put', 'users', 'ada', ...store, '--data', '{"age":36}', '--create'])
  }
  const store = cli.store('orders').slice(0, 2)
  copyFileSync(cli.path('template.db'), fileOf(store))
  return store
}

function fileOf(store: readonly string[]): string {
  return cli.path(String(store[1]).replace('sqlite:./', ''))
}

describe('reading commands', () => {
  it('show what was appended, escaped for people and exact as JSON', () => {
    const store = filled()
    const { code, out } = cli.run(['read', 'o-1', ...store])
    expect(code).toBe(0)
    expect(out).toMatch(/1 {2}\S+ {2}placed {2}\{"total":42\}\n2 {2}\S+ {2}paid/)
    expect(out).not.toContain('\u001b')
    const [first, second, envelope] = json(cli.run(['read', 'o-1', ...store, '--json']).out)
    expect([first.seq, second.data.by]).toEqual([1, '\u001b[31mada'])
    expect(envelope).toMatchObject({ v: 1, ok: true, data: { stream: 'o-1', count: 2 }, warnings: [] })
    expect(envelope.took_ms).toBeGreaterThanOrEqual(0)
  })

  it('take the part of a stream from one seq to another, in both directions', () => {
    const store = cli.store('d')
    writeFileSync(cli.path('ten.ndjson'), '{"stream":"s","type":"t","data":0}\n'.repeat(10))
    cli.run(['import', 'ten.ndjson', ...store, '--create'])
    const seqs = (...flags: string[]) =>
      json(cli.run(['read', 's', ...store, '--json', ...flags]).out)
        .slice(0, -1)
        .map(({ seq }) => seq)
    expect(seqs('--from', '3', '--to', '5')).toEqual([3, 4, 5])
    expect(seqs('--from', '3', '--limit', '2')).toEqual([3, 4])
    expect(seqs('--backwards', '--from', '5', '--to', '3')).toEqual([5, 4, 3])
    expect(seqs('--backwards', '--limit', '1')).toEqual([10])
  })

  it('show a document, and say with exit code 1 that there is none', () => {
    const store = filled()
    expect(cli.envelope(['get', 'users', 'ada', ...store]).data.value).toEqual({ age: 36 })
    expect(cli.run(['get', 'users', 'ada', ...store]).out).toBe('{\n  "age": 36\n}\n')
    expect(cli.run(['get', 'users', 'bob', ...store])).toMatchObject({ code: 1, out: '' })
    expect(cli.envelope(['get', 'users', 'bob', ...store])).toMatchObject({ ok: false, data: null })
  })

  it('list documents page by page with the cursor of the page before', () => {
    const store = filled()
    for (const id of ['bob', 'cyd']) cli.run(['put', 'users', id, ...store, '--data', '{"age":1}'])
    const page = (...flags: string[]) => {
      const lines = json(cli.run(['list', 'users', ...store, '--json', ...flags]).out)
      return { ids: lines.slice(0, -1).map(({ id }) => id), cursor: lines.at(-1).data.cursor }
    }
    const first = page('--limit', '2')
    expect(first.ids).toEqual(['ada', 'bob'])
    expect(page('--limit', '2', '--after', first.cursor)).toEqual({ ids: ['cyd'], cursor: undefined })
    expect(page('--backwards').ids).toEqual(['cyd', 'bob', 'ada'])
    expect(cli.run(['list', 'users', ...store, '--prefix', 'c']).out).toMatch(
      /^cyd {2}\d+ {2}\S+ {2}\{"age":1\}\n$/,
    )
  })

  it('name the store, the domain, its head and its collections in info', () => {
    const store = filled()
    const { data } = cli.envelope(['info', ...store])
    expect(data.store).toBe(store[1])
    expect(data.domains).toMatchObject([
      { name: 'orders', role: 'authority', epoch: 1, head: 4, collections: ['users'] },
    ])
    expect(cli.run(['info', ...store]).out).toMatch(/orders {2}authority\s+1\s+4 {2}[0-9a-f]{12} {2}users/)
  })

  it('make no file, and leave an empty one empty', () => {
    writeFileSync(cli.path('empty.db'), '')
    for (const file of ['none.db', 'empty.db']) {
      const { code, out } = cli.run(['info', '-s', `sqlite:./${file}`, '--json'])
      expect(code).toBe(6)
      expect(json(out)[0]).toMatchObject({ ok: false, error: { code: 'unavailable', retryable: true } })
    }
    expect(existsSync(cli.path('none.db'))).toBe(false)
    expect(statSync(cli.path('empty.db')).size).toBe(0)
  })
})

describe('writing commands', () => {
  it('write once under an id', () => {
    const store = filled()
    const append = ['append', 'once', ...store, '--type', 't', '--data', '1', '--id', 'a']
    expect(cli.envelope(append).data.isReplay).toBe(false)
    expect(cli.envelope(append).data).toMatchObject({ isReplay: true, seq: 1 })
    expect(cli.envelope(['read', 'once', ...store]).data.count).toBe(1)
    expect(cli.run([...append.slice(0, -3), '2', '--id', 'a'])).toMatchObject({ code: 5 })
  })

  it('take data from a file and from standard input', () => {
    const store = filled()
    writeFileSync(cli.path('data.json'), '{"from":"file"}')
    cli.run(['put', 'users', 'f', ...store, '--data', '@data.json'])
    cli.run(['put', 'users', 'i', ...store, '--data', '-'], '{"from":"input"}')
    expect(cli.envelope(['get', 'users', 'f', ...store]).data.value).toEqual({ from: 'file' })
    expect(cli.envelope(['get', 'users', 'i', ...store]).data.value).toEqual({ from: 'input' })
  })

  it('put with an expectation and an expiry', () => {
    const store = filled()
    const put = (...flags: string[]) => cli.run(['put', 'users', 'x', ...store, '--data', '1', ...flags])
    expect(put('--expect', 'present').code).toBe(5)
    expect(put('--expect', 'absent', '--expires-at', '2001-01-01T00:00:00Z').code).toBe(0)
    expect(cli.run(['get', 'users', 'x', ...store]).code).toBe(1)
    expect(put('--expires-at', 'tomorrow').code).toBe(2)
  })

  it('refuse a number that would lose a digit', () => {
    const { code, err } = cli.run([
      'append',
      's',
      ...filled(),
      '--type',
      't',
      '--data',
      '12345678901234567890',
    ])
    expect([code, err]).toEqual([2, expect.stringContaining('12345678901234567890')])
  })

  it('make a store only with --create and a domain, and nothing when the rest is wrong', () => {
    const append = ['append', 's', '-s', 'sqlite:./made.db', '--type', 't']
    expect(cli.run([...append, '-d', 'd', '--data', '1']).code).toBe(6)
    expect(cli.run([...append, '--data', '1', '--create']).code).toBe(2)
    expect(cli.run([...append, '-d', 'Not A Name', '--data', '1', '--create']).code).toBe(2)
    expect(cli.run([...append, '-d', 'd', '--data', '{nope', '--create']).code).toBe(2)
    expect(existsSync(cli.path('made.db'))).toBe(false)
    expect(cli.run([...append, '-d', 'd', '--data', '1', '--create']).code).toBe(0)
  })
})

describe('exit codes', () => {
  it('are 5 for a conflict, with what was expected and found', () => {
    const { code, err } = cli.run([
      'append',
      'o-1',
      ...filled(),
      '--type',
      't',
      '--data',
      '1',
      '--expect',
      '1',
    ])
    expect([code, err]).toEqual([5, expect.stringContaining('expected at seq 1 and is at 2')])
  })

  it('are 2 for wrong arguments and for a domain or collection that is not there', () => {
    const store = filled()
    cli.run(['append', 's', ...store, '-d', 'second', '--create', '--type', 't', '--data', '1'])
    expect(cli.run(['nonsense']).code).toBe(2)
    expect(cli.run(['read', 's', ...store, '--limit', 'x']).code).toBe(2)
    expect(cli.run(['read', 's', ...store, '-d', 'third']).code).toBe(2)
    expect(cli.run(['put', 'typo', 'x', ...store, '-d', 'orders', '--data', '1'])).toMatchObject({
      code: 2,
      err: expect.stringContaining('It has users.'),
    })
    const { code, err } = cli.run(['read', 'o-1', ...store])
    expect([code, err]).toEqual([2, expect.stringContaining('orders, second')])
  })

  it('come with an envelope also for wrong arguments, when JSON is asked for', () => {
    const { code, out } = cli.run(['read', '--json'])
    expect([code, json(out)]).toMatchObject([2, [{ v: 1, ok: false, error: { code: 'usage' } }]])
  })

  it('are 4 when verification finds a damaged record, and names it', () => {
    const store = filled()
    expect(cli.run(['verify', ...store])).toMatchObject({ code: 0, out: expect.stringContaining('sound') })
    const connection = connect(fileOf(store), false)
    connection.exec(`UPDATE orders__events SET data = '{"total":43}' WHERE position = 1`)
    connection.close()
    const { code, out } = cli.run(['verify', ...store, '--json'])
    expect(code).toBe(4)
    expect(json(out)[0].data.domains[0]).toMatchObject({ isSound: false, damaged: [{ position: 1 }] })
    expect(cli.run(['read', 'o-1', ...store]).code).toBe(4)
  })

  it('are 0 for help and for the version', () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    expect(cli.run(['--version'])).toMatchObject({ code: 0, out: `${version}\n` })
    expect(cli.run(['help', 'import'])).toMatchObject({ code: 0, out: expect.stringContaining('--name') })
    expect(cli.run(['--help']).out).toContain('Examples:')
  })
})

describe('what is printed', () => {
  it.each([
    ['as a store', ['info', '-s', 'postgres://ada:hunter2@127.0.0.1:1/x']],
    ['as JSON', ['info', '-s', 'sqlite:./none.db?token=hunter2', '--json']],
    ['where a command is expected', ['postgres://ada:hunter2@127.0.0.1:1/x']],
    ['with its cause', ['info', '-s', 'postgres://ada:hunter2@127.0.0.1:1/x', '--verbose']],
  ])('never has the password of a URL that was given %s', (_, args) => {
    const { code, out, err } = cli.run(args)
    expect(code).toBeGreaterThan(0)
    expect(out + err).not.toContain('hunter2')
    expect(out + err).toContain('***')
  })

  it('has no result on stderr, and with --quiet nothing but results', () => {
    const store = filled()
    expect(cli.run(['append', 'o-1', ...store, '--type', 't', '--data', '1', '-q'])).toEqual({
      code: 0,
      out: '',
      err: '',
    })
    expect(cli.run(['read', 'o-1', ...store, '-q']).out.split('\n')).toHaveLength(4)
  })
})

describe('tail', () => {
  it('shows the changes that are there, of some types or streams', () => {
    const store = filled()
    const kinds = (...flags: string[]) =>
      json(cli.run(['tail', ...store, '--no-follow', '--json', ...flags]).out)
        .slice(0, -1)
        .map(({ position }) => position)
    expect(kinds()).toEqual([1, 2, 3, 4])
    expect(kinds('--from', '3')).toEqual([3, 4])
    expect(kinds('--limit', '1')).toEqual([1])
    expect(kinds('--type', 'paid,other')).toEqual([2])
    expect(kinds('--stream', 'o-')).toEqual([1, 2])
    expect(kinds('--stream', 'x')).toEqual([])
  })

  it('ends quietly when its reader goes away', () => {
    const store = filled()
    const command = `"${process.execPath}" "${main}" tail ${store.join(' ')} --no-follow`
    const { stdout, stderr } = spawnSync('bash', ['-c', `${command} | head -1; echo \${PIPESTATUS[0]}`], {
      cwd: cli.folder,
      encoding: 'utf8',
    })
    expect([stdout.trim().split('\n').length, stdout.trim().at(-1), stderr]).toEqual([2, '0', ''])
  })

  it('follows what another process appends, until it is interrupted, and says how to go on', async () => {
    const store = filled()
    const child = cli.start(['tail', ...store, '--json', '--from', '4'])
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    const end = ended(child)
    const arrived = once(child.stdout as NodeJS.ReadableStream, 'data')
    cli.run(['append', 'o-1', ...store, '--type', 'late', '--data', '1'])
    expect(json(String((await arrived)[0]))[0]).toMatchObject({ kind: 'event', type: 'late', position: 5 })
    child.kill('SIGINT')
    const { code, out } = await end
    expect(code).toBe(130)
    expect(json(out).at(-1).next_steps[0].command).toBe(`underpin tail ${store.join(' ')} --json --from 6`)
  })
})

describe('doctor', () => {
  it('finds a sound store sound', () => {
    const { code, out } = cli.run(['doctor', ...filled()])
    expect([code, out]).toEqual([0, expect.stringMatching(/ok {2}SQLite +3\.\d+/)])
    expect(out).toContain('synchronous FULL')
    expect(out).toMatch(/domain orders {2}authority, epoch 1, head 4/)
  })

  it('tells the driver without a store', () => {
    expect(cli.run(['doctor'])).toMatchObject({ code: 0, out: expect.stringMatching(/SQLite +3\.\d+/) })
  })

  it('fails for a file that is no database, and leaves it alone', () => {
    const text = 'this is no database, it is text\n'.repeat(40)
    writeFileSync(cli.path('text.db'), text)
    const { code, out } = cli.run(['doctor', '-s', 'sqlite:./text.db'])
    expect([code, out]).toEqual([1, expect.stringContaining('FAILURE')])
    expect(readFileSync(cli.path('text.db'), 'utf8')).toBe(text)
  })

  it('ends with 3 when migrations are pending, and does not apply them', () => {
    const store = filled()
    const connection = connect(fileOf(store), false)
    connection.exec('DELETE FROM underpin_migrations')
    for (let run = 1; run <= 2; run++) {
      const { code, out } = cli.run(['doctor', ...store, '--json'])
      expect(code).toBe(3)
      expect(json(out)[0].data.findings.at(-1)).toMatchObject({ check: 'migrations', result: 'pending' })
    }
    connection.close()
  })
})

describe('conformance', () => {
  it('prints the scoreboard of a store, law by law', () => {
    const { code, out } = cli.run(['conformance', 'memory:', '--json'])
    expect(code).toBe(0)
    const lines = json(out)
    expect(lines[0]).toMatchObject({ law: 1, result: 'passed' })
    expect(lines.filter(({ result }) => result === 'skipped').every(({ reason }) => reason.length > 0)).toBe(
      true,
    )
    expect(lines.at(-1).data).toMatchObject({ backend: 'memory', failed: 0, scratchDomains: [] })
  })

  it('asks for a confirmation before it leaves scratch domains in a store that is in use', () => {
    const store = filled()
    expect(cli.run(['conformance', ...store])).toMatchObject({
      code: 2,
      err: expect.stringContaining('--yes'),
    })
    expect(cli.envelope(['info', ...store]).data.domains).toHaveLength(1)
  })
})
