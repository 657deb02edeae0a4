import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Archive, archiveFolder, type Fold, openStore, verifyDomain } from '../src/index.ts'
import { plainCollection } from '../src/model/collection.ts'
import { DurableArray, openStoreSync } from '../src/sync.ts'
import { account, accountAfter, domains, examine, type Moved, moved } from './compaction/account.ts'
import type { CompactionJob } from './compaction/child.ts'
import { callsIn, whyNoStrace } from './crash/strace.ts'
import { inPairs } from './crash/trial.ts'
import { type Place, placeKinds } from './places.ts'
import { append } from './proof.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-archive-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const many = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => moved(from + i))

describe.each(placeKinds)('compaction on $name', ({ make, missing }) => {
  let place: Place
  let archive: Archive
  beforeEach(({ skip }) => {
    skip(missing !== '', missing)
    place = make()
    archive = archiveFolder(folder)
  })
  const open = async () => {
    const store = await place.open(domains)
    return { store, bank: store.domain('bank') }
  }

  it('what a snapshot covers is archived and removed; state, seqs, digest and history stay', async () => {
    const { store, bank } = await open()
    const name = 'acc/ü 1'
    await bank.log.append(name, many(1, 120))
    const done = await bank.compact(name, account, { archive, keep: 20 })
    expect(done).toMatchObject({ before: 101, removed: 100, protectedAfter: undefined })
    expect(await bank.state(account, name)).toMatchObject({ state: accountAfter(120), seq: 120 })
    expect((await bank.log.append(name, moved(121), { expect: 120 })).seqs).toEqual([121])
    const again = await bank.compact(name, account, { archive, keep: 1 })
    expect(again).toMatchObject({ before: 121, removed: 20 })
    const whole = []
    for await (const { data } of bank.history(name, archive)) whole.push(data.by)
    expect(whole).toEqual(many(1, 121).map(({ data }) => data.by))
    expect(await bank.compact(name, account, { archive })).toMatchObject({
      removed: 0,
      archive: again.archive,
    })
    const backend = store.backends.get('main')
    expect(await verifyDomain(backend as never, 'bank')).toMatchObject({ isSound: true, events: 1 })
    expect(readdirSync(folder)).toHaveLength(2)
  })

  it('a stream of many events is truncated in several commits', async () => {
    const { bank } = await open()
    for (let from = 1; from <= 21_000; from += 3_000) await bank.log.append('a', many(from, from + 2_999))
    const done = await bank.compact('a', account, { archive })
    expect(done).toMatchObject({ before: 21_000, removed: 20_999 })
    expect((await bank.state(account, 'a')).state).toEqual(accountAfter(21_000))
  })

  it('who reads a truncated stream from before is told where it begins and where the rest is', async () => {
    const { bank } = await open()
    await bank.log.append('a', many(1, 10))
    const done = await bank.compact('a', account, { archive, keep: 3 })
    const told = { code: 'truncated', details: { stream: 'a', first: 8, archive: done.archive } }
    await expect(bank.log.read('a')).rejects.toMatchObject(told)
    await expect(bank.log.read('a', { after: 2, before: 5 })).rejects.toMatchObject(told)
    await expect(bank.log.read('a', { backwards: true })).rejects.toMatchObject(told)
    await expect(bank.log.events('a').next()).rejects.toMatchObject(told)
    await expect(bank.transaction((tx) => tx.read('a'))).rejects.toMatchObject(told)
    await expect(bank.state(account, 'a', { at: { seq: 4 } })).rejects.toMatchObject(told)
    await expect(bank.state({ ...account, version: 2 }, 'a')).rejects.toMatchObject(told)
    await expect(bank.state({ ...account, name: 'other' }, 'a')).rejects.toMatchObject(told)
    await expect(bank.compact('a', { ...account, version: 2 }, { archive })).rejects.toMatchObject(told)
    const seqs = async (options: object) => (await bank.log.read('a', options)).events.map(({ seq }) => seq)
    expect(await seqs({ after: 7 })).toEqual([8, 9, 10])
    expect(await seqs({ backwards: true, limit: 2 })).toEqual([10, 9])
    expect(await seqs({ backwards: true, limit: 3 })).toEqual([10, 9, 8])
    expect(await seqs({ after: 10 })).toEqual([])
    expect(await bank.log.seq('a')).toBe(10)
    expect(await seqs({ after: 3, before: 4 })).toEqual([])
  })

  it('nothing is removed if the archive is not read back as it was written', async () => {
    const { bank } = await open()
    await bank.log.append('a', many(1, 300))
    const file = (name: string) => join(folder, name)
    const spoil = (change: (bytes: Buffer, name: string) => Buffer): Archive => ({
      async write(name, chunks) {
        const reference = await archive.write(name, chunks)
        writeFileSync(file(name), change(readFileSync(file(name)), name))
        return reference
      },
      read: archive.read,
    })
    const flipped = (bytes: Buffer) => {
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 8
      return bytes
    }
    const whole = await bank.head()
    const liars: Archive[] = [
      spoil(flipped),
      spoil((bytes) => bytes.subarray(0, -20)),
      spoil(() => Buffer.alloc(0)),
      spoil((bytes) => bytes.subarray(0, 8)),
      { write: async () => 'nowhere', read: archive.read },
      { write: () => Promise.reject(new Error('no room')), read: archive.read },
      { write: async () => '', read: archive.read },
    ]
    for (const liar of liars) await expect(bank.compact('a', account, { archive: liar })).rejects.toThrow()
    expect((await bank.log.read('a', { limit: 1 })).events[0]?.seq).toBe(1)
    expect((await bank.head()) - whole).toBeLessThanOrEqual(3)
    await bank.compact('a', account, { archive })
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([])
  })

  it('nothing is removed if the fold is not pure, or its snapshot is not what the events give', async () => {
    const { bank } = await open()
    await bank.log.append('a', many(1, 10))
    let calls = 0
    const impure: Fold<number, Moved> = { name: 'impure', version: 1, seed: 0, step: () => ++calls }
    await expect(bank.compact('a', impure, { archive })).rejects.toMatchObject({ code: 'mismatch' })
    const before: Fold<number, Moved> = {
      name: 'sum',
      version: 1,
      seed: 0,
      step: (n, { data }) => n + data.by,
    }
    await bank.state(before, 'a', { snapshot: { events: 1 } })
    const changed = { ...before, step: (n: number, { data }: { data: Moved['data'] }) => n - data.by }
    await expect(bank.compact('a', changed, { archive })).rejects.toMatchObject({ code: 'mismatch' })
    await expect(bank.compact('a', [before, changed], { archive: false })).rejects.toMatchObject({
      code: 'mismatch',
    })
    expect((await bank.log.read('a', { limit: 1 })).events[0]?.seq).toBe(1)
    await bank.compact('a', [before, account], { archive: false })
    expect((await bank.state(before, 'a')).state).toBe(55)
    await expect(bank.history('a', archive).next()).rejects.toMatchObject({ code: 'truncated' })
  })

  it('what a subscription or a projection has not seen is kept', async () => {
    const { bank } = await open()
    const { positions } = await bank.log.append('a', many(1, 10))
    expect(await bank.compact('a', account, { archive, protect: positions[3] as number })).toMatchObject({
      before: 5,
      protectedAfter: positions[3],
    })
    const own = await place.open({ bank: { collections: {} } })
    const port = own.domain('bank') as unknown as { prepare(): Promise<void> }
    await port.prepare()
    const backend = own.backends.get('main')
    const put = async (collection: string, id: string, value: object) => {
      const definition = {
        kind: 'put',
        collection: '$collections',
        id: collection,
        data: JSON.stringify(plainCollection),
        expiresAt: null,
      }
      const document = { kind: 'put', collection, id, data: JSON.stringify(value), expiresAt: null }
      await backend?.commit(
        'bank',
        1,
        [definition, document].map((write) => ({ at: 0, writes: [write as never], checks: [] })),
      )
    }
    await put('$subscriptions', 'mail', { position: positions[6] })
    expect(await bank.compact('a', account, { archive })).toMatchObject({
      before: 8,
      protectedAfter: positions[6],
    })
    await put('$projections', 'totals', {
      builds: { 1: { stage: 'retired' }, 2: { stage: 'ready', isInline: true }, 3: { stage: 'building' } },
    })
    expect(await bank.compact('a', account, { archive })).toMatchObject({
      before: 8,
      removed: 0,
      protectedAfter: 0,
    })
    await put('$projection_runs', 'totals@3', { position: positions[9] })
    await put('$subscriptions', 'mail', { position: positions[9] })
    const parked = { position: positions[8], change: { kind: 'event', stream: 'other', seq: 9, type: 't' } }
    await put('$parked', 'mail/0/1', parked)
    await put('$parked', 'mail/0/2', { ...parked, change: { ...parked.change, stream: 'a' } })
    expect(await bank.compact('a', account, { archive })).toMatchObject({ before: 9 })
    await put('$parked', 'mail/0/2', parked)
    expect(await bank.compact('a', account, { archive })).toMatchObject({ before: 10 })
  })

  it('several compact one stream at once, while others append and read: nothing is lost', async () => {
    const banks = (await Promise.all([open(), open(), open()])).map(({ bank }) => bank)
    const [first, second, third] = banks as [(typeof banks)[0], (typeof banks)[0], (typeof banks)[0]]
    let by = 0
    const append = async () => {
      for (let i = 0; i < 40; i++) await first.log.append('a', [moved(++by), moved(++by)])
    }
    const compacting = async (bank: typeof first) => {
      for (let i = 0; i < 6; i++)
        await bank.compact('a', account, { archive, keep: 2 }).catch((error: { code?: string }) => {
          expect(error.code).toBe('conflict')
        })
    }
    const reading = async () => {
      for (let i = 0; i < 20; i++) {
        const { state, seq } = await third.state(account, 'a', { snapshot: { events: 5 } })
        expect(state).toEqual(accountAfter(seq))
      }
    }
    await first.log.append('a', moved(++by))
    await Promise.all([append(), compacting(second), compacting(third), reading()])
    await second.compact('a', account, { archive })
    const whole = []
    for await (const { data } of first.history('a', archive)) whole.push(data.by)
    expect(whole).toEqual(many(1, by).map(({ data }) => data.by))
    expect((await first.state(account, 'a')).state).toEqual(accountAfter(by))
  })

  it('a commit whose events are gone is not made again by a retry with its id, and says so', async () => {
    const { bank } = await open()
    await bank.log.append('a', many(1, 3), { id: 'kept' })
    await bank.log.append('a', many(4, 6), { id: 'gone' })
    await bank.log.append('a', moved(7))
    expect(await bank.log.append('a', many(4, 6), { id: 'gone' })).toMatchObject({ seqs: [4, 5, 6] })
    await bank.compact('a', account, { archive, keep: 2 })
    for (const [from, to, id] of [
      [1, 3, 'kept'],
      [4, 6, 'gone'],
    ] as const)
      await expect(bank.log.append('a', many(from, to), { id })).rejects.toMatchObject({
        code: 'truncated',
        details: { id },
      })
    expect(await bank.log.seq('a')).toBe(7)
  })

  it('a domain is verified soundly while streams are being truncated', async () => {
    const { store, bank } = await open()
    await bank.log.append('a', many(1, 200))
    let isOver = false
    const compacting = (async () => {
      for (let keep = 190; keep > 0 && !isOver; keep -= 10)
        await bank.compact('a', account, { archive: false, keep })
    })()
    const backend = store.backends.get('main') as never
    const onProgress = () => new Promise<void>((resolve) => setImmediate(resolve))
    const found = await verifyDomain(backend, 'bank', { pageItems: 20, onProgress }).catch((error) => error)
    isOver = true
    await compacting
    expect(found.isSound ?? found.code).toSatisfy((result) => result === true || result === 'unavailable')
    expect(await verifyDomain(backend, 'bank')).toMatchObject({ isSound: true })
  })

  it('misuse is refused before anything is written', async () => {
    const { bank } = await open()
    await bank.log.append('a', many(1, 10))
    const head = await bank.head()
    await expect(bank.compact('a', [], { archive })).rejects.toThrow(TypeError)
    for (const wrong of [undefined, {}, { archive: './archives' }])
      await expect(bank.compact('a', account, wrong as never)).rejects.toThrow(/archive/)
    for (const wrong of [{ keep: 0 }, { keep: 1.5 }, { protect: -1 }])
      await expect(bank.compact('a', account, { archive, ...wrong })).rejects.toMatchObject({
        code: 'invalid',
      })
    expect(await bank.head()).toBe(head)
    expect(await bank.compact('empty', account, { archive })).toMatchObject({ before: 1, removed: 0 })
  })
})

