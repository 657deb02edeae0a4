/** A backfill, as an operator starts it: a move, run until it has caught up. */
import { openStore } from 'underpin'
import { type Direction, domains, endsOf, fillSource } from '../move/ends.ts'
import type { OpenPeer } from './peer.ts'

export const toPostgres: OpenPeer = (url) => open(url, 'to postgres')
export const toSqlite: OpenPeer = (url) => open(url, 'to sqlite')

async function open(url: string, direction: Direction) {
  const ends = endsOf(url, direction)
  let close = async () => {}
  return {
    durability: 'synchronous=FULL, synchronous_commit=on',
    async copy(count: number) {
      await fillSource(ends, count)
      const store = await openStore(ends.targets, { domains })
      close = () => store.close()
      const move = await store.move('bench', { to: 'to' })
      await move.start()
      return async () => {
        let done = 0
        await move.catchUp({
          onProgress: ({ records }) => {
            done = records
          },
        })
        return done
      }
    },
    close: () => close(),
  }
}
