/**
 * Turns: a prompt and what an agent makes of it. requested → running → completed | failed; a turn whose process died or
 * was stopped is interrupted, and then resumed or abandoned.
 */
import type { CommandOf } from '../command.ts'
import { type DeskEvent, projectsStream } from '../event.ts'
import { Refusal } from '../refusal.ts'
import type { DeskState, TurnRecord, TurnState } from '../state.ts'
import type { Decision } from './decision.ts'
import { knownTurn, liveProject, liveThread, refuseKnown } from './found.ts'

export function startTurn(state: DeskState, command: CommandOf<'turn.start'>): Decision {
  const { threadId, turnId, messageId, prompt, runner } = command
  refuseKnown(state.turns, 'turn', turnId)
  refuseKnown(state.messages, 'message', messageId)
  const { projectId, openTurnId } = liveThread(state, threadId)
  liveProject(state, projectId)
  if (openTurnId !== null)
    throw new Refusal(
      'wrong-state',
      `Turn ${openTurnId} of this thread is ${state.turns.get(openTurnId)?.state}`,
      'A thread has one turn at a time: wait for it, resume it or abandon it.',
    )
  const agent = command.agent ?? { kind: 'simulated', seed: turnId, deltas: 40, delayMs: 25 }
  const by = agent.kind === 'external' ? null : runner
  return {
    events: [
      { type: 'turn.requested', data: { turnId, threadId, agent, runner: by } },
      { type: 'message.added', data: { messageId, threadId, turnId, role: 'user', text: prompt } },
    ],
    reads: [projectsStream],
  }
}

export function beginTurn(
  state: DeskState,
  { turnId, messageId, runner }: CommandOf<'turn.begin'>,
): Decision {
  const turn = turnIn(state, turnId, ['requested'])
  refuseStranger(turn, runner)
  refuseKnown(state.messages, 'message', messageId)
  const { threadId } = turn
  return {
    events: [{ type: 'turn.started', data: { turnId, threadId } }, startMessage(messageId, threadId, turnId)],
  }
}

export function completeTurn(state: DeskState, command: CommandOf<'turn.complete'>): Decision {
  const { turnId, checkpoint } = command
  const turn = turnIn(state, turnId, ['running'])
  refuseStranger(turn, command.runner)
  const events = finishMessage(turn, turnId)
  if (checkpoint !== undefined) {
    refuseKnown(state.checkpoints, 'checkpoint', checkpoint.ref)
    events.push({ type: 'checkpoint.created', data: { ...checkpoint, turnId, threadId: turn.threadId } })
  }
  events.push({ type: 'turn.completed', data: { turnId, threadId: turn.threadId } })
  return { events }
}

export function failTurn(state: DeskState, { turnId, reason, runner }: CommandOf<'turn.fail'>): Decision {
  const turn = turnIn(state, turnId, ['requested', 'running'])
  refuseStranger(turn, runner)
  return { events: [{ type: 'turn.failed', data: { turnId, threadId: turn.threadId, reason } }] }
}

export function interruptTurn(state: DeskState, { turnId, reason }: CommandOf<'turn.interrupt'>): Decision {
  const { threadId } = turnIn(state, turnId, ['requested', 'running'])
  return { events: [{ type: 'turn.interrupted', data: { turnId, threadId, reason } }] }
}

/** Goes on with the message that had begun; a turn that was interrupted before it began gets one. */
export function resumeTurn(state: DeskState, command: CommandOf<'turn.resume'>): Decision {
  const { turnId, runner } = command
  const { threadId, messageId, agent } = turnIn(state, turnId, ['interrupted'])
  const by = agent.kind === 'external' ? null : runner
  const events: DeskEvent[] = [{ type: 'turn.resumed', data: { turnId, threadId, runner: by, messageId } }]
  if (messageId === null) {
    refuseKnown(state.messages, 'message', command.messageId)
    events.push(startMessage(command.messageId, threadId, turnId))
  }
  return { events }
}

export function abandonTurn(state: DeskState, { turnId }: CommandOf<'turn.abandon'>): Decision {
  const { threadId } = turnIn(state, turnId, ['requested', 'running', 'interrupted'])
  return { events: [{ type: 'turn.abandoned', data: { turnId, threadId } }] }
}

export function turnIn(state: DeskState, turnId: string, states: readonly TurnState[]): TurnRecord {
  const turn = knownTurn(state, turnId)
  if (!states.includes(turn.state))
    throw new Refusal('wrong-state', `Turn ${turnId} is ${turn.state}, not ${states.join(' or ')}`)
  return turn
}

/** A process that was taken for dead, and whose turn another one resumed, is told so by what it tries to write. */
export function refuseStranger(turn: TurnRecord, runner: string | null): void {
  if (turn.runner === runner) return
  throw new Refusal(
    'not-runner',
    `The turn is run by ${turn.runner ?? 'an external agent'}, not by ${runner ?? 'one'}`,
  )
}

function startMessage(messageId: string, threadId: string, turnId: string): DeskEvent {
  return { type: 'message.started', data: { messageId, threadId, turnId, role: 'assistant' } }
}

function finishMessage({ threadId, messageId }: TurnRecord, turnId: string): DeskEvent[] {
  return messageId === null ? [] : [{ type: 'message.finished', data: { messageId, threadId, turnId } }]
}
