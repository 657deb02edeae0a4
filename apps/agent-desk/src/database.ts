/** The database of a desk: a store of Underpin, and a handle of our own on the same file, to read and migrate our tables. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Backend, type Domain, events, openStore, type Verification, verifyDomain } from 'underpin'
import { openHandle, type SqliteHandle } from 'underpin/sqlite'
import type { DeskEvent } from './event.ts'
import { migrate } from './migration.ts'

export interface Database {
  /** The events of the desk, and nothing else: so that its positions are the sequence, without holes. */
  readonly desk: Domain<DeskEvent>
  /** Leases of the processes that run turns. */
  readonly runtime: Domain
  readonly handle: SqliteHandle
  readonly file: string
  /** Reads every event and recomputes its checksum. */
  verify(): Promise<Verification>
  close(): Promise<void>
}

const domains = { desk: { events: events<DeskEvent>() }, runtime: {} } as const

/** Opens the database in a folder, which is made with its parents if it is not there. */
export async function openDatabase(dataDir: string): Promise<Database> {
  mkdirSync(dataDir, { recursive: true })
  const file = join(dataDir, 'desk.db')
  const store = await openStore(`sqlite:${file}`, { domains })
  let handle: SqliteHandle | undefined
  const close = async () => {
    handle?.close()
    await store.close()
  }
  try {
    handle = openHandle(file)
    migrate(handle, new Date())
    const backend = store.backends.get('main') as Backend
    return {
      desk: store.domain('desk'),
      runtime: store.domain('runtime'),
      handle,
      file,
      verify: () => verifyDomain(backend, 'desk'),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
