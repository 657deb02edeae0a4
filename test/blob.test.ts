import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type BlobStore, cidOf, DirectoryBlobs, IpfsBlobs, isBlobRef, isCid, readBlob } from '../src/blob.ts'
import { openStore } from '../src/index.ts'
import { FakeClock } from './fake-clock.ts'
import { type FakeNode, type Node, startFakeNode, startRealNode } from './server/kubo.ts'

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-blob-'))
  folders.push(folder)
  return folder
}

async function* streamOf(...chunks: readonly Uint8Array[]) {
  yield* chunks
}

function text(content: string): Buffer {
  return Buffer.from(content)
}

describe('a CID', () => {
  it.each([0, 1, 5, 64, 100_000])('of %i bytes is the one that multiformats makes', async (size) => {
    const bytes = randomBytes(size)
    const ours = cidOf(createHash('sha256').update(bytes).digest())
    expect(ours).toBe(CID.createV1(raw.code, await sha256.digest(bytes)).toString())
    expect(isCid(ours)).toBe(true)
  })

  it('is not a path, another kind of CID, or another way to write the same one', () => {
    const cid = cidOf(createHash('sha256').digest())
    const twin = `${cid.slice(0, -1)}${cid.at(-1) === 'b' ? 'c' : 'b'}`
    const others = [
      '',
      '../../etc/passwd',
      cid.toUpperCase(),
      `${cid}a`,
      twin,
      'QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn',
    ]
    expect(others.filter(isCid)).toEqual([])
    expect(isBlobRef({ $blob: cid, size: 1 })).toBe(true)
    expect(isBlobRef({ $blob: cid })).toBe(false)
  })
})

interface Opened {
  readonly blobs: BlobStore
  readonly clock: FakeClock
  /** Changes a byte of what is kept. */
  damage?: (cid: string) => void
  /** Cuts the last byte off. */
  truncate?: (cid: string) => void
}

const kinds: {
  name: string
  start(): Promise<Node | string | undefined>
  open(node: Node | undefined): Promise<Opened>
}[] = [
  {
    name: 'a directory',
    start: async () => undefined,
    open: async () => {
      const clock = new FakeClock()
      const path = newFolder()
      const pathOf = (cid: string) => join(path, 'blobs', cid.slice(-5, -3), cid.slice(-3, -1), cid)
      return {
        blobs: await DirectoryBlobs.open(path, { clock, sizeMax: 4_000_000 }),
        clock,
        damage: (cid) => writeFileSync(pathOf(cid), Buffer.alloc(statSync(pathOf(cid)).size)),
        truncate: (cid) => truncateSync(pathOf(cid), statSync(pathOf(cid)).size - 1),
      }
    },
  },
  {
    name: 'a server that speaks the RPC of IPFS',
    start: startFakeNode,
    open: async (node) => {
      const { contents } = node as FakeNode
      const clock = new FakeClock()
      const options = {
        clock,
        root: `/test-${randomBytes(4).toString('hex')}`,
        uploads: newFolder(),
        sizeMax: 4_000_000,
      }
      return {
        blobs: await IpfsBlobs.open(node?.url ?? '', options),
        clock,
        damage: (cid) => contents.set(cid, Buffer.alloc(contents.get(cid)?.length ?? 0)),
        truncate: (cid) => contents.set(cid, (contents.get(cid) ?? Buffer.alloc(1)).subarray(1)),
      }
    },
  },
  {
    name: 'a kubo node, offline',
    start: startRealNode,
    open: async (node) => {
      const clock = new FakeClock()
      const options = {
        clock,
        root: `/test-${randomBytes(4).toString('hex')}`,
        uploads: newFolder(),
        sizeMax: 4_000_000,
      }
      return { blobs: await IpfsBlobs.open(node?.url ?? '', options), clock }
    },
  },
]