describe('what reads streams synchronously', () => {
  it('is told of truncated events too', async () => {
    const url = `sqlite:${join(folder, 'sync.db')}`
    const none = { bank: { collections: {} } }
    using store = openStoreSync(url, { domains: none })
    const bank = store.domain('bank')
    bank.log.append('a', many(1, 10))
    const list = new DurableArray<number>(bank, 'list')
    list.push(1, 2, 3)
    const count: Fold<number> = { name: 'count', version: 1, seed: 0, step: (n) => n + 1 }
    await using other = await openStore(url, { domains: none })
    for (const stream of ['a', 'list'])
      await other.domain('bank').compact(stream, count, { archive: false, keep: 2 })
    const told = expect.objectContaining({ code: 'truncated' })
    expect(() => bank.log.read('a')).toThrow(told)
    expect(() => bank.log.read('a', { before: 4 })).toThrow(told)
    expect(bank.log.read('a', { after: 8 }).events).toHaveLength(2)
    expect(() => new DurableArray<number>(bank, 'list').length).toThrow(told)
  })
})

interface Ended {
  readonly steps: number | undefined
  readonly wasKilled: boolean
}

const program = fileURLToPath(new URL('./compaction/child.ts', import.meta.url))
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
const childCommand = (job: CompactionJob) => [process.execPath, '--import', tsx, program, JSON.stringify(job)]

