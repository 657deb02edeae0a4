/** The two ends of a measured move: a SQLite file and a PostgreSQL database, one of them full. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore, type Store } from 'underpin'
import { declared } from '../feed.ts'
import type { Places } from '../suite.ts'
import { event } from '../work.ts'

export type Direction = 'to postgres' | 'to sqlite'
export const domains = { bench: declared } as const
export type Bench = Store<typeof domains>

export interface Ends {
  readonly file: string
  readonly url: string
  /** The full one and the empty one, as backends of a store. */
  readonly targets: { readonly from: string; readonly to: string }
}

export function endsOf(url: string, direction: Direction): Ends {
  const file = join(mkdtempSync(join(tmpdir(), 'underpin-bench-')), 'move.db')
  const [sqlite, postgres] = [`sqlite:${file}`, url]
  return {
    file,
    url,
    targets: direction === 'to postgres' ? { from: sqlite, to: postgres } : { from: postgres, to: sqlite },
  }
}

/** Nine events for each document, of about 200 bytes each, in commits of many. */
export async function fill(store: Bench, count: number): Promise<void> {
  const bench = store.domain('bench')
  const each = 900
  for (let from = 0; from < count; from += 1_000) {
    await bench.log.append(
      `stream-${(from / 1_000) % 1_000}`,
      Array.from({ length: each }, (_, i) => event(from + i)),
    )
    await bench.transaction((t) => {
      for (let n = from + each; n < from + 1_000; n++) t.put('things', `thing-${n}`, event(n).data as never)
    })
  }
}

/** The full end, with so many records, and the store closed again. */
export async function fillSource({ targets }: Ends, count: number): Promise<void> {
  const store = await openStore(targets.from, { domains })
  await fill(store, count)
  await store.close()
}

/** An empty SQLite file and an empty database, removed at the end. */
export async function withBothKinds<R>(
  places: Places,
  run: (sqlite: string, postgres: string) => Promise<R>,
): Promise<R> {
  const folder = mkdtempSync(join(tmpdir(), 'underpin-bench-'))
  const database = await places.make()
  try {
    return await run(`sqlite:${join(folder, 'bench.db')}`, database)
  } finally {
    await places.remove(database)
    rmSync(folder, { recursive: true, force: true })
  }
}
