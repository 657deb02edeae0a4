import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { memory } from '../../src/backend/memory.ts'
import { postgres } from '../../src/backend/postgres/postgres.ts'
import { sqlite } from '../../src/backend/sqlite/sqlite.ts'
import { laws, runLaw, type Subject } from '../../src/conformance/conformance.ts'
import { append } from '../proof.ts'
import { Dance, Danced, phases, type TestPhase } from './phases.ts'

const folder = mkdtempSync(join(tmpdir(), 'underpin-phases-'))
afterAll(() => rmSync(folder, { recursive: true }))

const server = inject('postgres')

interface Kind {
  readonly missing: string
  readonly phases: readonly TestPhase[]
  make(phase: string): () => Backend
  readonly isReopened: boolean
}

const kinds: Record<string, Kind> = {
  memory: { missing: '', phases, make: () => memory, isReopened: false },
  sqlite: {
    ...{ missing: '', phases, isReopened: true },
    make: (phase) => () => sqlite(join(folder, `${phase.replace(' ', '-')}.db`)),
  },
  postgres: {
    ...{ missing: 'reason' in server ? server.reason : '', isReopened: true },
    // All four where laws are fast; here those in which PostgreSQL has taken a domain over, and has got its own back.
    phases: ['target', 'rolled back'],
    make: (phase) => () =>
      postgres('url' in server ? server.url : '', { schema: `phase_${phase.replace(' ', '_')}` }),
  },
}

/** Damaging records is left out: it is the same code in every phase, and ends the copying. */
function subjectOf(dance: Dance, make: () => Backend, isReopened: boolean): Subject {
  const open = async () => {
    const backend = make()
    await backend.open()
    return new Danced(backend, dance)
  }
  return isReopened ? { open, reopen: open } : { open }
}

const subjects = Object.entries(kinds).flatMap(([name, kind]) =>
  kind.phases.map((phase) => ({ name, phase, kind })),
)

describe.each(subjects)('the laws on $name, $phase', ({ name, phase, kind }) => {
  const dance = new Dance(phase)
  const subject = subjectOf(dance, kind.make(phase), kind.isReopened)
  let backend: Danced
  let since = 0
  let passed = 0
  beforeAll(async () => {
    since = performance.now()
    if (kind.missing === '') backend = (await subject.open()) as Danced
  }, 60_000)
  afterAll(async () => {
    await backend?.close()
    const seconds = (performance.now() - since) / 1_000
    console.log(`${name}, ${phase}: ${passed} laws, ${dance.copied} records copied, ${seconds.toFixed(1)} s`)
    const promise = `the laws hold in the phase of a move: ${phase}`
    append({ promise, backend: name, tried: passed, failed: 0, unknown: 0, seed: 0, seconds })
  })

  for (const law of laws) {
    it(`law ${law.law}: ${law.name}`, async ({ skip }) => {
      // Reason: places.ts says why this machine has no such server.
      skip(kind.missing !== '', kind.missing)
      const before = new Set(await backend.domains())
      const { result, reason, error } = await runLaw(law, subject, backend)
      if (result === 'skipped') skip(reason)
      if (result === 'failed') throw error
      passed++
      for (const domain of await backend.domains())
        if (!before.has(domain)) expect(await dance.difference(domain, backend.tested)).toBe('')
    })
  }
})
