/** A source in memory and a copy of it on each kind of backend, for the tests of verify and repair. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { postgres } from '../../src/backend/postgres/postgres.ts'
import { sqlite } from '../../src/backend/sqlite/sqlite.ts'
import { systemClock } from '../../src/clock.ts'
import { append, put, remove } from '../../src/conformance/harness.ts'
import type { Change, Write } from '../../src/model/change.ts'
import { definitionsCollection } from '../../src/model/collection.ts'
import { vacantFence } from '../../src/model/fence.ts'
import { truncationsCollection } from '../../src/model/truncation.ts'
import { start } from '../../src/move/cutover.ts'
import { mirrorPage } from '../../src/move/mirror.ts'
import type { Sides } from '../../src/move/sides.ts'
import type { Scene } from './planted.ts'
import { inMemory, inPostgres, inSqlite, type Saboteur } from './saboteur.ts'

export const domain = 'app'
const server = inject('postgres')

export interface CopyKind {
  readonly name: 'memory' | 'sqlite' | 'postgres'
  /** Why it cannot be had on this machine; empty if it can. */
  readonly missing: string
  make(): { target: Backend; sabotage(): Promise<Saboteur>; remove(): void }
}

export const copyKinds: readonly CopyKind[] = [
  {
    name: 'memory',
    missing: '',
    make() {
      const target = memory()
      return { target, sabotage: async () => inMemory(target, domain), remove() {} }
    },
  },
  {
    name: 'sqlite',
    missing: '',
    make() {
      const folder = mkdtempSync(join(tmpdir(), 'underpin-verify-'))
      const file = join(folder, 'copy.db')
      return {
        target: sqlite(file),
        sabotage: async () => inSqlite(file, domain),
        remove: () => rmSync(folder, { recursive: true, force: true }),
      }
    },
  },
  {
    name: 'postgres',
    missing: 'reason' in server ? server.reason : '',
    make() {
      const schema = `verify_${randomBytes(4).toString('hex')}`
      const url = 'url' in server ? server.url : ''
      return {
        target: postgres(url, { schema }),
        sabotage: () => inPostgres(url, schema, domain),
        remove() {},
      }
    },
  },
]

export interface Copies {
  readonly sides: Sides
  readonly saboteur: Saboteur
  close(): Promise<void>
}

/** A source of every kind of record, and a copy that holds all of it. */
export async function makeCopies({ make }: CopyKind): Promise<Copies> {
  const { target, sabotage, remove } = make()
  const source = memory()
  await source.open()
  await target.open()
  const sides = { domain, source, target, clock: systemClock }
  await fill(source)
  await start(sides)
  await catchUp(sides)
  const saboteur = await sabotage()
  return {
    ...{ sides, saboteur },
    async close() {
      await saboteur.close()
      await target.close()
      await source.close()
      remove()
    },
  }
}

export async function catchUp(sides: Sides): Promise<void> {
  for (;;) {
    const { position, head, gap } = await mirrorPage(sides)
    if (gap !== undefined) throw new Error(`${gap.code}: ${gap.message}`)
    if (position >= head) return
  }
}

export async function commit(on: Backend, writes: readonly Write[]): Promise<void> {
  if (!(await attempt(on, writes))) throw new Error('A check failed')
}

/** False if a check failed. */
export async function attempt(on: Backend, writes: readonly Write[]): Promise<boolean> {
  const { epoch } = await on.fence(domain)
  const [outcome] = await on.commit(domain, epoch, [{ at: 1_700_000_000_000, writes, checks: [] }])
  if (outcome?.kind === 'refused') throw outcome.error
  return outcome?.kind === 'committed'
}

const byName = { fields: ['name'], unique: true, where: {} }

async function fill(on: Backend): Promise<void> {
  const first = { ...vacantFence, role: 'authority', epoch: 1, incarnation: 'source' } as const
  await on.transition(domain, vacantFence, first)
  const declare = (name: string, definition: object) =>
    commit(on, [put(definitionsCollection, name, { fields: {}, indexes: {}, ...definition })])
  await declare('users', { fields: { name: 'string' }, indexes: { byName } })
  await declare('things', {})
  await declare('$once', {})
  await declare(truncationsCollection, {})
  for (let i = 0; i < 12; i++) {
    await commit(on, [
      ...['s1', 's2', 's3', 's4'].map((stream) => append(stream, { i, stream })),
      put('users', `u${i}`, { name: `n${i}`, i }),
      put('things', `t${i}`, { i, text: 'Ünïcode 𝄞' }, i % 2 === 0 ? null : 1_800_000_000_000 + i),
      put('$once', `key-${i}`, { result: i }),
    ])
    await commit(on, [put('things', 'hot', { i })])
  }
  for (let i = 8; i < 12; i++) await commit(on, [remove('users', `u${i}`), remove('things', `t${i}`)])
  await commit(on, [put(truncationsCollection, 's4', { before: 4 })])
  await commit(on, [append('s1', { i: 'last' }), append('s5', { i: 'last' }), append('s1', { i: 'end' })])
}

/** What the copy holds, read before anything is planted. */
export async function sceneOf({ target }: Sides, random: () => number): Promise<Scene> {
  const { items, head } = await target.changes(domain, 0, 10_000)
  const taken = new Set(items.map(({ position }) => position))
  const holes = Array.from({ length: head }, (_, i) => i + 1).filter((position) => !taken.has(position))
  return { whole: items as readonly Change[], holes, head, random }
}
