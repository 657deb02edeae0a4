/** Checkpoints: what the files of a workspace were behind a turn. */
import type { CommandOf } from '../command.ts'
import type { DeskState } from '../state.ts'
import type { Decision } from './decision.ts'
import { knownCheckpoint, refuseKnown } from './found.ts'
import { turnIn } from './turn.ts'

export function createCheckpoint(state: DeskState, command: CommandOf<'checkpoint.create'>): Decision {
  const { type: _, ...data } = command
  refuseKnown(state.checkpoints, 'checkpoint', data.ref)
  const { threadId } = turnIn(state, data.turnId, ['running', 'completed', 'failed', 'interrupted'])
  return { events: [{ type: 'checkpoint.created', data: { ...data, threadId } }] }
}

export function markCheckpoint(state: DeskState, { ref, status }: CommandOf<'checkpoint.mark'>): Decision {
  const found = knownCheckpoint(state, ref)
  if (found.status === status) return { events: [] }
  return { events: [{ type: 'checkpoint.marked', data: { ref, threadId: found.threadId, status } }] }
}
