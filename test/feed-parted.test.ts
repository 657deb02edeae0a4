/** A page of the feed that ends within a large commit: the rest of it is picked out by the database, and nothing beyond. */
import { describe, expect, test } from 'vitest'
import type { Change } from '../src/model/change.ts'
import { inPostgres, inSqlite, type Saboteur } from './move/saboteur.ts'
import { placeKinds } from './places.ts'

const domains = { app: { collections: { things: {} } } } as const

function saboteurOf(url: string): Promise<Saboteur> | Saboteur {
  if (url.startsWith('sqlite:')) return inSqlite(url.slice('sqlite:'.length), 'app')
  const place = new URL(url)
  const schema = place.searchParams.get('schema') as string
  place.searchParams.delete('schema')
  return inPostgres(place.href, schema, 'app')
}

describe.each(placeKinds.filter(({ name }) => name !== 'memory'))('a parted commit on $name', (kind) => {
  test('a record in its middle that names another commit ends the page before it, and is damaged', async ({
    skip,
  }) => {
    skip(kind.missing !== '', kind.missing)
    const place = kind.make()
    const store = await place.open(domains)
    const app = store.domain('app')
    await app.transaction((t) => {
      for (let i = 0; i < 30; i++) {
        t.append('s', { type: 'happened', data: { i } })
        t.put('things', `thing-${i}`, { i } as never)
      }
    })
    const [backend] = [...store.backends.values()]
    const whole: Change[] = [...((await backend?.changes('app', 0, 1_000))?.items ?? [])]
    const first = whole.findIndex(({ kind }) => kind === 'event')
    const victim = whole[first + 20] as Change
    const saboteur = await saboteurOf(place.url as string)
    await saboteur.put({ ...victim, commit: victim.commit + 1 })
    await saboteur.close()
    const seen: number[] = []
    const walk = async () => {
      for (let after = 0; ; ) {
        const page = await backend?.changes('app', after, 3)
        if (page === undefined || page.next === after) return
        seen.push(...page.items.map(({ position }) => position))
        after = page.next
      }
    }
    await expect(walk()).rejects.toMatchObject({ code: 'damaged', details: { position: victim.position } })
    expect(seen).toEqual(whole.slice(0, first + 20).map(({ position }) => position))
  })
})
