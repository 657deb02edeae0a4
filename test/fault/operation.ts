/** The operations that the faults are tried on, each with what it leaves when it is done once. */
import type { Change } from '../../src/model/change.ts'
import type { Fence } from '../../src/model/fence.ts'
import type { Doors, FollowerPage, Site } from './site.ts'

export interface Operation {
  readonly name: string
  readonly domain: 'app' | 'still' | 'copy' | 'turn'
  /** Positions that it takes; 0 for a read. */
  readonly width: number
  /** Whether it is one statement once the fence is known. */
  readonly isGuarded: boolean
  /** What it needs to know beforehand, asked without faults. */
  prepare?(site: Site, mark: string): Promise<unknown>
  /** Does it under a mark; returns the positions it was told, or for a read whether the answer is right. */
  run(doors: Doors, mark: string, prepared: unknown): Promise<readonly number[] | boolean>
}

const write = (
  name: string,
  run: Operation['run'],
  { width = 1, isGuarded = true, ...rest }: Partial<Operation> = {},
): Operation => ({ name, domain: 'app', width, isGuarded, run, ...rest })

const read = (name: string, run: (doors: Doors) => Promise<boolean>): Operation => ({
  name,
  domain: 'still',
  width: 0,
  isGuarded: false,
  run,
})

const forwards = { after: 0, before: Number.POSITIVE_INFINITY, backwards: false, limit: 10 }
const byId = { collection: 'plain', by: 'id', prefix: '', backwards: false, limit: 10, after: null } as const

export const operations: readonly Operation[] = [
  write('append', async ({ app }, data) => (await app.log.append('s', { type: 't', data })).positions),
  write(
    'append, expecting a seq',
    async ({ app }, data, expect) =>
      (await app.log.append('expected', { type: 't', data }, { expect: expect as number })).positions,
    { prepare: ({ patient }) => patient.app.log.seq('expected') },
  ),
  write(
    'append, with an id',
    async ({ app }, data) => (await app.log.append('s', { type: 't', data }, { id: data })).positions,
    { width: 2 },
  ),
  write('put', async ({ app }, id) => (await app.documents('plain').put(id, id)).positions),
  write(
    'put, with a unique key',
    async ({ app }, id) => (await app.documents('unique').put(id, { mail: id })).positions,
    { isGuarded: false },
  ),
  write('delete', async ({ app }, id) => (await app.documents('plain').delete(id)).positions),
  write(
    'apply',
    async ({ backend }, _mark, prepared) => {
      const page = prepared as FollowerPage
      await backend.apply('copy', 1, page)
      return page.items.map(({ position }) => position)
    },
    { domain: 'copy', prepare: (site, mark) => site.nextPage(mark) },
  ),
  write(
    'transition',
    async ({ backend }, _mark, found) => {
      const from = found as Fence
      const isDone = await backend.transition('turn', from, { ...from, epoch: from.epoch + 1 })
      if (!isDone) throw new Error('the fence is another')
      return []
    },
    { domain: 'turn', isGuarded: false, prepare: ({ patient }) => patient.backend.fence('turn') },
  ),
  read('read', async ({ backend }) => {
    const { items, head } = await backend.read('still', 's', forwards)
    return head === 3 && items.map(({ seq }) => seq).join() === '1'
  }),
  read('get', async ({ backend }) => {
    const { documents } = await backend.get('still', [{ collection: 'plain', id: 'a' }])
    return documents[0]?.kind === 'document' && documents[0].data === '1'
  }),
  read('scan', async ({ backend }) => {
    const { items } = await backend.scan('still', byId)
    return items.map(({ id }) => id).join() === 'a'
  }),
  read('changes', async ({ backend }) => {
    const { items } = await backend.changes('still', 2, 10)
    return items.map(({ position }) => position).join() === '3'
  }),
  read('fence', async ({ backend }) => (await backend.fence('still')).head === 3),
]

/** Whether a record was written under this mark. */
export function hasMark(change: Change, mark: string): boolean {
  if (change.kind !== 'event' && change.id === mark) return true
  return change.kind === 'event' && change.data === JSON.stringify(mark)
}
