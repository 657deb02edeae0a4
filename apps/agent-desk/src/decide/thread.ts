/** Threads: conversations in a project, one turn at a time. */
import type { CommandOf } from '../command.ts'
import { projectsStream } from '../event.ts'
import type { DeskState } from '../state.ts'
import { type Decision, given } from './decision.ts'
import { liveProject, liveThread, refuseKnown, stillOpen } from './found.ts'

/** Depends on the projects: one that is deleted meanwhile gets no thread. */
export function createThread(state: DeskState, command: CommandOf<'thread.create'>): Decision {
  const { type: _, ...data } = command
  refuseKnown(state.threads, 'thread', data.threadId)
  const { defaultModel } = liveProject(state, data.projectId)
  return {
    events: [{ type: 'thread.created', data: { ...data, model: data.model ?? defaultModel } }],
    reads: [projectsStream],
  }
}

export function updateThread(state: DeskState, command: CommandOf<'thread.update'>): Decision {
  const { type: _, threadId, ...fields } = command
  liveThread(state, threadId)
  const changes = given(fields)
  return { events: changes ? [{ type: 'thread.updated', data: { threadId, ...changes } }] : [] }
}

export function deleteThread(state: DeskState, { threadId }: CommandOf<'thread.delete'>): Decision {
  const { openTurnId } = liveThread(state, threadId)
  if (openTurnId !== null) throw stillOpen(openTurnId, threadId)
  return { events: [{ type: 'thread.deleted', data: { threadId } }] }
}