describe.each(kinds)('blobs in $name', ({ start, open }) => {
  let node: Node | string | undefined
  let opened: Opened
  let blobs: BlobStore
  beforeAll(async () => {
    node = await start()
    return () => (typeof node === 'object' ? node.close() : undefined)
  })
  beforeEach(async ({ skip }) => {
    if (typeof node === 'string') return skip(node)
    opened = await open(node)
    blobs = opened.blobs
  })

  it('come back as they were put, under a reference that is plain JSON', async () => {
    const ref = await blobs.put(text('hello'), { type: 'text/plain' })
    expect(ref).toEqual({
      $blob: 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq',
      size: 5,
      type: 'text/plain',
    })
    expect((await readBlob(blobs, JSON.parse(JSON.stringify(ref))))?.toString()).toBe('hello')
    expect((await readBlob(blobs, ref.$blob))?.toString()).toBe('hello')
  })

  it('may be empty, and longer than one block of IPFS', async () => {
    for (const bytes of [Buffer.alloc(0), randomBytes(3_000_000)]) {
      const ref = await blobs.put(streamOf(bytes.subarray(0, 1_000_001), bytes.subarray(1_000_001)))
      expect(ref.size).toBe(bytes.length)
      expect((await readBlob(blobs, ref))?.equals(bytes)).toBe(true)
    }
  })

  it('that are not here are undefined; what is no reference is refused', async () => {
    const ref = { $blob: cidOf(createHash('sha256').update('nobody put this').digest()), size: 15 }
    expect(await blobs.get(ref)).toBeUndefined()
    expect(await blobs.touch(ref)).toBe(false)
    await expect(blobs.get('../../../etc/passwd')).rejects.toMatchObject({ code: 'invalid' })
  })

  it('that are put twice are kept once', async () => {
    const [one, two] = await Promise.all([blobs.put(text('same')), blobs.put(text('same'))])
    await blobs.put(text('same'))
    expect(one).toEqual(two)
    const kept: unknown[] = []
    for await (const blob of blobs.list()) kept.push(blob)
    expect(kept).toEqual([{ cid: one.$blob, size: 4, at: expect.closeTo(opened.clock.now(), 0) }])
  })

  it('over the limit, of the call or of the store, are refused and leave nothing', async () => {
    await expect(blobs.put(text('12345'), { sizeMax: 4 })).rejects.toMatchObject({ code: 'too-large' })
    await expect(blobs.put(streamOf(Buffer.alloc(3_999_999), Buffer.alloc(2)))).rejects.toMatchObject({
      code: 'too-large',
      details: { limit: 4_000_000 },
    })
    for await (const blob of blobs.list()) expect.unreachable(blob.cid)
  })

  it('whose source fails or is no bytes are not kept, and the error is the source’s own', async () => {
    async function* failing() {
      yield text('a')
      throw new RangeError('the source broke')
    }
    await expect(blobs.put(failing())).rejects.toThrow(new RangeError('the source broke'))
    await expect(blobs.put('text' as never)).rejects.toThrow(TypeError)
    await expect(blobs.put(streamOf('text' as never))).rejects.toThrow(/TextEncoder/)
    for await (const blob of blobs.list()) expect.unreachable(blob.cid)
  })

  it('end with aborted when the signal aborts, before and meanwhile', async () => {
    await expect(blobs.put(text('a'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    })
    const abort = new AbortController()
    async function* slow() {
      yield text('a')
      abort.abort()
      yield text('b')
    }
    await expect(blobs.put(slow(), { signal: abort.signal })).rejects.toMatchObject({ code: 'aborted' })
  })

  it('that were changed or cut never pass: damaged comes before the last byte', async ({ skip }) => {
    const { damage, truncate } = opened
    skip(damage === undefined, 'a real node is not reached into')
    for (const change of [damage, truncate]) {
      const ref = await blobs.put(randomBytes(600_000))
      const before = await blobs.get(ref.$blob)
      change?.(ref.$blob)
      let received = 0
      const reading = (async () => {
        for await (const chunk of before ?? []) received += chunk.length
      })()
      await expect(reading).rejects.toMatchObject({ code: 'damaged' })
      expect(received).toBeLessThan(600_000)
      const response = new Response(before?.stream())
      await expect(response.arrayBuffer()).rejects.toMatchObject({ code: 'damaged' })
    }
  })

  it('are held against the size in the reference', async () => {
    const { $blob } = await blobs.put(text('hello'))
    await expect(blobs.get({ $blob, size: 6 })).rejects.toMatchObject({ code: 'damaged' })
  })

  it('that were damaged are mended by putting the same again', async ({ skip }) => {
    skip(opened.damage === undefined, 'a real node is not reached into')
    const ref = await blobs.put(text('precious'))
    opened.damage?.(ref.$blob)
    await expect(readBlob(blobs, ref)).rejects.toMatchObject({ code: 'damaged' })
    await blobs.put(text('precious'))
    expect((await readBlob(blobs, ref))?.toString()).toBe('precious')
  })

  it('can be uploaded piece by piece, and gone on with where it was acknowledged', async () => {
    const first = await blobs.upload('report/2026 ✓')
    expect(await first.append(text('one '))).toBe(4)
    async function* failing() {
      yield text('lost ')
      throw new RangeError('the source broke')
    }
    await expect(first.append(failing())).rejects.toThrow(RangeError)
    const again = await blobs.upload('report/2026 ✓')
    expect(again.offset).toBe(4)
    await again.append(streamOf(text('t'), text('wo')))
    await expect(first.append(text('three'))).rejects.toMatchObject({ code: 'conflict' })
    const ref = await again.finish({ type: 'text/plain' })
    expect(ref).toMatchObject({ size: 7, type: 'text/plain' })
    expect((await blobs.upload('report/2026 ✓')).finished).toEqual({ $blob: ref.$blob, size: 7 })
    expect(await again.finish()).toMatchObject({ $blob: ref.$blob })
    await expect(again.append(text('more'))).rejects.toMatchObject({ code: 'conflict' })
    await again.discard()
    expect((await blobs.upload('report/2026 ✓')).offset).toBe(0)
    expect((await readBlob(blobs, ref))?.toString()).toBe('one two')
  })

  it('are swept only if they were neither put nor touched since', async () => {
    const { clock } = opened
    const old = await blobs.put(text('old'))
    const touched = await blobs.put(text('touched'))
    const again = await blobs.put(text('again'))
    await clock.advance(1_000)
    expect(await blobs.touch(touched)).toBe(true)
    await blobs.put(text('again'))
    const before = clock.now() - 500
    expect(await blobs.sweep(old.$blob, before)).toBe(true)
    expect(await blobs.sweep(touched.$blob, before)).toBe(false)
    expect(await blobs.sweep(again.$blob, before)).toBe(false)
    expect(await blobs.get(old)).toBeUndefined()
    expect((await readBlob(blobs, again))?.toString()).toBe('again')
    expect((await readBlob(blobs, touched))?.toString()).toBe('touched')
  })

  it('have pins', async () => {
    const { $blob } = await blobs.put(text('pinned'))
    await blobs.pin($blob)
    await blobs.pin($blob)
    expect(await blobs.pins()).toEqual([$blob])
    await blobs.unpin($blob)
    await blobs.unpin($blob)
    expect(await blobs.pins()).toEqual([])
  })

  it('leave nothing of abandoned uploads once their time is over', async () => {
    const upload = await blobs.upload('abandoned')
    await upload.append(text('x'))
    await blobs.tidy(Date.now() - 60_000, () => false)
    expect((await blobs.upload('abandoned')).offset).toBe(1)
    await blobs.tidy(Date.now() + 60_000, () => false)
    expect((await blobs.upload('abandoned')).offset).toBe(0)
  })
})

describe('a directory of blobs', () => {
  it('is refused if it holds something else, or was written by a newer version', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'thesis.doc'), 'x')
    await expect(DirectoryBlobs.open(folder)).rejects.toMatchObject({ code: 'foreign' })
    expect(readdirSync(folder)).toEqual(['thesis.doc'])
    const newer = newFolder()
    writeFileSync(join(newer, 'underpin-blobs.json'), '{"format":2}')
    await expect(DirectoryBlobs.open(newer)).rejects.toMatchObject({ code: 'unsupported' })
  })

  it('can be opened by several at once', async () => {
    const folder = join(newFolder(), 'deep', 'down')
    const opened = await Promise.all([1, 2, 3].map(() => DirectoryBlobs.open(folder)))
    const ref = await (opened[0] as DirectoryBlobs).put(text('shared'))
    expect((await readBlob(opened[1] as DirectoryBlobs, ref))?.toString()).toBe('shared')
  })

  it('that may not be written to says so with the system’s own error', async ({ skip }) => {
    skip(process.getuid?.() === 0, 'root may write everywhere')
    const folder = newFolder()
    const blobs = await DirectoryBlobs.open(folder)
    chmodSync(join(folder, 'incoming'), 0o500)
    await expect(blobs.put(text('x'))).rejects.toMatchObject({ code: 'EACCES' })
  })
})

