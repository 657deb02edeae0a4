/** A synchronous domain in memory or in a file that is gone when the test ends. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { openStoreSync, type SyncDomain, SyncStore } from '../src/sync.ts'

let folder: string
/** The stores that the test opened, closed when it ends. */
export const stores: { close(): void }[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'underpin-map-'))
})

afterEach(() => {
  for (const store of stores.splice(0)) store.close()
  rmSync(folder, { recursive: true, force: true })
})

export function openDomain(target: string): SyncDomain {
  const store = openStoreSync(target, { domains: { app: {} } })
  expect(store).toBeInstanceOf(SyncStore)
  stores.push(store)
  return store.domain('app')
}

/** The same file each time within a test: a second domain on it is a second process, or a restart. */
export const file = () => `sqlite:${join(folder, 'app.db')}`
