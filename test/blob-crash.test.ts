import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DirectoryBlobs, readBlob } from '../src/blob.ts'
import { runUntil, type Stopped, watchFiles } from './blob/steps.ts'
import { FakeClock } from './fake-clock.ts'
import { append } from './proof.ts'

const content = Buffer.from('what is put')
const graceMs = 1_000
/** No piece of work here makes as many calls to the file system. */
const most = 200

let folder: string
let clock: FakeClock
beforeAll(watchFiles)
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-blob-crash-'))
  clock = new FakeClock()
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function open(): Promise<DirectoryBlobs> {
  return DirectoryBlobs.open(join(folder, 'blobs'), { clock })
}

/** Does it anew in an empty folder, stopped at each of its calls in turn; how many there were. */
async function atEachCall(trial: (at: number) => Promise<boolean>): Promise<number> {
  for (let at = 1; at <= most; at++) {
    const isStopped = await trial(at)
    rmSync(join(folder, 'blobs'), { recursive: true, force: true })
    if (!isStopped) return at - 1
  }
  throw new RangeError(`more than ${most} calls`)
}

async function kept(blobs: DirectoryBlobs): Promise<string[]> {
  const cids: string[] = []
  for await (const { cid } of blobs.list()) cids.push(cid)
  return cids
}

/** What was cut off ends after all, in a folder that nobody looks at any more: it has files open. */
async function leave({ isStopped, resume }: Stopped<unknown>): Promise<boolean> {
  await resume().catch(() => {
    // Its files were taken away by what came after it.
  })
  return isStopped
}

function record(promise: string, tried: number): void {
  append({ promise, backend: 'directory', tried, failed: 0, unknown: 0, seed: 0, seconds: 0 })
  console.log(`${promise}: stopped at each of ${tried} calls to the file system, 0 failures`)
}

describe('a directory of blobs, cut off at each call to the file system', () => {
  it('is opened again, wherever its making was cut off', async () => {
    const calls = await atEachCall(async (at) => {
      const killed = await runUntil(at, open)
      await (await open()).put(content)
      return leave(killed)
    })
    record('a directory of blobs is made', calls)
  })

  it('has a blob wholly or not at all; putting it again succeeds, and nothing is left over', async () => {
    const calls = await atEachCall(async (at) => {
      const first = await open()
      const killed = await runUntil(at, () => first.put(content))
      const blobs = await open()
      const [cid] = await kept(blobs)
      if (cid !== undefined) expect((await readBlob(blobs, cid))?.equals(content)).toBe(true)
      const ref = await blobs.put(content)
      expect(await kept(blobs)).toEqual([ref.$blob])
      await blobs.tidy(Date.now() + 1_000, () => false)
      expect(readdirSync(join(blobs.path, 'incoming'))).toEqual([])
      return leave(killed)
    })
    expect(calls).toBeGreaterThan(8)
    record('a blob is put', calls)
  })

  it('has an upload where it was acknowledged, or at the end of the piece that was not', async () => {
    const pieces = ['first ', 'second ', 'third'].map((piece) => Buffer.from(piece))
    const whole = Buffer.concat(pieces)
    const calls = await atEachCall(async (at) => {
      const first = await open()
      let acknowledged = 0
      const killed = await runUntil(at, async () => {
        const upload = await first.upload('u')
        for (const piece of pieces) acknowledged = await upload.append(piece)
        await upload.finish()
      })
      const blobs = await open()
      const upload = await blobs.upload('u')
      expect(upload.offset).toBeGreaterThanOrEqual(acknowledged)
      expect([0, 6, 13, 18]).toContain(upload.offset)
      if (upload.finished === undefined) await upload.append(whole.subarray(upload.offset))
      const ref = await upload.finish()
      expect((await readBlob(blobs, ref))?.equals(whole)).toBe(true)
      await upload.discard()
      expect(readdirSync(join(blobs.path, 'uploads'))).toEqual([])
      return leave(killed)
    })
    expect(calls).toBeGreaterThan(40)
    record('an upload goes on', calls)
  })

  it('has a blob that is put after its sweep was cut off, and the next sweep ends what was begun', async () => {
    const calls = await atEachCall(async (at) => {
      const first = await open()
      const { $blob } = await first.put(content)
      await clock.advance(2 * graceMs)
      const killed = await runUntil(at, () => first.sweep($blob, clock.now() - graceMs))
      const blobs = await open()
      await blobs.put(content)
      await blobs.tidy(clock.now() - graceMs, () => false)
      await blobs.sweep($blob, clock.now() - graceMs)
      expect((await readBlob(blobs, $blob))?.equals(content)).toBe(true)
      expect(readdirSync(join(blobs.path, 'trash'))).toEqual([])
      return leave(killed)
    })
    expect(calls).toBeGreaterThan(3)
    record('a sweep is cut off', calls)
  })
})

