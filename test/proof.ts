/** The record of proofs for programs: one line each in reports/proof.jsonl. */
import { appendFileSync, mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export interface Proof {
  readonly promise: string
  readonly backend: string
  /** What was tried: processes that were killed, acknowledgements or deliveries that were looked at, races, histories. */
  readonly tried: number
  /** Those of them that broke the promise. */
  readonly failed: number
  /** Those that prove nothing: processes that ended before they could be killed, outcomes that nobody was told. */
  readonly unknown: number
  readonly seed: number
  readonly seconds: number
}

/** One line more in reports/proof.jsonl. */
export function append(proof: Proof): void {
  const reports = fileURLToPath(new URL('../reports/', import.meta.url))
  mkdirSync(reports, { recursive: true })
  appendFileSync(`${reports}proof.jsonl`, `${JSON.stringify(proof)}\n`)
}
