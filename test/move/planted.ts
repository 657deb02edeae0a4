/** Differences that are planted in a copy, by kind: each knows what it does to what was there. */
import { type Change, changeChecksum, keyOf, type RecordKey } from '../../src/model/change.ts'
import type { Document, Tombstone } from '../../src/model/document.ts'
import type { Event } from '../../src/model/event.ts'
import { encodeValue, type JsonText } from '../../src/model/value.ts'
import type { Saboteur } from './saboteur.ts'

/** What the copy holds, and a choice of it that the seed repeats. */
export interface Scene {
  readonly whole: readonly Change[]
  /** Positions that no live record stands at. */
  readonly holes: readonly number[]
  readonly head: number
  readonly random: () => number
}

export interface Plant {
  readonly name: string
  /** Does it, and returns the keys of the records of which at least one must be named; none where it is the fence. */
  readonly plant: (by: Saboteur, scene: Scene) => Promise<readonly RecordKey[]>
  /** Only where the saboteur can reach the fence. */
  readonly needsFence?: boolean
}

const pick = <T>({ random }: Scene, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T

function eventsOf({ whole }: Scene): readonly Event[] {
  return whole.filter((change) => change.kind === 'event')
}

function documentsOf({ whole }: Scene, collection = /^(?:users|things)$/): readonly Document[] {
  return whole.filter(
    (change) => change.kind === 'document' && collection.test(change.collection),
  ) as Document[]
}

function tombstonesOf({ whole }: Scene): readonly Tombstone[] {
  return whole.filter((change) => change.kind === 'tombstone')
}

/** With the checksum that its content has. */
function signed<C extends Change>(change: C): C {
  return { ...change, checksum: changeChecksum(change) }
}

const forged = encodeValue({ name: 'mallory', forged: true })

const put = async (by: Saboteur, ...changes: readonly Change[]): Promise<RecordKey[]> => {
  for (const change of changes) await by.put(change)
  return changes.map(keyOf)
}

const remove = async (by: Saboteur, ...changes: readonly Change[]): Promise<RecordKey[]> => {
  for (const change of changes) await by.remove(keyOf(change))
  return changes.map(keyOf)
}

/** A record of either kind with a value. */
const anyOf = (scene: Scene): Event | Document => pick(scene, [...eventsOf(scene), ...documentsOf(scene)])

export const plants: readonly Plant[] = [
  {
    name: 'a missing event',
    plant: (by, scene) => remove(by, pick(scene, eventsOf(scene))),
  },
  {
    name: 'a missing document',
    plant: (by, scene) => remove(by, pick(scene, documentsOf(scene))),
  },
  {
    name: 'a changed record under a fitting checksum',
    plant: (by, scene) => put(by, signed({ ...anyOf(scene), data: forged })),
  },
  {
    name: 'an extra event in a gap of the positions',
    plant(by, scene) {
      const position = pick(scene, scene.holes)
      const like = pick(scene, eventsOf(scene))
      return put(by, signed({ ...like, stream: 'foreign', seq: 1, position, commit: position }))
    },
  },
  {
    name: 'an extra document in a gap of the positions',
    plant(by, scene) {
      const position = pick(scene, scene.holes)
      const like = pick(scene, documentsOf(scene))
      return put(by, signed({ ...like, id: 'foreign', data: forged, position, commit: position }))
    },
  },
  {
    name: 'two values swapped',
    plant(by, scene) {
      const [a, b] = [pick(scene, documentsOf(scene)), pick(scene, eventsOf(scene))]
      return put(by, signed({ ...a, data: b.data }), signed({ ...b, data: a.data }))
    },
  },
  {
    name: 'two events of a stream in the wrong order',
    async plant(by, scene) {
      const a = pick(
        scene,
        eventsOf(scene).filter(({ stream, seq }) => stream === 's1' && seq > 1),
      )
      const b = eventsOf(scene).find(({ stream, seq }) => stream === 's1' && seq === a.seq - 1) as Event
      await remove(by, a, b)
      return put(by, signed({ ...a, seq: b.seq }), signed({ ...b, seq: a.seq }))
    },
  },
  {
    name: 'a wrong revision',
    plant(by, scene) {
      const position = pick(scene, scene.holes)
      return put(by, signed({ ...pick(scene, documentsOf(scene)), position, commit: position }))
    },
  },
  {
    name: 'a revision that the feed does not visit',
    plant: (by, scene) => put(by, signed({ ...pick(scene, documentsOf(scene)), position: 0, commit: 0 })),
  },
  {
    name: 'a foreign document where the feed does not visit',
    plant(by, scene) {
      const like = pick(scene, documentsOf(scene))
      return put(by, signed({ ...like, id: 'foreign', data: forged, position: 0, commit: 0 }))
    },
  },
  {
    name: 'a lost tombstone',
    plant: (by, scene) => remove(by, pick(scene, tombstonesOf(scene))),
  },
  {
    name: 'a deleted document that is back',
    plant(by, scene) {
      const { collection, id, at } = pick(scene, tombstonesOf(scene))
      const position = pick(scene, scene.holes)
      const kind = 'document' as const
      const content = { kind, collection, id, at, position, commit: position, data: forged, expiresAt: null }
      return put(by, signed({ ...content, checksum: '' }))
    },
  },
  {
    name: 'a lost once-record',
    plant: (by, scene) => remove(by, pick(scene, documentsOf(scene, /^\$once$/))),
  },
  {
    name: 'an event behind the head of the copy',
    plant(by, scene) {
      const last = eventsOf(scene).findLast(({ stream }) => stream === 's1') as Event
      const position = scene.head + 1 + Math.floor(scene.random() * 3)
      return put(by, signed({ ...last, seq: last.seq + 1, data: forged, position, commit: position }))
    },
  },
  {
    name: 'a document behind the head of the copy',
    plant(by, scene) {
      const position = scene.head + 1 + Math.floor(scene.random() * 3)
      const like = pick(scene, documentsOf(scene))
      return put(by, signed({ ...like, data: forged, position, commit: position }))
    },
  },
  {
    name: 'JSON text of the same value in another form',
    plant(by, scene) {
      const record = anyOf(scene)
      return put(by, { ...record, data: ` ${record.data}` as JsonText })
    },
  },
  {
    name: 'JSON text in another form under a fitting checksum',
    plant(by, scene) {
      const record = anyOf(scene)
      return put(by, signed({ ...record, data: ` ${record.data}` as JsonText }))
    },
  },
  {
    name: 'damaged bytes',
    plant(by, scene) {
      const record = anyOf(scene)
      return put(by, { ...record, data: record.data.replace('"i"', '"j"') as JsonText })
    },
  },
  {
    name: 'a damaged checksum',
    plant(by, scene) {
      const record = anyOf(scene)
      return put(by, { ...record, checksum: record.checksum.replace(/^./, (c) => (c === '0' ? '1' : '0')) })
    },
  },
  {
    name: 'a wrong expiry',
    plant(by, scene) {
      const record = pick(scene, documentsOf(scene))
      return put(by, signed({ ...record, expiresAt: (record.expiresAt ?? 1_700_000_000_000) + 1 }))
    },
  },
  {
    name: 'an expiry changed by hand',
    plant: (by, scene) => put(by, { ...pick(scene, documentsOf(scene)), expiresAt: 1_700_000_000_000 }),
  },
  {
    name: 'a wrong seq',
    async plant(by, scene) {
      const event = pick(scene, eventsOf(scene))
      await by.remove(keyOf(event))
      return put(by, signed({ ...event, seq: event.seq + 1_000 }))
    },
  },
  {
    name: 'a document in another collection',
    async plant(by, scene) {
      const document = pick(scene, documentsOf(scene, /^users$/))
      await by.remove(keyOf(document))
      return put(by, signed({ ...document, collection: 'things' }))
    },
  },
  {
    name: 'a truncated stream',
    plant(by, scene) {
      const events = eventsOf(scene).filter(({ stream }) => stream === 's2')
      return remove(by, ...events.slice(0, 1 + Math.floor(scene.random() * (events.length - 1))))
    },
  },
  {
    name: 'a stream without its last events',
    plant(by, scene) {
      const events = eventsOf(scene).filter(({ stream }) => stream === 's3')
      return remove(by, ...events.slice(1 + Math.floor(scene.random() * (events.length - 1))))
    },
  },
  {
    name: 'a wrong time or type',
    plant(by, scene) {
      const event = pick(scene, eventsOf(scene))
      return put(
        by,
        signed(scene.random() < 0.5 ? { ...event, at: event.at + 1 } : { ...event, type: 'Other' }),
      )
    },
  },
  {
    name: 'a changed digest in the fence',
    needsFence: true,
    async plant(by) {
      await by.setFence?.({ digest: '12345678'.repeat(4) })
      return []
    },
  },
  {
    name: 'a lowered head in the fence',
    needsFence: true,
    async plant(by, scene) {
      const head = scene.head - 1 - Math.floor(scene.random() * 5)
      await by.setFence?.({ head })
      return scene.whole.filter(({ position }) => position > head).map(keyOf)
    },
  },
]