async function run([file = '', ...args]: readonly string[]): Promise<Ended> {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let [said, complaint] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text
  })
  await once(child, 'close')
  const wasKilled = child.signalCode === 'SIGKILL'
  if (!wasKilled && child.exitCode !== 0)
    throw new Error(`The child ended with ${child.exitCode}: ${complaint}`)
  const [, steps] = /steps (\d+)/.exec(said) ?? []
  return { wasKilled, steps: steps === undefined ? undefined : Number(steps) }
}

/** Kills in each of the tests below; a sample of all places if there are more. */
const kills = Number(process.env.UNDERPIN_COMPACTION_KILLS ?? 4)
const sample = <T>(all: readonly T[]): readonly T[] => {
  const every = Math.max(1, Math.ceil(all.length / kills))
  return all.filter((_, i) => i % every === Math.floor(every / 2) || all.length - i <= 2)
}
const count = 2_000
const stream = 'account/1'

/** Judges what a death left, then compacts again, to the end, and judges that. */
async function judge(url: string, archives: string): Promise<{ wrong: readonly string[]; first: number }> {
  const archive = archiveFolder(archives)
  const found = await examine(url, archive, stream, count)
  await using store = await openStore(url, { domains })
  await store.domain('bank').compact(stream, account, { archive, keep: 5 })
  const verified = await verifyDomain(store.backends.get('main') as never, 'bank')
  const last = await examine(url, archive, stream, count)
  const wrong = [...found.wrong, ...last.wrong]
  if (!verified.isSound) wrong.push('the domain is not sound')
  if (last.first !== count - 4) wrong.push(`compacted again, it begins at seq ${last.first}`)
  return { wrong, first: found.first }
}

