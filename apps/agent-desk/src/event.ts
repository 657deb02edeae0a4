/** What can happen on a desk. Events are never rewritten: a field that comes later is optional. */
import type { Json } from 'underpin'

/** Who gives the text of a turn: the simulated agent of this app, or a program that sends it by commands. */
export type Agent =
  | { readonly kind: 'simulated'; readonly seed: string; readonly deltas: number; readonly delayMs: number }
  | { readonly kind: 'external' }

export type Role = 'user' | 'assistant' | 'system'

export interface ChangedFile {
  readonly path: string
  readonly kind: 'added' | 'modified' | 'deleted'
  readonly additions: number
  readonly deletions: number
}

export type CheckpointStatus = 'ready' | 'restored' | 'discarded'

interface ProjectFields {
  readonly title: string
  readonly workspaceRoot: string
  readonly defaultModel: string
}

interface ThreadFields {
  readonly title: string
  readonly model: string
  readonly branch: string | null
  readonly worktreePath: string | null
}

interface OfThread {
  readonly threadId: string
}

interface OfTurn extends OfThread {
  readonly turnId: string
}

interface OfMessage extends OfTurn {
  readonly messageId: string
}

/** The data of each event, by its type name. */
interface EventData {
  'project.added': { readonly projectId: string } & ProjectFields
  'project.updated': { readonly projectId: string } & Partial<ProjectFields>
  'project.deleted': { readonly projectId: string }
  'thread.created': OfThread & { readonly projectId: string } & ThreadFields
  'thread.updated': OfThread & Partial<ThreadFields>
  'thread.deleted': OfThread
  /** `runner` is the process that will run it; null where an external agent does. */
  'turn.requested': OfTurn & { readonly agent: Agent; readonly runner: string | null }
  'turn.started': OfTurn
  'turn.completed': OfTurn
  'turn.failed': OfTurn & { readonly reason: string }
  'turn.interrupted': OfTurn & { readonly reason: string }
  /** `messageId` is the message that goes on, if one had begun. */
  'turn.resumed': OfTurn & { readonly runner: string | null; readonly messageId: string | null }
  'turn.abandoned': OfTurn
  /** A message that is whole from the start. */
  'message.added': OfMessage & { readonly role: Role; readonly text: string }
  /** A message whose text comes in deltas. */
  'message.started': OfMessage & { readonly role: Role }
  /** `index` counts from 0 in the message, gapless. */
  'message.delta': OfMessage & { readonly index: number; readonly text: string }
  'message.finished': OfMessage
  'checkpoint.created': OfTurn & { readonly ref: string; readonly files: readonly ChangedFile[] }
  'checkpoint.marked': OfThread & { readonly ref: string; readonly status: CheckpointStatus }
  'setting.changed': { readonly key: string; readonly value: Json }
  'setting.removed': { readonly key: string }
}

export type EventTypeName = keyof EventData

/** An event that is to be stored. */
export type DeskEvent = {
  [T in EventTypeName]: { readonly type: T; readonly data: EventData[T] }
}[EventTypeName]

/** An event as it was stored. */
export type StoredDeskEvent = DeskEvent & {
  /** Gapless from 1 over the whole desk. */
  readonly sequence: number
  /** ISO 8601, in UTC. */
  readonly storedAt: string
}

/** The name that the `event_type` column has for an event. */
export function eventTypeName(event: DeskEvent): EventTypeName {
  return event.type
}

/** The stream that an event belongs to: what one decision depends on, and nothing more. */
export function streamOf(event: DeskEvent): string {
  if ('threadId' in event.data) return threadStream(event.data.threadId)
  return 'projectId' in event.data ? projectsStream : settingsStream
}

export const projectsStream = 'projects'
export const settingsStream = 'settings'

export function threadStream(threadId: string): string {
  return `thread-${threadId}`
}
