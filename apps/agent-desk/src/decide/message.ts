/** Messages: whole, or as deltas that are counted, so that one sent twice is stored once. */
import type { CommandOf } from '../command.ts'
import type { DeskEvent } from '../event.ts'
import { Refusal } from '../refusal.ts'
import type { DeskState } from '../state.ts'
import type { Decision } from './decision.ts'
import { knownMessage, knownTurn, refuseKnown } from './found.ts'
import { refuseStranger, turnIn } from './turn.ts'

export function addMessage(state: DeskState, command: CommandOf<'message.add'>): Decision {
  const { type: _, ...data } = command
  const { threadId } = turnIn(state, data.turnId, ['requested', 'running', 'interrupted'])
  refuseKnown(state.messages, 'message', data.messageId)
  return { events: [{ type: 'message.added', data: { ...data, threadId } }] }
}

/**
 * Deltas from `index` on. Those that are stored already are passed over, so that an answer that was lost may be asked for
 * again; with a gap before them they are refused.
 */
export function appendDeltas(state: DeskState, command: CommandOf<'message.append'>): Decision {
  const { messageId, index, texts, runner } = command
  const { turnId, deltas, isStreaming } = knownMessage(state, messageId)
  if (index > deltas)
    throw new Refusal(
      'gap',
      `Message ${messageId} has ${deltas} deltas; one with index ${index} leaves a gap`,
      `Send them from index ${deltas} on.`,
    )
  const fresh = texts.slice(deltas - index)
  if (fresh.length === 0) return { events: [] }
  const turn = knownTurn(state, turnId)
  refuseStranger(turn, runner)
  if (!isStreaming)
    throw new Refusal(
      'wrong-state',
      `Message ${messageId} does not stream: its turn is ${turn.state}`,
      turn.state === 'interrupted' ? 'Resume the turn first.' : undefined,
    )
  const { threadId } = turn
  const events = fresh.map(
    (text, i): DeskEvent => ({
      type: 'message.delta',
      data: { messageId, threadId, turnId, index: deltas + i, text },
    }),
  )
  return { events }
}
