/** The whole of a stream: what was archived of it, and what is left. */
import type { CallOptions } from '../../backend/backend.ts'
import { UnderpinError } from '../../error.ts'
import type { Event } from '../../model/event.ts'
import { quote } from '../../model/key.ts'
import { truncationsCollection } from '../../model/truncation.ts'
import type { Port } from '../port.ts'
import type { NewEvent, StoredEvent } from '../shape.ts'
import { storedTruncation, truncated } from '../truncated.ts'
import { type Archive, type ArchivedPart, openArchive } from './archive.ts'
import { snapshotCollections } from './snapshots.ts'

/** All events of a stream in order of seq, without a gap: `truncated` if some were removed and not archived. */
export async function* historyOf<E extends NewEvent>(
  port: Port,
  stream: string,
  archive: Archive,
  options: CallOptions = {},
): AsyncGenerator<StoredEvent<E>> {
  await port.ensure(snapshotCollections)
  const { documents } = await port.get([{ collection: truncationsCollection, id: stream }], options)
  const { before, archive: reference } = storedTruncation(documents[0]) ?? { before: 1, archive: null }
  let seq = 0
  if (before > 1) {
    if (reference === null) throw await truncated(port, stream, before, options)
    for (const { part, name } of await partsOf(port, stream, archive, reference))
      for await (const event of eventsOf(archive, name, part)) {
        // A compaction that died halfway had archived more than it removed: that is in the next part, or in the store.
        if (event.seq <= seq || event.seq >= before) continue
        if (event.seq !== seq + 1) throw await truncated(port, stream, event.seq, options)
        seq = event.seq
        yield* port.events.decode(event) as StoredEvent<E>[]
      }
  }
  for (let isEnd = false; !isEnd; ) {
    const limit = Math.min(1_000, port.limits.pageItems)
    const range = { after: seq, before: Number.POSITIVE_INFINITY, backwards: false, limit }
    const page = await port.read(stream, range, options)
    const [first] = page.items
    if (first !== undefined && first.seq !== seq + 1) throw await truncated(port, stream, first.seq, options)
    for (const event of page.items) yield* port.events.decode(event) as StoredEvent<E>[]
    seq = page.items.at(-1)?.seq ?? seq
    isEnd = page.next === null
  }
}

interface Named {
  readonly name: string
  readonly part: ArchivedPart
}

/** An archive and all before it, the first one first. */
async function partsOf(
  port: Port,
  stream: string,
  archive: Archive,
  last: string,
): Promise<readonly Named[]> {
  const parts: Named[] = []
  for (let name: string | null = last; name !== null; ) {
    const { part, events } = await openArchive(archive, name)
    await events.return(undefined)
    if (part.stream !== stream || part.domain !== port.domain || parts.some((seen) => seen.name === name))
      throw new UnderpinError('damaged', `The archive ${quote(name)} is not of stream ${quote(stream)}`, {
        details: { stream, reference: name },
      })
    parts.unshift({ name, part })
    name = part.previous
  }
  return parts
}

async function* eventsOf(archive: Archive, name: string, { first }: ArchivedPart): AsyncGenerator<Event> {
  const { part, events } = await openArchive(archive, name)
  if (part.first !== first) throw new UnderpinError('damaged', `The archive ${quote(name)} was replaced`)
  yield* events
}
