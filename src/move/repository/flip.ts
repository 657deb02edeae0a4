/**
 * The cutover, in either direction: writes wait, whoever writes is waited for, what is noted is brought over, the other
 * side leads. If that cannot be done in time, the same side leads on, and nothing is lost.
 */
import { gate, type Side } from './control.ts'
import { drain } from './drain.ts'
import type { Permit } from './permit.ts'
import { otherOf } from './sides.ts'
import { nextState, phaseOf, type Steps } from './step.ts'

export interface RepositoryCutover {
  readonly from: Side
  readonly to: Side
  /** Milliseconds for which writes waited. */
  readonly pauseMs: number
  /** Keys that were brought over meanwhile. */
  readonly drained: number
}

export async function flip<R>(
  steps: Steps<R>,
  from: Side,
  { by, maxPauseMs }: { by: string | null; maxPauseMs: number },
): Promise<RepositoryCutover> {
  const { control } = steps
  const since = control.clock.monotonic()
  const until = since + maxPauseMs
  const sealed = await seal(steps, from, { by, maxPauseMs })
  try {
    const permit = await steps.permits.take(await steps.control.look())
    if (permit === undefined) throw givenUp(steps)
    try {
      await steps.sides.seal(sealed)
      await steps.emptied(sealed, until, permit)
      const drained = await drainAll(steps, permit, until)
      const found = await control.look()
      const next = nextState(found, phaseOf(otherOf(from)), { isSettled: true, by })
      if (found.state.epoch !== sealed || !permit.isLive || !(await control.change(found, next)))
        throw givenUp(steps)
      await steps.open(next.epoch)
      return { from, to: otherOf(from), pauseMs: control.clock.monotonic() - since, drained }
    } finally {
      await permit.end()
    }
  } catch (error) {
    const [undone] = await Promise.allSettled([reopen(steps, sealed)])
    if (undone.status === 'fulfilled') throw error
    throw new AggregateError([error, undone.reason], 'The cutover failed, and so did undoing its seal')
  }
}

/** The epoch of the seal. */
async function seal<R>(
  steps: Steps<R>,
  from: Side,
  { by, maxPauseMs }: { by: string | null; maxPauseMs: number },
): Promise<number> {
  const { control } = steps
  for (;;) {
    const found = await control.look()
    if (found.state.phase !== phaseOf(from))
      throw gate(control.name, `it is in the phase ${found.state.phase}`, 'Look at the status.')
    const next = nextState(found, 'sealed', { by, maxPauseMs })
    if (await control.change(found, next)) return next.epoch
  }
}

/** Everything that is noted, of the living and the dead: nobody writes, and nobody else copies any more. */
async function drainAll<R>(steps: Steps<R>, own: Permit, until: number): Promise<number> {
  const { control, sides } = steps
  const found = await control.look()
  // From here on, every note of an earlier epoch is of somebody who has ended.
  const permit = own.as({ ...found.state, isSettled: true })
  for (let drained = 0; ; ) {
    const { copied, left, error } = await drain(control, sides.copy, permit, { isForced: true })
    drained += copied
    if (left === 0) return drained
    if (copied === 0 || control.clock.monotonic() > until)
      throw gate(
        control.name,
        `${left} key(s) could not be brought over${error === undefined ? '' : `: ${error}`}`,
        'Nothing was lost. See the gaps; retry or resolve them, then cut over again.',
        { left },
      )
  }
}

/** Undoes a seal, by whomever, that was not followed by the flip. */
export async function reopen<R>(steps: Steps<R>, sealed: number): Promise<void> {
  await steps.take((found) =>
    found.state.epoch === sealed && found.state.phase === 'sealed'
      ? nextState(found, phaseOf(found.state.lead))
      : undefined,
  )
}

function givenUp<R>({ control }: Steps<R>) {
  return gate(
    control.name,
    'the cutover was given up, by its time or by somebody else',
    'Nothing was lost: the same side leads on. Look at the status, then cut over again.',
  )
}