describe('a sweep, stopped at each call while others go on', () => {
  it.each(['put', 'touch'] as const)(
    'spares what a %s renews meanwhile, and readers find it all the time',
    async (how) => {
      let found = 0
      const calls = await atEachCall(async (at) => {
        const blobs = await open()
        const { $blob } = await blobs.put(content)
        await clock.advance(2 * graceMs)
        const before = clock.now() - graceMs
        const sweeping = await runUntil(at, () => blobs.sweep($blob, before))
        const isPut = how === 'put' ? (await blobs.put(content)) !== undefined : await blobs.touch($blob)
        const read = async () => (await readBlob(blobs, $blob))?.equals(content)
        if (isPut) expect(await read()).toBe(true)
        await sweeping.resume()
        if (isPut) expect(await read()).toBe(true)
        if (isPut) found++
        return sweeping.isStopped
      })
      expect(found).toBeGreaterThan(how === 'put' ? calls : 0)
      record(`a sweep meets a ${how}`, calls)
    },
  )

  it('spares what is put while the put is stopped at each of its own calls', async () => {
    const calls = await atEachCall(async (at) => {
      const blobs = await open()
      const { $blob } = await blobs.put(content)
      await clock.advance(2 * graceMs)
      const putting = await runUntil(at, () => blobs.put(content))
      await blobs.sweep($blob, clock.now() - graceMs)
      await blobs.tidy(clock.now() - graceMs, () => false)
      await putting.resume()
      expect((await readBlob(blobs, $blob))?.equals(content)).toBe(true)
      return putting.isStopped
    })
    record('a put meets a sweep', calls)
  })

  it('spares what is touched while the touch is stopped at each of its own calls, if it says so', async () => {
    const calls = await atEachCall(async (at) => {
      const blobs = await open()
      const { $blob } = await blobs.put(content)
      await clock.advance(2 * graceMs)
      const touching = await runUntil(at, () => blobs.touch($blob))
      await blobs.sweep($blob, clock.now() - graceMs)
      if (await touching.resume()) expect(await blobs.get($blob)).toBeDefined()
      return touching.isStopped
    })
    record('a touch meets a sweep', calls)
  })

  it('ends beside another sweep, stopped wherever it was, without taking what is put', async () => {
    await atEachCall(async (at) => {
      const blobs = await open()
      const { $blob } = await blobs.put(content)
      await clock.advance(2 * graceMs)
      const before = clock.now() - graceMs
      const first = await runUntil(at, () => blobs.sweep($blob, before))
      await blobs.put(content)
      await blobs.sweep($blob, before)
      await blobs.tidy(before, () => false)
      await first.resume()
      expect((await readBlob(blobs, $blob))?.equals(content)).toBe(true)
      return first.isStopped
    })
  })
})

describe('what a put does', () => {
  it('is to sync the content before it is named, and the name before it is acknowledged', async () => {
    const blobs = await open()
    const { calls } = await runUntil(0, () => blobs.put(content))
    const named = calls.findIndex((call) => call.startsWith('rename'))
    expect(calls.slice(0, named).filter((call) => call === 'sync').length).toBeGreaterThan(0)
    expect(calls.lastIndexOf('sync')).toBeGreaterThan(named)
    expect(calls.lastIndexOf('sync')).toBeGreaterThan(calls.lastIndexOf('write'))
  })
})
