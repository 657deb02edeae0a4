import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type BlobRef,
  type BlobStore,
  collectBlobs,
  DirectoryBlobs,
  IpfsBlobs,
  readBlob,
} from '../src/blob.ts'
import { collection, type Domain, events } from '../src/index.ts'
import { randomOf } from './crash/random.ts'
import { FakeClock } from './fake-clock.ts'
import { type Place, placeKinds } from './places.ts'
import { append } from './proof.ts'
import { type FakeNode, startFakeNode } from './server/kubo.ts'

interface Letter {
  readonly title: string
  readonly attachments: readonly BlobRef[]
}
const domains = {
  post: {
    events: events<{ type: 'sent'; data: unknown; meta?: Record<string, unknown> }>(),
    collections: { letters: collection<Letter>() },
  },
  office: { collections: { letters: collection<Letter>() } },
}
const graceMs = 60_000

let folder: string
let clock: FakeClock
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-collect-'))
  clock = new FakeClock()
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function letter(...attachments: BlobRef[]): Letter {
  return { title: 'a letter', attachments }
}

async function kept(blobs: BlobStore): Promise<Set<string>> {
  const cids = new Set<string>()
  for await (const { cid } of blobs.list()) cids.add(cid)
  return cids
}

describe.each(placeKinds)('collecting blobs of domains on $name', ({ make, missing }) => {
  let place: Place
  let blobs: BlobStore
  beforeEach(async ({ skip }) => {
    skip(missing !== '', missing)
    place = make()
    blobs = await DirectoryBlobs.open(folder, { clock })
  })

  it('removes what nothing refers to, and keeps what an event, a document or a pin does', async () => {
    const store = await place.open(domains)
    const [post, office] = [store.domain('post'), store.domain('office')]
    const put = (name: string) => blobs.put(Buffer.from(name))
    const [inEvent, inMeta, inDocument, elsewhere, pinned, replaced, deleted, never] = (await Promise.all(
      ['event', 'meta', 'document', 'elsewhere', 'pinned', 'replaced', 'deleted', 'never'].map(put),
    )) as [BlobRef, BlobRef, BlobRef, BlobRef, BlobRef, BlobRef, BlobRef, BlobRef]
    await post.log.append('s', { type: 'sent', data: [{ deep: { down: inEvent } }], meta: { scan: inMeta } })
    await post.documents('letters').put('a', letter(replaced))
    await post.documents('letters').put('a', letter(inDocument))
    await office.documents('letters').put('b', letter(elsewhere))
    await office.documents('letters').put('c', letter(deleted))
    await office.documents('letters').delete('c')
    await blobs.pin(pinned)
    await clock.advance(graceMs + 1)
    const options = { domains: [post, office], graceMs }
    expect(await collectBlobs(blobs, { ...options, dryRun: true })).toMatchObject({ removed: 3, kept: 5 })
    expect((await kept(blobs)).size).toBe(8)
    expect(await collectBlobs(blobs, options)).toEqual({
      kept: 5,
      removed: 3,
      removedBytes: [replaced, deleted, never].reduce((sum, { size }) => sum + size, 0),
    })
    expect(await kept(blobs)).toEqual(
      new Set([inEvent, inMeta, inDocument, elsewhere, pinned].map(({ $blob }) => $blob)),
    )
    expect(await collectBlobs(blobs, options)).toMatchObject({ removed: 0 })
  })

  it('keeps what was put within the grace time, though nothing refers to it yet', async () => {
    const store = await place.open(domains)
    const ref = await blobs.put(Buffer.from('soon referred to'))
    await clock.advance(graceMs - 1)
    expect(await collectBlobs(blobs, { domains: [store.domain('post')], graceMs })).toMatchObject({ kept: 1 })
    await store.domain('post').documents('letters').put('a', letter(ref))
    await clock.advance(graceMs)
    expect(await collectBlobs(blobs, { domains: [store.domain('post')], graceMs })).toMatchObject({ kept: 1 })
  })

  it('loses no reference while many put, refer, replace and collect at once', async () => {
    const seed = Number(process.env.UNDERPIN_SEED ?? randomBytes(4).readUInt32LE())
    const since = performance.now()
    const store = await place.open(domains)
    const post = store.domain('post')
    const letters = post.documents('letters')
    let isOver = false
    let removed = 0
    const random = randomOf(seed)
    // Few contents, so that what is put has often just been let go of; in a round no time passes, between two the grace does.
    const write = async () => {
      const ref = await blobs.put(Buffer.from(`content ${Math.floor(random() * 12)}`))
      await letters.put(`letter ${Math.floor(random() * 6)}`, letter(ref))
    }
    const collector = async () => {
      while (!isOver) removed += (await collectBlobs(blobs, { domains: [post], graceMs })).removed
    }
    const collecting = Promise.all([collector(), collector()])
    for (let round = 0; round < 30; round++) {
      await Promise.all([write(), write(), write(), write()])
      await clock.advance(graceMs + 1)
    }
    isOver = true
    await collecting
    let missingBlobs = 0
    let tried = 0
    for await (const { value } of letters.all()) {
      for (const ref of value.attachments) {
        tried++
        if ((await readBlob(blobs, ref)) === undefined) missingBlobs++
      }
    }
    append({
      promise: 'a blob that is referred to is kept while others collect',
      backend: place.url?.split(':')[0] ?? 'memory',
      tried: 120,
      failed: missingBlobs,
      unknown: 0,
      seed,
      seconds: (performance.now() - since) / 1_000,
    })
    console.log(
      `seed ${seed}: 120 puts with 2 collectors, ${removed} removed, ${missingBlobs} of ${tried} references broken`,
    )
    expect(missingBlobs).toBe(0)
  })
})

describe('collecting', () => {
  let node: FakeNode
  beforeEach(async () => {
    node = await startFakeNode()
    return () => node.close()
  })

  it('works on IPFS as on a directory', async () => {
    const [place] = placeKinds
    const store = await (place as (typeof placeKinds)[number]).make().open(domains)
    const blobs = await IpfsBlobs.open(node.url, { clock })
    const [live, dead] = [await blobs.put(Buffer.from('live')), await blobs.put(Buffer.from('dead'))]
    await store.domain('post').documents('letters').put('a', letter(live))
    await clock.advance(graceMs + 1)
    expect(await collectBlobs(blobs, { domains: [store.domain('post')], graceMs })).toMatchObject({
      kept: 1,
      removed: 1,
    })
    expect(await blobs.get(dead)).toBeUndefined()
    expect((await readBlob(blobs, live))?.toString()).toBe('live')
  })

  it('without a domain is refused: it would remove everything', async () => {
    const blobs = await DirectoryBlobs.open(folder, { clock })
    await expect(collectBlobs(blobs, { domains: [] })).rejects.toThrow(TypeError)
    const notOurs = { name: 'x', head: async () => 0 } as unknown as Domain
    await expect(collectBlobs(blobs, { domains: [notOurs] })).rejects.toThrow(TypeError)
  })
})
