/** What callers were told of the writes that they made, to be held against what the store has. */
import { isUnderpinError } from '../../src/index.ts'

export class Ledger {
  /** What each mark's caller was told: `done`, or the code of the error. */
  readonly told = new Map<string, string>()
  longestMs = 0

  /** Makes a call under a mark; its result or failure is noted, and never thrown. */
  async note(mark: string, call: () => Promise<unknown>): Promise<void> {
    const since = performance.now()
    const told = await call().then(
      () => 'done',
      (error: unknown) => (isUnderpinError(error) ? error.code : String(error)),
    )
    this.told.set(mark, told)
    this.longestMs = Math.max(this.longestMs, performance.now() - since)
  }

  /** How many callers were told what. */
  get counts(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const told of this.told.values()) counts[told] = (counts[told] ?? 0) + 1
    return counts
  }

  /** The marks whose callers were told something else than what is there. */
  judge(there: readonly string[]) {
    const times = new Map<string, number>()
    for (const mark of there) times.set(mark, (times.get(mark) ?? 0) + 1)
    const marks = [...this.told.keys()]
    return {
      lost: marks.filter((mark) => this.told.get(mark) === 'done' && !times.has(mark)),
      doubled: [...times.keys()].filter((mark) => (times.get(mark) ?? 0) > 1),
      untrue: marks.filter(
        (mark) => times.has(mark) && !['done', 'unknown'].includes(this.told.get(mark) ?? ''),
      ),
      foreign: [...times.keys()].filter((mark) => !this.told.has(mark)),
    }
  }
}

export const nothingWrong = { lost: [], doubled: [], untrue: [], foreign: [] }
