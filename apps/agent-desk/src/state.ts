/** What the desk keeps in memory to decide by: what there is and in what state, but no text. Made of events alone. */
import type { Json } from 'underpin'
import { type Agent, type CheckpointStatus, type DeskEvent, type StoredDeskEvent, streamOf } from './event.ts'

export type TurnState = 'requested' | 'running' | 'completed' | 'failed' | 'interrupted' | 'abandoned'

export interface ProjectState {
  readonly workspaceRoot: string
  readonly defaultModel: string
  readonly isDeleted: boolean
}

export interface ThreadState {
  readonly projectId: string
  readonly isDeleted: boolean
  /** The turn that is neither completed, failed nor abandoned. */
  readonly openTurnId: string | null
}

export interface TurnRecord {
  readonly threadId: string
  readonly state: TurnState
  readonly agent: Agent
  readonly runner: string | null
  /** The message that streams, or will when the turn is resumed. */
  readonly messageId: string | null
}

export interface MessageState {
  readonly turnId: string
  readonly deltas: number
  readonly isStreaming: boolean
}

export interface CheckpointState {
  readonly threadId: string
  readonly status: CheckpointStatus
}

/** Raise it whenever {@link DeskState.take} makes another state of the same events: older snapshots are not used then. */
export const stateVersion = 1

export class DeskState {
  /** The last event that is in. */
  sequence = 0
  readonly projects = new Map<string, ProjectState>()
  readonly threads = new Map<string, ThreadState>()
  readonly turns = new Map<string, TurnRecord>()
  readonly messages = new Map<string, MessageState>()
  readonly checkpoints = new Map<string, CheckpointState>()
  readonly settings = new Map<string, Json>()
  readonly #seqs = new Map<string, number>()

  /** How many events a stream has: what an append to it expects. */
  seqOf(stream: string): number {
    return this.#seqs.get(stream) ?? 0
  }

  /** Takes the next event. */
  take(event: StoredDeskEvent): void {
    const stream = streamOf(event)
    this.#seqs.set(stream, this.seqOf(stream) + 1)
    this.#apply(event)
    this.sequence = event.sequence
  }

  /** As JSON text; {@link DeskState.restore} reads it. */
  toText(): string {
    const { sequence, projects, threads, turns, messages, checkpoints, settings } = this
    const maps = [projects, threads, turns, messages, checkpoints, settings, this.#seqs]
    return JSON.stringify([sequence, ...maps.map((map) => [...map])])
  }

  static restore(text: string): DeskState {
    const [sequence, ...maps] = JSON.parse(text) as [number, ...[string, never][][]]
    const state = new DeskState()
    const { projects, threads, turns, messages, checkpoints, settings } = state
    const targets = [projects, threads, turns, messages, checkpoints, settings, state.#seqs]
    for (const [i, target] of targets.entries())
      for (const [key, value] of maps[i] ?? []) (target as Map<string, unknown>).set(key, value)
    state.sequence = sequence
    return state
  }

  #apply(event: DeskEvent): void {
    switch (event.type) {
      case 'message.delta':
        change(this.messages, event.data.messageId, { deltas: event.data.index + 1 })
        return
      case 'project.added':
      case 'project.updated':
      case 'project.deleted':
        this.#applyToProject(event)
        return
      case 'thread.created': {
        const { threadId, projectId } = event.data
        this.threads.set(threadId, { projectId, isDeleted: false, openTurnId: null })
        return
      }
      case 'thread.updated':
        return
      case 'thread.deleted':
        change(this.threads, event.data.threadId, { isDeleted: true })
        return
      case 'checkpoint.created': {
        const { ref, threadId } = event.data
        this.checkpoints.set(ref, { threadId, status: 'ready' })
        return
      }
      case 'checkpoint.marked':
        change(this.checkpoints, event.data.ref, { status: event.data.status })
        return
      case 'setting.changed':
        this.settings.set(event.data.key, event.data.value)
        return
      case 'setting.removed':
        this.settings.delete(event.data.key)
        return
      default:
        this.#applyToTurn(event)
    }
  }

  #applyToProject({ type, data }: Extract<DeskEvent, { type: `project.${string}` }>): void {
    const { projectId } = data
    switch (type) {
      case 'project.added': {
        const { workspaceRoot, defaultModel } = data
        this.projects.set(projectId, { workspaceRoot, defaultModel, isDeleted: false })
        return
      }
      case 'project.updated': {
        const { workspaceRoot, defaultModel } = data
        if (workspaceRoot !== undefined) change(this.projects, projectId, { workspaceRoot })
        if (defaultModel !== undefined) change(this.projects, projectId, { defaultModel })
        return
      }
      case 'project.deleted':
        change(this.projects, projectId, { isDeleted: true })
    }
  }

  #applyToTurn(event: TurnEvent): void {
    const { turnId, threadId } = event.data
    switch (event.type) {
      case 'turn.requested': {
        const { agent, runner } = event.data
        this.turns.set(turnId, { threadId, state: 'requested', agent, runner, messageId: null })
        change(this.threads, threadId, { openTurnId: turnId })
        return
      }
      case 'turn.started':
        change(this.turns, turnId, { state: 'running' })
        return
      case 'turn.completed':
        this.#end(turnId, threadId, 'completed')
        return
      case 'turn.failed':
        this.#end(turnId, threadId, 'failed')
        return
      case 'turn.abandoned':
        this.#end(turnId, threadId, 'abandoned')
        return
      case 'turn.interrupted':
        this.#streams(turnId, false)
        change(this.turns, turnId, { state: 'interrupted' })
        return
      case 'turn.resumed':
        change(this.turns, turnId, { state: 'running', runner: event.data.runner })
        this.#streams(turnId, true)
        return
      case 'message.added':
        this.messages.set(event.data.messageId, { turnId, deltas: 0, isStreaming: false })
        return
      case 'message.started':
        this.messages.set(event.data.messageId, { turnId, deltas: 0, isStreaming: true })
        change(this.turns, turnId, { messageId: event.data.messageId })
        return
      case 'message.finished':
        change(this.messages, event.data.messageId, { isStreaming: false })
        change(this.turns, turnId, { messageId: null })
        return
      default:
        event satisfies never
    }
  }

  #end(turnId: string, threadId: string, state: TurnState): void {
    this.#streams(turnId, false)
    change(this.turns, turnId, { state, messageId: null })
    change(this.threads, threadId, { openTurnId: null })
  }

  #streams(turnId: string, isStreaming: boolean): void {
    const messageId = this.turns.get(turnId)?.messageId ?? null
    if (messageId !== null) change(this.messages, messageId, { isStreaming })
  }
}

/** Deltas aside, which are most of all events and taken first. */
type TurnEvent = Exclude<
  Extract<DeskEvent, { type: `turn.${string}` | `message.${string}` }>,
  { type: 'message.delta' }
>

/** In place: a copy for each of a million events would be most of a start. What is not there was never decided: a bug. */
function change<T extends object>(map: Map<string, T>, key: string, fields: Partial<T>): void {
  const found = map.get(key)
  if (found === undefined) throw new Error(`The events tell of a change to ${key}, which they never made`)
  Object.assign(found, fields)
}
