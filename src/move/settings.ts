/** What an operator may tune while a move runs. */
import { UnderpinError } from '../error.ts'
import { limits } from '../model/limit.ts'

export interface MoveSettings {
  /** Records read and applied at a time. */
  readonly pageItems: number
  /** Records a second that the mover copies at most; null for as fast as the throttle allows. */
  readonly maxRate: number | null
  /** The part of the time, in (0, 1], that the mover may work, whatever else it is told. */
  readonly maxDuty: number
  /** The application's commits may take so many times as long as without the mover before it gives way. */
  readonly latencyFactor: number
  /** Milliseconds that callers may wait for a cutover; then it is given up and the source goes on. */
  readonly maxPauseMs: number
  /** The part of the reads, in [0, 1], that are made on the other side too, and compared. */
  readonly shadow: number
  /** Acknowledge commits when the other side has them (`await`), or at once. */
  readonly mirror: 'behind' | 'await'
  readonly gates: GateLimits
}

export interface GateLimits {
  /** Positions that the copy may be behind. */
  readonly lag: number
  /** Milliseconds for which all other gates must have held while somebody watched (`soak`). */
  readonly soakMs: number
  /** A full comparison counts for so many milliseconds. */
  readonly verifiedForMs: number
  /** A mover that reported within so many milliseconds counts as running. */
  readonly moverForMs: number
  /** A look at the target may take so many times as long as at the source. */
  readonly latencyFactor: number
  /** A look at the target that takes so many milliseconds at most is fast enough, whatever the source takes. */
  readonly latencyMs: number
}

/** What {@link MoveSettings} are changed by: what is left out stays as it is. */
export type SettingsChange = Partial<Omit<MoveSettings, 'gates'>> & { readonly gates?: Partial<GateLimits> }

/** What a move begins with. */
export const defaultSettings: MoveSettings = {
  pageItems: 10_000,
  maxRate: null,
  maxDuty: 1,
  latencyFactor: 1.3,
  maxPauseMs: 2_000,
  shadow: 0,
  mirror: 'behind',
  gates: {
    lag: 10_000,
    soakMs: 0,
    verifiedForMs: 3_600_000,
    moverForMs: 30_000,
    latencyFactor: 20,
    latencyMs: 50,
  },
}

/** The settings with a change made to them; `invalid` if a setting is unknown or out of its range. */
export function changeSettings(settings: MoveSettings, change: SettingsChange): MoveSettings {
  const { gates, ...rest } = change
  check(rest, ranges)
  if (gates !== undefined) check(gates, gateRanges)
  return { ...settings, ...given(rest), gates: { ...settings.gates, ...given(gates ?? {}) } }
}

type Range = (value: unknown) => boolean

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const from =
  (least: number, most = Number.POSITIVE_INFINITY): Range =>
  (value) =>
    isNumber(value) && value >= least && value <= most

const ranges: Readonly<Record<keyof Omit<MoveSettings, 'gates'>, { fits: Range; what: string }>> = {
  pageItems: {
    fits: (value) => Number.isSafeInteger(value) && from(1, limits.pageItems)(value),
    what: `a whole number from 1 to ${limits.pageItems}`,
  },
  maxRate: { fits: (value) => value === null || from(1)(value), what: 'records a second from 1, or null' },
  maxDuty: { fits: (value) => from(0, 1)(value) && value !== 0, what: 'a part above 0 and up to 1' },
  latencyFactor: { fits: from(1), what: 'a factor from 1' },
  maxPauseMs: { fits: from(1), what: 'milliseconds from 1' },
  shadow: { fits: from(0, 1), what: 'a part from 0 to 1' },
  mirror: { fits: (value) => value === 'behind' || value === 'await', what: '"behind" or "await"' },
}

const gateRanges: Readonly<Record<keyof GateLimits, { fits: Range; what: string }>> = {
  lag: { fits: from(0), what: 'positions from 0' },
  soakMs: { fits: from(0), what: 'milliseconds from 0' },
  verifiedForMs: { fits: from(1), what: 'milliseconds from 1' },
  moverForMs: { fits: from(1), what: 'milliseconds from 1' },
  latencyFactor: { fits: from(1), what: 'a factor from 1' },
  latencyMs: { fits: from(0), what: 'milliseconds from 0' },
}

function check(
  change: Readonly<Record<string, unknown>>,
  known: Readonly<Record<string, { fits: Range; what: string }>>,
): void {
  for (const [name, value] of Object.entries(change)) {
    const range = Object.hasOwn(known, name) ? known[name] : undefined
    if (range === undefined)
      throw new UnderpinError('invalid', `A move has no setting ${JSON.stringify(name)}`, {
        hint: `The settings are ${Object.keys(known).join(', ')}.`,
      })
    if (value !== undefined && !range.fits(value))
      throw new UnderpinError('invalid', `${name} must be ${range.what}, not ${JSON.stringify(value)}`)
  }
}

function given<T extends object>(change: T): T {
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as T
}
