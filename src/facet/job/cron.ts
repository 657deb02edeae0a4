/** Times of cron expressions, by the package `croner`, which is loaded when a schedule is used. */
import { UnderpinError } from '../../error.ts'

/** The times of an expression, in milliseconds since 1970. */
export interface Cron {
  /** The first one later than `at`; null if there is none. */
  after(at: number): number | null
  /** The last one earlier than `at`; null if there is none. */
  before(at: number): number | null
}

/** The part of croner that is used here. */
interface Croner {
  readonly Cron: new (
    pattern: string,
    options: { readonly timezone: string; readonly paused: true },
  ) => {
    nextRun(from: Date): Date | null
    previousRuns(count: number, from: Date): Date[]
  }
}

const install = 'npm install croner@^11'

/** `driver-missing` without croner, `invalid` for an expression or a time zone that it does not know. */
export async function loadCron(expression: string, timeZone: string): Promise<Cron> {
  const { Cron } = await load()
  try {
    const cron = new Cron(expression, { timezone: timeZone, paused: true })
    cron.nextRun(new Date(0))
    return {
      after: (at) => cron.nextRun(new Date(at))?.getTime() ?? null,
      before: (at) => cron.previousRuns(1, new Date(at))[0]?.getTime() ?? null,
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new UnderpinError(
      'invalid',
      `The schedule ${JSON.stringify(expression)} in ${JSON.stringify(timeZone)} cannot be read: ${reason}`,
      { hint: "Five or six fields, like '0 8 * * 1-5', and a time zone like 'Europe/Vienna'.", cause },
    )
  }
}

async function load(): Promise<Croner> {
  try {
    return (await import('croner')) as unknown as Croner
  } catch (cause) {
    throw new UnderpinError('driver-missing', 'Schedules need the package croner, which is not installed', {
      hint: `Run: ${install}`,
      cause,
    })
  }
}
