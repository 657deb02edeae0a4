/** Where facets are tested: memory, a SQLite file and a PostgreSQL schema; the same place for every store of one test. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, inject } from 'vitest'
import type { Backend } from '../src/backend/backend.ts'
import { memory } from '../src/backend/memory.ts'
import { type Domains, openStore, type Store, type StoreOptions } from '../src/index.ts'

const folders: string[] = []
const stores: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** One place that keeps data; what several processes can open has a URL. */
export interface Place {
  readonly url: string | undefined
  /** Opens it once more, as another process or after a restart. Closed when the test ends. */
  open<const D extends Domains>(domains: D, options?: Omit<StoreOptions<D>, 'domains'>): Promise<Store<D>>
}

function placeOf(target: string | Backend): Place {
  return {
    url: typeof target === 'string' ? target : undefined,
    async open(domains, options) {
      const store = await openStore(target, { domains, ...options })
      stores.push(store)
      return store
    },
  }
}

function sqlitePlace(): Place {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-place-'))
  folders.push(folder)
  return placeOf(`sqlite:${join(folder, 'app.db')}`)
}

const server = inject('postgres')

function postgresPlace(): Place {
  const url = 'url' in server ? server.url : ''
  return placeOf(`${url}?schema=place_${randomBytes(6).toString('hex')}`)
}

export interface PlaceKind {
  readonly name: 'memory' | 'sqlite' | 'postgres'
  /** Why it cannot be had on this machine; empty if it can. */
  readonly missing: string
  make(): Place
}

/** For `describe.each(placeKinds)('… on $name', ({ make, missing }) => { beforeEach(({ skip }) => skip(missing !== '', missing)) … })`. */
export const placeKinds: readonly PlaceKind[] = [
  { name: 'memory', missing: '', make: () => placeOf(memory()) },
  { name: 'sqlite', missing: '', make: sqlitePlace },
  { name: 'postgres', missing: 'reason' in server ? server.reason : '', make: postgresPlace },
]

/** Two places that a domain moves between. */
export interface PlacePair {
  readonly a: PlaceKind
  readonly b: PlaceKind
  /** "sqlite to postgres" */
  readonly name: string
  /** Why one of them cannot be had on this machine; empty if both can. */
  readonly missing: string
}

/** Every ordered pair of places, those of a kind with another of that kind too. */
export const placePairs: readonly PlacePair[] = placeKinds.flatMap((a) =>
  placeKinds.map((b) => ({ a, b, name: `${a.name} to ${b.name}`, missing: a.missing || b.missing })),
)
