import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { connect } from '../src/backend/sqlite/driver.ts'
import { openStore } from '../src/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))
const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function cli(args: readonly string[], input?: string): Ended {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: folder,
    encoding: 'utf8',
    ...(input === undefined ? {} : { input }),
  })
  return { code: status, out: stdout, err: stderr }
}

const json = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

let count = 0
/** A store with two events and a document. */
function filled(): string[] {
  const store = ['-s', `sqlite:./${count++}.db`]
  cli(['append', 'o-1', ...store, '-d', 'orders', '--create', '--type', 'placed', '--data', '{"total":42}'])
  cli(['append', 'o-1', ...store, '--type', 'paid', '--data', '{"by":"\\u001b[31mada"}'])
  cli(['put', 'users', 'ada', ...store, '--data', '{"age":36}', '--create'])
  return store
}

describe('a command', () => {
  it('reads what was appended, escaped for people and exact as JSON', () => {
    const store = filled()
    const { code, out } = cli(['read', 'o-1', ...store])
    expect(code).toBe(0)
    expect(out).toMatch(/1 {2}\S+ {2}placed {2}\{"total":42\}\n2 {2}\S+ {2}paid/)
    expect(out).not.toContain('\u001b')
    const [first, second, summary] = json(cli(['read', 'o-1', ...store, '--json']).out)
    expect([first.seq, second.data.by]).toEqual([1, '\u001b[31mada'])
    expect(summary).toMatchObject({ v: 1, ok: true, data: { stream: 'o-1', count: 2 } })
  })

  it('shows a document, and says with its exit code that there is none', () => {
    const store = filled()
    expect(json(cli(['get', 'users', 'ada', ...store, '--json']).out)[0].data.value).toEqual({ age: 36 })
    expect(cli(['get', 'users', 'bob', ...store])).toMatchObject({ code: 1, out: '' })
    expect(cli(['list', 'users', ...store]).out).toContain('{"age":36}')
  })

  it('names the domain, its head and its collections in info', () => {
    const { domains } = json(cli(['info', ...filled(), '--json']).out)[0].data
    expect(domains).toMatchObject([
      { name: 'orders', role: 'authority', epoch: 1, head: 4, collections: ['users'] },
    ])
  })

  it('appends once under an id', () => {
    const store = filled()
    const args = ['append', 'once', ...store, '--type', 't', '--data', '1', '--id', 'a', '--json']
    expect(json(cli(args).out)[0].data.isReplay).toBe(false)
    expect(json(cli(args).out)[0].data).toMatchObject({ isReplay: true, seq: 1 })
    expect(json(cli(['read', 'once', ...store, '--json']).out)).toHaveLength(2)
  })

  it('takes data from a file and from standard input', () => {
    const store = filled()
    writeFileSync(join(folder, 'data.json'), '{"from":"file"}')
    cli(['put', 'users', 'f', ...store, '--data', '@data.json'])
    cli(['put', 'users', 'i', ...store, '--data', '-'], '{"from":"input"}')
    expect(cli(['list', 'users', ...store, '--prefix', 'f']).out).toContain('{"from":"file"}')
    expect(cli(['list', 'users', ...store, '--prefix', 'i']).out).toContain('{"from":"input"}')
  })
})

describe('an exit code', () => {
  it('is 5 for a conflict, with what was expected and found', () => {
    const { code, err } = cli(['append', 'o-1', ...filled(), '--type', 't', '--data', '1', '--expect', '1'])
    expect(code).toBe(5)
    expect(err).toContain('expected at seq 1 and is at 2')
  })

  it('is 6 for a store that is not there, and reading makes no file', () => {
    const { code, out } = cli(['info', '-s', 'sqlite:./none.db', '--json'])
    expect(code).toBe(6)
    expect(json(out)[0]).toMatchObject({ ok: false, error: { code: 'unavailable', retryable: true } })
    expect(existsSync(join(folder, 'none.db'))).toBe(false)
  })

  it('is 2 for wrong arguments, bad JSON and a domain that was not named', () => {
    const store = filled()
    cli(['append', 's', ...store, '-d', 'second', '--create', '--type', 't', '--data', '1'])
    expect(cli(['nonsense']).code).toBe(2)
    expect(cli(['read']).code).toBe(2)
    expect(cli(['append', 's', ...store, '-d', 'second', '--type', 't', '--data', '{nope']).code).toBe(2)
    const { code, err } = cli(['read', 'o-1', ...store])
    expect([code, err]).toEqual([2, expect.stringContaining('orders, second')])
  })

  it('is 4 when verification finds a damaged record, and names it', () => {
    const store = filled()
    expect(cli(['verify', ...store])).toMatchObject({ code: 0, out: expect.stringContaining('sound') })
    const connection = connect(join(folder, `${count - 1}.db`), false)
    connection.exec(`UPDATE orders__events SET data = '{"total":43}' WHERE position = 1`)
    connection.close()
    const { code, out } = cli(['verify', ...store, '--json'])
    expect(code).toBe(4)
    expect(json(out)[0].data.domains[0]).toMatchObject({ isSound: false, damaged: [{ position: 1 }] })
  })

  it('is 6 for a secret URL that nothing serves, and the secret is masked', () => {
    const { out, err } = cli(['info', '-s', 'postgres://ada:hunter2@127.0.0.1:1/x'])
    expect(out + err).not.toContain('hunter2')
  })
})

