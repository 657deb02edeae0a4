import { describe, expect, it } from 'vitest'
import { openBackend, openStore, systemClock } from '../../src/index.ts'
import { start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import { placeKinds } from '../places.ts'

describe.each(placeKinds)('a copy on $name', ({ make, missing }) => {
  it('knows what it holds of a collection whose declaration is still to come', async ({ skip }) => {
    skip(missing !== '', missing)
    const url = make().url ?? 'memory:'
    const source = await openBackend('memory:')
    await source.open()
    const declare = async (fields: Record<string, 'number'>) => {
      const store = await openStore(source, { domains: { app: { collections: { docs: { fields } } } } })
      return store.domain('app').documents('docs')
    }
    await (await declare({})).put('x', { n: 1 })
    // The first declaration is superseded, and in the feed the second stands behind the document.
    const documents = await declare({ n: 'number' })
    const first = await openBackend(url)
    await first.open()
    const sides = { domain: 'app', source, target: first, clock: systemClock }
    await start(sides)
    await mirrorPage(sides, 1)
    await documents.put('x', { n: 2 })
    await declare({ n: 'number', m: 'number' })
    // A mover that was started later knows only what is stored; memory has no second view of the same place.
    const target = url === 'memory:' ? first : await openBackend(url)
    await target.open()
    const later = { ...sides, target }
    for (let isBehind = true; isBehind; ) {
      const { position, head } = await mirrorPage(later, 1)
      isBehind = position < head
    }
    const { head, digest } = await source.fence('app')
    expect(await target.fence('app')).toMatchObject({ head, digest })
    await Promise.all([source.close(), first.close(), target.close()])
  })
})
