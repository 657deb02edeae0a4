/** Movers in this process, and what they show: one for each domain, until they are interrupted or need not go on. */
import type { Move, MoveStatus, Progress } from '../../index.ts'
import type { Output } from '../output.ts'
import { showNumber } from '../text.ts'
import { Board, type Drawn } from './board.ts'
import { gateLines, moverLines } from './line.ts'
import type { MoveFlags, Pair } from './pair.ts'

export interface MoverFlags extends MoveFlags {
  readonly untilCaughtUp?: boolean
  /** Shows the gates as well. */
  readonly watch?: boolean
}

/** How a mover of this process ended. */
export interface Copied {
  readonly domain: string
  /** Records that it copied. */
  readonly records: number
}

/**
 * Copies until the signal aborts or every move has ended; with `untilCaughtUp`, until each copy holds what was there when
 * this began, and then a gap or a pause in the way is `gate`.
 */
export async function mirrorAll(
  pair: Pair,
  flags: MoverFlags,
  output: Output,
  signal: AbortSignal,
): Promise<readonly Copied[]> {
  const board = new Board(flags, output)
  const before = await pair.statuses()
  const behind = new Map(before.map(({ domain, head }) => [domain, head ?? 0]))
  const latest = new Map<string, Progress>()
  const copy = (move: Move) => {
    const onProgress = (now: Progress) => {
      latest.set(move.domain, now)
      if (now.position < (behind.get(move.domain) ?? Number.POSITIVE_INFINITY)) return
      behind.delete(move.domain)
      board.tell(caughtUpLine(move.domain, now, flags))
    }
    return flags.untilCaughtUp ? move.catchUp({ signal, onProgress }) : move.run({ signal, onProgress })
  }
  await board.during(Promise.all(pair.moves.map(copy)), async () =>
    drawn(flags.watch ? await pair.statuses() : before, latest, flags),
  )
  return pair.domains.map((domain) => ({ domain, records: latest.get(domain)?.records ?? 0 }))
}

function drawn(
  statuses: readonly MoveStatus[],
  latest: ReadonlyMap<string, Progress>,
  { watch = false }: MoverFlags,
): Drawn {
  return {
    lines: statuses.flatMap((status) => [
      ...moverLines(status, latest.get(status.domain)),
      ...(watch ? gateLines(status.gates).map((line) => `  ${line}`) : []),
    ]),
    records: [...latest].map(([domain, now]) => ({ kind: 'progress', verb: 'move', domain, ...now })),
  }
}

function caughtUpLine(domain: string, { position }: Progress, { untilCaughtUp }: MoverFlags): string {
  const goesOn = untilCaughtUp ? '' : '; it goes on copying what comes, until it is interrupted'
  return `${domain} has caught up at position ${showNumber(position)}${goesOn}`
}
