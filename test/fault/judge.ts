/** Judges single trials: what the caller was told against what the store holds. Pure, so that it can be tested. */

export interface Trial {
  readonly operation: string
  readonly isRead: boolean
  /** How the fault was placed, for messages. */
  readonly place: string
  readonly hasStruck: boolean
  /** Whether what the fault held back reached the server while the call was under way. */
  readonly isDelivered: boolean
  /** `done`, or the code of the error. */
  readonly told: string
  /** Whether the answer was what the store holds; true if there was none. */
  readonly isRight: boolean
  readonly ms: number
  readonly limitMs: number
  /** Positions that the operation takes. */
  readonly width: number
  /** Positions that were taken since it began, all of which are its own. */
  readonly taken: number
  /** Records of it that are there. */
  readonly found: number
}

export type Verdict =
  | 'succeeded'
  | 'unknown, is there'
  | 'unknown, is not there'
  | 'failed, is not there'
  | 'lost'
  | 'doubled'
  | 'half'
  | 'failed, but is there'
  | 'wrong answer'
  | 'late'

/** None of these may be. */
export const wrongVerdicts: readonly Verdict[] = [
  'lost',
  'doubled',
  'half',
  'failed, but is there',
  'wrong answer',
  'late',
]

export function judge({ told, isRight, ms, limitMs, width, taken, found }: Trial): Verdict {
  if (taken > width || found > width) return 'doubled'
  const isThere = taken === width && found === width
  if (!isThere && (taken > 0 || found > 0)) return 'half'
  if (ms > limitMs) return 'late'
  if (told === 'done') return !isThere ? 'lost' : isRight ? 'succeeded' : 'wrong answer'
  if (told === 'unknown') return isThere && width > 0 ? 'unknown, is there' : 'unknown, is not there'
  return isThere && width > 0 ? 'failed, but is there' : 'failed, is not there'
}

/** How often each verdict was given. */
export function count(trials: readonly Trial[]): Readonly<Record<Verdict, number>> {
  const counts: Record<Verdict, number> = {
    succeeded: 0,
    'unknown, is there': 0,
    'unknown, is not there': 0,
    'failed, is not there': 0,
    lost: 0,
    doubled: 0,
    half: 0,
    'failed, but is there': 0,
    'wrong answer': 0,
    late: 0,
  }
  for (const trial of trials) counts[judge(trial)]++
  return counts
}

export function isWrong(trial: Trial): boolean {
  return wrongVerdicts.includes(judge(trial))
}

/** One line for a trial that went wrong. */
export function describeTrial(trial: Trial): string {
  const { operation, place, told, taken, width, ms } = trial
  return `${operation}, ${place}: told ${told}, ${taken} of ${width} positions taken, ${Math.round(ms)} ms: ${judge(trial)}`
}
