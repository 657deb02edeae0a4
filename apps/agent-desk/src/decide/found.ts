/** What a command is about, or a refusal that says what is wrong with it. */
import { Refusal } from '../refusal.ts'
import type {
  CheckpointState,
  DeskState,
  MessageState,
  ProjectState,
  ThreadState,
  TurnRecord,
} from '../state.ts'

export function liveProject({ projects }: DeskState, projectId: string): ProjectState {
  const project = projects.get(projectId)
  if (project === undefined || project.isDeleted) throw missing('project', projectId, project !== undefined)
  return project
}

export function liveThread({ threads }: DeskState, threadId: string): ThreadState {
  const thread = threads.get(threadId)
  if (thread === undefined || thread.isDeleted) throw missing('thread', threadId, thread !== undefined)
  return thread
}

export function knownTurn({ turns }: DeskState, turnId: string): TurnRecord {
  return turns.get(turnId) ?? fail(missing('turn', turnId))
}

export function knownMessage({ messages }: DeskState, messageId: string): MessageState {
  return messages.get(messageId) ?? fail(missing('message', messageId))
}

export function knownCheckpoint({ checkpoints }: DeskState, ref: string): CheckpointState {
  return checkpoints.get(ref) ?? fail(missing('checkpoint', ref))
}

export function refuseKnown(map: ReadonlyMap<string, unknown>, what: string, id: string): void {
  if (map.has(id))
    throw new Refusal(
      'exists',
      `There is a ${what} ${id} already`,
      'If you sent this command before, it was done.',
    )
}

export function stillOpen(turnId: string, threadId: string): Refusal {
  return new Refusal('wrong-state', `Turn ${turnId} of thread ${threadId} is still open`, 'Abandon it first.')
}

function missing(what: string, id: string, wasDeleted = false): Refusal {
  return new Refusal('not-found', wasDeleted ? `The ${what} ${id} was deleted` : `There is no ${what} ${id}`)
}

function fail(refusal: Refusal): never {
  throw refusal
}
