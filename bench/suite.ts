/** What can be measured on one kind of backend: its cases, where each run finds an empty place, and what is no case. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { measureBloat } from './bloat.ts'
import type { Case } from './case.ts'
import { measureAwait, measureFenceCost } from './cases/move-overhead.ts'
import { measurePause } from './cases/move-pause.ts'
import { measureMoveVerify } from './cases/move-verify.ts'
import { postgresCases } from './cases/postgres.ts'
import { sqliteCases } from './cases/sqlite.ts'
import { measureDelivery } from './delivery.ts'
import { measureImport } from './import.ts'
import { measureApplication, measureEta } from './move/application.ts'
import { runPgbench } from './pgbench.ts'
import type { Figure } from './report.ts'
import { openServer } from './server.ts'

/** An empty folder, or the URL of an empty database. */
export interface Places {
  make(): Promise<string>
  remove(place: string): Promise<void>
}

export interface Suite extends Places {
  readonly on: On
  readonly settings: string
  readonly cases: readonly Case[]
  /** By the id that asks for them. */
  readonly others: Readonly<Record<string, () => Promise<readonly Figure[]>>>
  close(): Promise<void>
}

export const backends = ['sqlite', 'postgres'] as const
export type On = (typeof backends)[number]

/** The suite, or a text that says why there is none. */
export async function openSuite(on: On, isQuick: boolean): Promise<Suite | string> {
  return on === 'sqlite' ? sqliteSuite(isQuick) : postgresSuite(isQuick)
}

function sqliteSuite(isQuick: boolean): Suite {
  const places: Places = {
    make: async () => mkdtempSync(join(tmpdir(), 'underpin-bench-')),
    remove: async (folder) => rmSync(folder, { recursive: true, force: true }),
  }
  return {
    on: 'sqlite',
    settings: 'synchronous=FULL where it can be set',
    cases: sqliteCases(isQuick),
    others: {
      import: () => measureImport(isQuick ? 300_000 : 1_000_000),
      delivery: () => measureDelivery('sqlite', places, isQuick ? 500 : 2_000),
    },
    ...places,
    async close() {},
  }
}

async function postgresSuite(isQuick: boolean): Promise<Suite | string> {
  const server = await openServer()
  if (typeof server === 'string') return server
  const places: Places = { make: server.create, remove: server.drop }
  return {
    on: 'postgres',
    settings: server.description,
    cases: postgresCases(isQuick),
    others: {
      bloat: () => measureBloat(places, isQuick ? 20 : 300),
      delivery: () => measureDelivery('postgres', places, isQuick ? 500 : 2_000),
      'move-app-p99': () =>
        measureApplication(
          places,
          isQuick
            ? { records: 200_000, seconds: 2, rounds: 5 }
            : { records: 1_000_000, seconds: 4, rounds: 10 },
        ),
      'move-eta': () => measureEta(places, isQuick ? 300_000 : 1_000_000),
      'move-verify': () => measureMoveVerify(places, isQuick ? 100_000 : 1_000_000),
      pgbench: () => runPgbench(places, isQuick ? 2 : 6),
      'move-pause': () => measurePause(places, isQuick ? 12 : 60, isQuick ? 60 : 200),
      'move-fence-cost': () => measureFenceCost(isQuick ? 41 : 301),
      'move-await': () => measureAwait(places, isQuick ? 7 : 31),
    },
    ...places,
    close: server.stop,
  }
}
