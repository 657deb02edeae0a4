/**
 * The tables for readers, as a function of the events: run in the commit that appends them, and again, over all of them,
 * to rebuild or verify. So nothing but the event may decide what is written.
 */
import type { SqliteHandle } from 'underpin/sqlite'
import type { StoredDeskEvent } from './event.ts'
import { statement } from './statements.ts'

/** The tables, all of whose rows are made of events. */
export const projectionTables = [
  'projection_projects',
  'projection_threads',
  'projection_turns',
  'projection_messages',
  'checkpoints',
  'settings',
  'projection_progress',
] as const

type Value = string | number | null
type Run = (sql: string, ...values: Value[]) => void

/** Changes the tables by events, which must be the next ones. */
export function project(handle: SqliteHandle, events: readonly StoredDeskEvent[]): void {
  const run: Run = (sql, ...values) => void statement(handle, sql).run(...values)
  for (const event of events) projectOne(run, event)
  const last = events.at(-1)
  if (last !== undefined) run('UPDATE projection_progress SET sequence = ? WHERE id = 1', last.sequence)
}

function projectOne(run: Run, event: StoredDeskEvent): void {
  switch (event.type) {
    case 'message.delta':
      run(
        'UPDATE projection_messages SET text = text || ?, deltas = deltas + 1, updated_at = ? WHERE message_id = ?',
        event.data.text,
        event.storedAt,
        event.data.messageId,
      )
      return
    case 'project.added':
    case 'project.updated':
    case 'project.deleted':
      projectProject(run, event)
      return
    case 'thread.created':
    case 'thread.updated':
    case 'thread.deleted':
      projectThread(run, event)
      return
    case 'checkpoint.created':
    case 'checkpoint.marked':
      projectCheckpoint(run, event)
      return
    case 'setting.changed': {
      const value = JSON.stringify(event.data.value)
      run('INSERT OR REPLACE INTO settings VALUES (?, ?)', event.data.key, value)
      return
    }
    case 'setting.removed':
      run('DELETE FROM settings WHERE key = ?', event.data.key)
      return
    case 'message.added':
    case 'message.started':
    case 'message.finished':
      projectMessage(run, event)
      return
    default:
      projectTurn(run, event)
      return
  }
}

type Stored<T extends string> = Extract<StoredDeskEvent, { type: T }>

function projectProject(run: Run, { type, data, storedAt }: Stored<`project.${string}`>): void {
  const row = { table: 'projection_projects', key: 'project_id', id: data.projectId }
  if (type === 'project.deleted') {
    remove(run, row, storedAt)
    return
  }
  const { title, workspaceRoot: workspace_root, defaultModel: default_model } = data
  keep(run, row, { title, workspace_root, default_model }, storedAt, type === 'project.added')
}

function projectThread(run: Run, { type, data, storedAt }: Stored<`thread.${string}`>): void {
  const row = { table: 'projection_threads', key: 'thread_id', id: data.threadId }
  if (type === 'thread.deleted') {
    remove(run, row, storedAt)
    return
  }
  const { title, model, branch, worktreePath: worktree_path } = data
  const ofProject = type === 'thread.created' ? { project_id: data.projectId } : {}
  const fields = { ...ofProject, title, model, branch, worktree_path }
  keep(run, row, fields, storedAt, type === 'thread.created')
}

