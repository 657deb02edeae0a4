/**
 * Follows a domain from where it left off: what was there, then what comes, without a gap between the two.
 * Run: `npm run build && npx tsx examples/follow.ts`.
 */
import { strict as assert } from 'node:assert'
import { openStore } from 'underpin'

const store = await openStore('memory:', { domains: { chat: { collections: { rooms: {} } } } })
const chat = store.domain('chat')
await chat.log.append('room-1', { type: 'said', data: { text: 'hello' } })
await chat.documents('rooms').put('room-1', { title: 'Lobby' })

const stop = new AbortController()
const seen: string[] = []
const following = (async () => {
  for await (const change of chat.follow({ after: 0, signal: stop.signal })) {
    seen.push(change.kind === 'event' ? change.type : `${change.collection}/${change.id}`)
    console.log(change.position, seen.at(-1))
    if (seen.at(-1) === 'left') stop.abort()
  }
})()

await chat.log.append('room-1', { type: 'said', data: { text: 'anybody there?' } })
await chat.log.append('room-1', { type: 'left', data: {} })
await following
assert.deepEqual(seen, ['$collections/rooms', 'said', 'rooms/room-1', 'said', 'left'])
await store.close()
