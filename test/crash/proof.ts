/** The record of a proof with killed processes: one line for people, and one in reports/proof.jsonl for programs. */
import { append, type Proof } from '../proof.ts'
import type { Verdict } from './checker.ts'

/** What one killed process left, judged right after the kill and once more after the rest was done. */
export interface Trial {
  readonly wasKilled: boolean
  readonly acknowledged: number
  readonly verdicts: readonly Verdict[]
}

export function isWrong({ verdicts }: Trial): boolean {
  return verdicts.some(
    ({ lost, doubled, half, faults }) => lost.length + doubled.length + half.length + faults.length > 0,
  )
}

/** Prints and appends what came of the trials. */
export function record(promise: string, trials: readonly Trial[], seed: number, seconds: number): Proof {
  const killed = trials.filter(({ wasKilled }) => wasKilled)
  const failed = trials.filter(isWrong).length
  const proof: Proof = {
    promise,
    backend: 'sqlite',
    tried: killed.length,
    failed,
    unknown: trials.length - killed.length,
    seed,
    seconds: Math.round(seconds * 10) / 10,
  }
  const sum = (of: (verdict: Verdict) => number) =>
    trials.reduce((total, { verdicts }) => total + verdicts.reduce((most, v) => Math.max(most, of(v)), 0), 0)
  const acknowledged = trials.reduce((total, trial) => total + trial.acknowledged, 0)
  console.log(
    `${promise}: tried ${proof.tried} kills with ${acknowledged} acknowledged commits, lost ${sum((v) => v.lost.length)}, ` +
      `doubled ${sum((v) => v.doubled.length)}, half ${sum((v) => v.half.length)}, other faults ${sum((v) => v.faults.length)} ` +
      `(seed ${seed}, ${proof.seconds} s)`,
  )
  append(proof)
  return proof
}