describe('an IPFS node', () => {
  it('that is not there is unavailable, and the message says where it was looked for', async () => {
    await expect(IpfsBlobs.open('http://127.0.0.1:9')).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('127.0.0.1:9'),
    })
  })

  it('that never answers is given up in time', async () => {
    const clock = new FakeClock()
    const silent = ((_: string, { signal }: RequestInit) =>
      new Promise((_, reject) =>
        signal?.addEventListener('abort', () => reject(signal.reason)),
      )) as unknown as typeof fetch
    const opening = IpfsBlobs.open('http://node', { clock, deadlineMs: 1_000, fetch: silent })
    const outcome = expect(opening).rejects.toMatchObject({ code: 'unavailable' })
    await clock.advance(1_000)
    await outcome
  })

  it('that stores something else than it was sent is not believed', async () => {
    const node = await startFakeNode()
    const lying = (async (url: string, init: RequestInit) => {
      if (!url.includes('/add?')) return fetch(url, init)
      return new Response('{"Hash":"bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"}')
    }) as unknown as typeof fetch
    const draining = (async (url: string, init: RequestInit) => {
      if (init.body instanceof ReadableStream && url.includes('/add?')) for await (const _ of init.body);
      return lying(url, init)
    }) as unknown as typeof fetch
    const blobs = await IpfsBlobs.open(node.url, { fetch: draining })
    await expect(blobs.put(text('not hello'))).rejects.toMatchObject({ code: 'damaged' })
    await node.close()
  })

  it('without a folder for uploads refuses them', async () => {
    const node = await startFakeNode()
    const blobs = await IpfsBlobs.open(node.url)
    await expect(blobs.upload('x')).rejects.toMatchObject({ code: 'unsupported' })
    await node.close()
  })
})

describe('bytes', () => {
  it('never enter the log: values with them are refused, and the hint names blobs', async () => {
    const store = await openStore('memory:', { domains: { app: {} } })
    const appending = store.domain('app').log.append('s', { type: 'x', data: { file: Buffer.from('x') } })
    await expect(appending).rejects.toMatchObject({
      code: 'invalid',
      hint: expect.stringContaining('underpin/blob'),
    })
    await store.close()
  })
})
