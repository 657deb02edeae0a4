/** Which decider a command goes to. All are pure: state and command in, events or a refusal out. */
import type { Command } from '../command.ts'
import type { DeskState } from '../state.ts'
import { createCheckpoint, markCheckpoint } from './checkpoint.ts'
import type { Decision } from './decision.ts'
import { addMessage, appendDeltas } from './message.ts'
import { addProject, deleteProject, updateProject } from './project.ts'
import { removeSetting, setSetting } from './setting.ts'
import { createThread, deleteThread, updateThread } from './thread.ts'
import {
  abandonTurn,
  beginTurn,
  completeTurn,
  failTurn,
  interruptTurn,
  resumeTurn,
  startTurn,
} from './turn.ts'

type Deciders = {
  readonly [T in Command['type']]: (state: DeskState, command: Extract<Command, { type: T }>) => Decision
}

const deciders: Deciders = {
  'project.add': addProject,
  'project.update': updateProject,
  'project.delete': deleteProject,
  'thread.create': createThread,
  'thread.update': updateThread,
  'thread.delete': deleteThread,
  'turn.start': startTurn,
  'turn.begin': beginTurn,
  'turn.complete': completeTurn,
  'turn.fail': failTurn,
  'turn.interrupt': interruptTurn,
  'turn.resume': resumeTurn,
  'turn.abandon': abandonTurn,
  'message.add': addMessage,
  'message.append': appendDeltas,
  'checkpoint.create': createCheckpoint,
  'checkpoint.mark': markCheckpoint,
  'setting.set': setSetting,
  'setting.remove': removeSetting,
}

/** The events that a command leads to in a state; a `Refusal` if it cannot be done. */
export function decide(state: DeskState, command: Command): Decision {
  const decider = deciders[command.type] as (state: DeskState, command: Command) => Decision
  return decider(state, command)
}
