/**
 * `underpin/conformance`: the laws as tests that any backend can be put to, ours or a stranger's. Independent of any
 * test runner: run them all with {@link runConformance}, or loop over {@link laws}.
 */
import { randomBytes } from 'node:crypto'
import { commitLaws } from './commit-laws.ts'
import { feedLaws } from './feed-laws.ts'
import { Context, type Law, type Subject } from './harness.ts'
import { lifetimeLaws } from './lifetime-laws.ts'
import { readLaws } from './read-laws.ts'
import { repairLaws } from './repair-laws.ts'
import { storeLaws } from './store-laws.ts'
import { truncationLaws } from './truncation-laws.ts'
import { uniqueLaws } from './unique-laws.ts'

export type { Law, Subject } from './harness.ts'

/** All laws, by number. */
export const laws: readonly Law[] = [
  ...commitLaws,
  ...readLaws,
  ...feedLaws,
  ...uniqueLaws,
  ...repairLaws,
  ...lifetimeLaws,
  ...storeLaws,
  ...truncationLaws,
].sort((a, b) => a.law - b.law)

/** What came of one law. */
export interface LawResult {
  readonly law: number
  readonly name: string
  readonly result: 'passed' | 'failed' | 'skipped'
  /** Why it was skipped. */
  readonly reason?: string
  readonly error?: unknown
  /** Milliseconds. */
  readonly ms: number
}

export interface Report {
  readonly backend: string
  readonly results: readonly LawResult[]
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** Puts a subject to all laws, each in scratch domains of its own, which it leaves behind. */
export async function runConformance(
  subject: Subject,
  options: { readonly laws?: readonly Law[] } = {},
): Promise<Report> {
  const backend = await subject.open()
  try {
    const results: LawResult[] = []
    for (const law of options.laws ?? laws) results.push(await runLaw(law, subject, backend))
    const count = (result: LawResult['result']) => results.filter((found) => found.result === result).length
    return {
      backend: backend.name,
      results,
      passed: count('passed'),
      failed: count('failed'),
      skipped: count('skipped'),
    }
  } finally {
    await backend.close()
  }
}

/** Puts an open backend of the subject to one law. Never throws: what went wrong is in the result. */
export async function runLaw(
  law: Law,
  subject: Subject,
  backend: Awaited<ReturnType<Subject['open']>>,
): Promise<LawResult> {
  const { law: number, name } = law
  const since = performance.now()
  const reason = law.when?.(backend.supports, subject) ?? true
  if (reason !== true) return { law: number, name, result: 'skipped', reason, ms: 0 }
  const domain = `law${number}-${randomBytes(4).toString('hex')}`
  try {
    await law.run(new Context(backend, subject, domain, () => randomBytes(16).toString('hex')))
    return { law: number, name, result: 'passed', ms: performance.now() - since }
  } catch (error) {
    return { law: number, name, result: 'failed', error, ms: performance.now() - since }
  }
}