function projectTurn(run: Run, { type, data, storedAt }: Stored<`turn.${string}`>): void {
  const set = (fields: Fields) => update(run, 'projection_turns', ['turn_id', data.turnId], fields)
  switch (type) {
    case 'turn.requested': {
      const { turnId, threadId } = data
      insert(run, 'projection_turns', {
        turn_id: turnId,
        thread_id: threadId,
        state: 'requested',
        requested_at: storedAt,
      })
      const latest = { latest_turn_id: turnId, updated_at: storedAt }
      update(run, 'projection_threads', ['thread_id', threadId], latest)
      return
    }
    case 'turn.started':
      set({ state: 'running', started_at: storedAt })
      return
    case 'turn.resumed':
      set({ state: 'running', reason: null })
      run(
        'UPDATE projection_turns SET started_at = coalesce(started_at, ?) WHERE turn_id = ?',
        storedAt,
        data.turnId,
      )
      if (data.messageId !== null) setStreaming(run, data.messageId, 1, storedAt)
      return
    case 'turn.completed':
      set({ state: 'completed', completed_at: storedAt })
      return
    case 'turn.failed':
      set({ state: 'failed', completed_at: storedAt, reason: data.reason })
      stopStreaming(run, data.turnId, storedAt)
      return
    case 'turn.interrupted':
      set({ state: 'interrupted', reason: data.reason })
      stopStreaming(run, data.turnId, storedAt)
      return
    case 'turn.abandoned':
      set({ state: 'abandoned', completed_at: storedAt })
      stopStreaming(run, data.turnId, storedAt)
      return
  }
}

function projectMessage(
  run: Run,
  event: Stored<'message.added' | 'message.started' | 'message.finished'>,
): void {
  const { type, data, storedAt, sequence } = event
  if (type === 'message.finished') {
    setStreaming(run, data.messageId, 0, storedAt)
    return
  }
  insert(run, 'projection_messages', {
    message_id: data.messageId,
    thread_id: data.threadId,
    turn_id: data.turnId,
    role: data.role,
    text: type === 'message.added' ? data.text : '',
    deltas: 0,
    is_streaming: type === 'message.added' ? 0 : 1,
    sequence,
    created_at: storedAt,
    updated_at: storedAt,
  })
}

function projectCheckpoint(run: Run, { type, data, storedAt }: Stored<`checkpoint.${string}`>): void {
  const { ref } = data
  if (type === 'checkpoint.marked') {
    update(run, 'checkpoints', ['ref', ref], { status: data.status, updated_at: storedAt })
    return
  }
  insert(run, 'checkpoints', {
    ref,
    thread_id: data.threadId,
    turn_id: data.turnId,
    status: 'ready',
    files: JSON.stringify(data.files),
    created_at: storedAt,
    updated_at: storedAt,
  })
  update(run, 'projection_turns', ['turn_id', data.turnId], { checkpoint_ref: ref })
}

function stopStreaming(run: Run, turnId: string, at: string): void {
  run(
    'UPDATE projection_messages SET is_streaming = 0, updated_at = ? WHERE turn_id = ? AND is_streaming = 1',
    at,
    turnId,
  )
}

function setStreaming(run: Run, messageId: string, isStreaming: 0 | 1, at: string): void {
  update(run, 'projection_messages', ['message_id', messageId], { is_streaming: isStreaming, updated_at: at })
}

interface Row {
  readonly table: string
  readonly key: string
  readonly id: string
}

/** A row of what has a beginning and changes: made, or those of its fields changed that are given. */
function keep(run: Run, { table, key, id }: Row, fields: Fields, at: string, isNew: boolean): void {
  if (isNew) insert(run, table, { [key]: id, ...fields, created_at: at, updated_at: at })
  else update(run, table, [key, id], { ...fields, updated_at: at })
}

function remove(run: Run, { table, key, id }: Row, at: string): void {
  update(run, table, [key, id], { deleted_at: at, updated_at: at })
}

type Fields = Readonly<Record<string, Value | undefined>>

function insert(run: Run, table: string, fields: Fields): void {
  const given = givenIn(fields)
  const columns = given.map(([column]) => column).join(', ')
  const marks = given.map(() => '?').join(', ')
  run(`INSERT INTO ${table} (${columns}) VALUES (${marks})`, ...given.map(([, value]) => value))
}

/** Sets the fields that are given. */
function update(run: Run, table: string, [key, id]: readonly [string, string], fields: Fields): void {
  const given = givenIn(fields)
  const assignments = given.map(([column]) => `${column} = ?`).join(', ')
  run(`UPDATE ${table} SET ${assignments} WHERE ${key} = ?`, ...given.map(([, value]) => value), id)
}

function givenIn(fields: Fields): [string, Value][] {
  return Object.entries(fields).filter((entry): entry is [string, Value] => entry[1] !== undefined)
}