describe('tail', () => {
  it('ends quietly when its reader goes away', () => {
    const store = filled()
    const { stdout, stderr } = spawnSync(
      'sh',
      ['-c', `"${process.execPath}" "${main}" tail ${store.join(' ')} --no-follow | head -1`],
      { cwd: folder, encoding: 'utf8' },
    )
    expect([stdout.trim().split('\n').length, stderr]).toEqual([1, ''])
  })

  it('follows what another process appends, until it is interrupted', async () => {
    const store = filled()
    const child = spawn(process.execPath, [main, 'tail', ...store, '--json', '--type', 'late'], {
      cwd: folder,
    })
    // It tells nobody when it has begun to follow, so events are appended until it has seen one.
    const seen = once(child.stdout, 'data')
    let isSeen = false
    void seen.then(() => (isSeen = true))
    while (!isSeen) {
      cli(['append', 'o-1', ...store, '--type', 'late', '--data', '1'])
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(json(String((await seen)[0]))[0]).toMatchObject({ kind: 'event', type: 'late' })
    const ended = once(child, 'exit')
    child.kill('SIGINT')
    expect(await ended).toEqual([130, null])
  })
})

describe('export and import', () => {
  it('carry events, documents and collections over, to the byte', async () => {
    const store = filled()
    cli(['export', 'all.ndjson.gz', ...store])
    const lines = json(gunzipSync(readFileSync(join(folder, 'all.ndjson.gz'))).toString())
    expect(lines[0]).toEqual({ underpin: 1, kind: 'export', domain: 'orders' })
    expect(lines.at(-1)).toMatchObject({ kind: 'end', records: 4, position: 4 })
    cli(['import', 'all.ndjson.gz', '-s', 'sqlite:./copy.db', '-d', 'copy', '--create'])
    await using copy = await openStore(`sqlite:${join(folder, 'copy.db')}`, { domains: { copy: {} } })
    const { events } = await copy.domain('copy').log.read('o-1')
    expect(events.map(({ type, data }) => [type, data])).toEqual([
      ['placed', { total: 42 }],
      ['paid', { by: '\u001b[31mada' }],
    ])
    expect((await copy.domain('copy').documents('users').get('ada'))?.value).toEqual({ age: 36 })
  })

  it('refuse to write over a file', () => {
    const store = filled()
    writeFileSync(join(folder, 'there.ndjson'), 'mine')
    expect(cli(['export', 'there.ndjson', ...store]).code).toBe(2)
    expect(readFileSync(join(folder, 'there.ndjson'), 'utf8')).toBe('mine')
  })

  it('name the line that is wrong, keep what came before it, and go on when it is mended', () => {
    const lines = Array.from({ length: 1_200 }, (_, i) => JSON.stringify({ stream: 's', type: 't', data: i }))
    const target = ['-s', 'sqlite:./mended.db', '-d', 'd', '--create']
    const broken = lines.with(1_100, '{"stream":"s","type":"t"')
    writeFileSync(join(folder, 'lines.ndjson'), broken.join('\n'))
    const failed = cli(['import', 'lines.ndjson', ...target])
    expect([failed.code, failed.err]).toEqual([2, expect.stringContaining('Line 1101')])
    writeFileSync(join(folder, 'lines.ndjson'), lines.join('\n'))
    cli(['import', 'lines.ndjson', ...target])
    const read = json(cli(['read', 's', '-s', 'sqlite:./mended.db', '--json']).out)
    expect(read.slice(0, -1).map(({ data }) => data)).toEqual(lines.map((_, i) => i))
  })

  it('lose nothing and double nothing when an import is killed and run again', async () => {
    const size = 60_000
    const lines = Array.from({ length: size }, (_, i) =>
      JSON.stringify({ stream: `s-${i % 7}`, type: 't', data: i }),
    )
    writeFileSync(join(folder, 'killed.ndjson'), lines.join('\n'))
    const args = ['import', 'killed.ndjson', '-s', 'sqlite:./killed.db', '-d', 'd', '--create']
    const child = spawn(process.execPath, [main, ...args], { cwd: folder })
    await grown(join(folder, 'killed.db-wal'), child)
    const killed = once(child, 'exit')
    child.kill('SIGKILL')
    expect(await killed).toEqual([null, 'SIGKILL'])
    const { skippedLines, lines: all } = json(cli([...args, '--json', '--no-progress']).out).at(-1).data
    expect(skippedLines).toBeGreaterThan(0)
    expect(all).toBe(size)
    await using store = await openStore(`sqlite:${join(folder, 'killed.db')}`, { domains: { d: {} } })
    for (let stream = 0; stream < 7; stream++) {
      let next = stream
      for await (const { data } of store.domain('d').log.events(`s-${stream}`)) {
        expect(data).toBe(next)
        next += 7
      }
      expect(next).toBeGreaterThanOrEqual(size)
    }
  })

  it('resume an export where it was stopped', () => {
    const size = 30_000
    const text = 'x'.repeat(500)
    const lines = Array.from({ length: size }, (_, i) =>
      JSON.stringify({ stream: 's', type: 't', data: { i, text } }),
    )
    writeFileSync(join(folder, 'large.ndjson'), lines.join('\n'))
    cli(['import', 'large.ndjson', '-s', 'sqlite:./large.db', '-d', 'd', '--create'])
    cli(['export', 'whole.ndjson', '-s', 'sqlite:./large.db'])
    const whole = readFileSync(join(folder, 'whole.ndjson'))
    // What a kill leaves: some durable bytes, their state beside them, and a torn tail.
    const cut = whole.subarray(0, whole.indexOf('\n', 9_000_000) + 1)
    const records = cut.toString().trim().split('\n').length - 1
    const position = json(cut.toString().trim().split('\n').at(-1) as string)[0].position
    writeFileSync(join(folder, 'half.ndjson.part'), Buffer.concat([cut, Buffer.from('{"kind":"ev')]))
    const state = { domain: 'd', isGzip: false, position, records, bytes: cut.length }
    writeFileSync(join(folder, 'half.ndjson.part.state'), JSON.stringify(state))
    expect(cli(['export', 'half.ndjson', '-s', 'sqlite:./large.db']).code).toBe(2)
    expect(cli(['export', 'half.ndjson', '-s', 'sqlite:./large.db', '--resume']).code).toBe(0)
    expect(readFileSync(join(folder, 'half.ndjson')).equals(whole)).toBe(true)
  })
})

describe('doctor', () => {
  it('finds a sound store sound, and names what is wrong with another', () => {
    const store = filled()
    expect(cli(['doctor', ...store])).toMatchObject({
      code: 0,
      out: expect.stringContaining('synchronous FULL'),
    })
    writeFileSync(join(folder, 'text.db'), 'this is no database, it is text\n'.repeat(40))
    const { code, out } = cli(['doctor', '-s', 'sqlite:./text.db'])
    expect([code, out]).toEqual([1, expect.stringContaining('FAILURE')])
  })
})

describe('conformance', () => {
  it('prints the scoreboard of a store', () => {
    const { code, out } = cli(['conformance', 'memory:', '--json'])
    expect(code).toBe(0)
    expect(json(out).at(-1).data).toMatchObject({ backend: 'memory', failed: 0 })
  })
})

/** Resolves when a file has grown beyond what opening the store writes, or the child has ended. */
async function grown(path: string, child: ChildProcess): Promise<void> {
  while (child.exitCode === null && !(existsSync(path) && statSync(path).size > 1_000_000))
    await new Promise((resolve) => setImmediate(resolve))
}
