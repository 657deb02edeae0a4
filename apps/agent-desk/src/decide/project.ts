/** Projects: a folder that agents work in. A live project has its folder for itself. */
import type { CommandOf } from '../command.ts'
import { Refusal } from '../refusal.ts'
import type { DeskState } from '../state.ts'
import { type Decision, given } from './decision.ts'
import { liveProject, refuseKnown, stillOpen } from './found.ts'

export function addProject(state: DeskState, command: CommandOf<'project.add'>): Decision {
  const { type: _, ...data } = command
  refuseKnown(state.projects, 'project', data.projectId)
  refuseTaken(state, data.projectId, data.workspaceRoot)
  return { events: [{ type: 'project.added', data }] }
}

export function updateProject(state: DeskState, command: CommandOf<'project.update'>): Decision {
  const { type: _, projectId, ...fields } = command
  liveProject(state, projectId)
  if (fields.workspaceRoot !== undefined) refuseTaken(state, projectId, fields.workspaceRoot)
  const changes = given(fields)
  return { events: changes ? [{ type: 'project.updated', data: { projectId, ...changes } }] : [] }
}

export function deleteProject(state: DeskState, { projectId }: CommandOf<'project.delete'>): Decision {
  liveProject(state, projectId)
  for (const [threadId, thread] of state.threads)
    if (thread.projectId === projectId && thread.openTurnId !== null)
      throw stillOpen(thread.openTurnId, threadId)
  return { events: [{ type: 'project.deleted', data: { projectId } }], idleProject: projectId }
}

function refuseTaken({ projects }: DeskState, projectId: string, workspaceRoot: string): void {
  for (const [id, project] of projects)
    if (id !== projectId && !project.isDeleted && project.workspaceRoot === workspaceRoot)
      throw new Refusal('exists', `Project ${id} works in ${workspaceRoot} already`)
}