/** A place for each trial, with the stream in it. */
async function prepared(url: string): Promise<string> {
  await using store = await openStore(url, { domains })
  await store.domain('bank').log.append(stream, many(1, count))
  return url
}

function report(
  what: string,
  backend: string,
  trials: readonly { wrong: readonly string[]; first: number; wasKilled: boolean }[],
  began: number,
) {
  const failed = trials.filter(({ wrong }) => wrong.length > 0).length
  const unknown = trials.filter(({ wasKilled }) => !wasKilled).length
  const [whole, truncated] = [1, count - 4].map((seq) => trials.filter(({ first }) => first === seq).length)
  const seconds = (performance.now() - began) / 1_000
  append({ promise: what, backend, tried: trials.length, failed, unknown, seed: 0, seconds })
  console.log(
    `${what}, ${backend}: killed ${trials.length - unknown}, lost or wrong ${failed}; found whole ${whole}, truncated ${truncated} (${seconds.toFixed(1)} s)`,
  )
  expect(trials.flatMap(({ wrong }) => wrong)).toEqual([])
  expect(unknown).toBeLessThan(trials.length)
}

describe('a process that is killed while it archives and truncates', () => {
  const noStrace = whyNoStrace()

  it('loses nothing, at whatever write, sync or rename it dies (SQLite)', { timeout: 120_000 }, async ({
    skip,
  }) => {
    skip(noStrace !== undefined, noStrace)
    const began = performance.now()
    const template = join(folder, 'template.db')
    await prepared(`sqlite:${template}`)
    let places = 0
    const newJob = (): CompactionJob => {
      const path = join(folder, `${places++}.db`)
      copyFileSync(template, path)
      return { url: `sqlite:${path}`, folder: `${path}-archives`, stream }
    }
    const traced = ['-f', '-e', 'trace=pwrite64,fsync,fdatasync,rename,unlink']
    const log = join(folder, 'calls.log')
    const first = newJob()
    await run(['strace', ...traced, '-o', log, ...childCommand(first)])
    const calls = callsIn(log)
    expect(calls.some(({ name }) => name === 'rename')).toBe(true)
    const trials = await inPairs(sample(calls), async ({ name, nth }) => {
      const job = newJob()
      const inject = `inject=${name}:signal=KILL:when=${nth}`
      const { wasKilled } = await run([
        'strace',
        ...traced,
        '-o',
        '/dev/null',
        '-e',
        inject,
        ...childCommand(job),
      ])
      return { ...(await judge(job.url, job.folder)), wasKilled }
    })
    report('SIGKILL while a stream is archived and truncated', 'sqlite', trials, began)
  })

  it('loses nothing, before or after whatever commit or step of the archive it dies', {
    timeout: 120_000,
  }, async ({ skip }) => {
    const postgres = placeKinds.find(({ name }) => name === 'postgres')
    skip(postgres === undefined || postgres.missing !== '', postgres?.missing)
    const began = performance.now()
    const newJob = async (step?: number): Promise<CompactionJob> => {
      const url = await prepared(postgres?.make().url ?? '')
      const archives = mkdtempSync(join(folder, 'archives-'))
      return { url, folder: archives, stream, ...(step === undefined ? {} : { step }) }
    }
    const { steps = 0 } = await run(childCommand(await newJob()))
    const all = Array.from({ length: steps }, (_, i) => i + 1)
    const trials = await inPairs(sample(all), async (step) => {
      const job = await newJob(step)
      const { wasKilled } = await run(childCommand(job))
      return { ...(await judge(job.url, job.folder)), wasKilled }
    })
    report('SIGKILL while a stream is archived and truncated', 'postgres', trials, began)
  })

  it('is judged by an examination that finds what is lost', async () => {
    const url = await prepared(`sqlite:${join(folder, 'lost.db')}`)
    const archive = archiveFolder(join(folder, 'lost'))
    await using store = await openStore(url, { domains })
    const bank = store.domain('bank')
    await bank.compact(stream, account, { archive, keep: 5 })
    const shorter: Archive = { ...archive, read: () => archive.read('other') }
    await bank.log.append('other', moved(1))
    await expect(examine(url, shorter, stream, count)).rejects.toThrow()
    expect((await examine(url, archive, stream, count)).wrong).toEqual([])
    expect((await examine(url, archive, stream, count + 1)).wrong).toHaveLength(3)
  })
})
