/** What readers are shown, from the tables. */
import type { SqliteHandle } from 'underpin/sqlite'
import type { ChangedFile, CheckpointStatus, Role } from './event.ts'
import { Refusal } from './refusal.ts'
import type { TurnState } from './state.ts'
import { statement } from './statements.ts'

export interface ProjectView {
  readonly projectId: string
  readonly title: string
  readonly workspaceRoot: string
  readonly defaultModel: string
  readonly createdAt: string
  readonly updatedAt: string
  readonly deletedAt: string | null
}

export interface ThreadView {
  readonly threadId: string
  readonly projectId: string
  readonly title: string
  readonly model: string
  readonly branch: string | null
  readonly worktreePath: string | null
  readonly latestTurnId: string | null
  readonly createdAt: string
  readonly updatedAt: string
  readonly deletedAt: string | null
}

export interface TurnView {
  readonly turnId: string
  readonly threadId: string
  readonly state: TurnState
  /** Why it failed or was interrupted. */
  readonly reason: string | null
  readonly requestedAt: string
  readonly startedAt: string | null
  readonly completedAt: string | null
  readonly checkpointRef: string | null
}

export interface MessageView {
  readonly messageId: string
  readonly threadId: string
  readonly turnId: string
  readonly role: Role
  readonly text: string
  readonly deltas: number
  readonly isStreaming: boolean
  readonly createdAt: string
  readonly updatedAt: string
}

export interface CheckpointView {
  readonly ref: string
  readonly threadId: string
  readonly turnId: string
  readonly status: CheckpointStatus
  readonly files: readonly ChangedFile[]
  readonly createdAt: string
  readonly updatedAt: string
}

const selects = {
  projects: `SELECT project_id AS projectId, title, workspace_root AS workspaceRoot, default_model AS defaultModel,
    created_at AS createdAt, updated_at AS updatedAt, deleted_at AS deletedAt FROM projection_projects`,
  threads: `SELECT thread_id AS threadId, project_id AS projectId, title, model, branch, worktree_path AS worktreePath,
    latest_turn_id AS latestTurnId, created_at AS createdAt, updated_at AS updatedAt, deleted_at AS deletedAt FROM projection_threads`,
  turns: `SELECT turn_id AS turnId, thread_id AS threadId, state, reason, requested_at AS requestedAt,
    started_at AS startedAt, completed_at AS completedAt, checkpoint_ref AS checkpointRef FROM projection_turns`,
  messages: `SELECT message_id AS messageId, thread_id AS threadId, turn_id AS turnId, role, text, deltas,
    is_streaming AS isStreaming, created_at AS createdAt, updated_at AS updatedAt FROM projection_messages`,
  checkpoints: `SELECT ref, thread_id AS threadId, turn_id AS turnId, status, files, created_at AS createdAt,
    updated_at AS updatedAt FROM checkpoints`,
} as const

export class Reader {
  readonly #handle: SqliteHandle

  constructor(handle: SqliteHandle) {
    this.#handle = handle
  }

  projects(): ProjectView[] {
    return this.#all(`${selects.projects} WHERE deleted_at IS NULL ORDER BY created_at, project_id`)
  }

  project(projectId: string): ProjectView {
    return this.#one('project', projectId, `${selects.projects} WHERE project_id = ?`)
  }

  threads(projectId: string): ThreadView[] {
    const sql = `${selects.threads} WHERE project_id = ? AND deleted_at IS NULL ORDER BY created_at, thread_id`
    return this.#all(sql, projectId)
  }

  thread(threadId: string): ThreadView {
    return this.#one('thread', threadId, `${selects.threads} WHERE thread_id = ?`)
  }

  turns(threadId: string): TurnView[] {
    return this.#all(`${selects.turns} WHERE thread_id = ? ORDER BY requested_at, turn_id`, threadId)
  }

  turn(turnId: string): TurnView {
    return this.#one('turn', turnId, `${selects.turns} WHERE turn_id = ?`)
  }

  /** The turns that wait for somebody to resume or abandon them. */
  interrupted(): TurnView[] {
    return this.#all(`${selects.turns} WHERE state = 'interrupted' ORDER BY requested_at, turn_id`)
  }

  messages(turnId: string): MessageView[] {
    const rows = this.#all<MessageView>(`${selects.messages} WHERE turn_id = ? ORDER BY sequence`, turnId)
    return rows.map((row) => ({ ...row, isStreaming: Boolean(row.isStreaming) }))
  }

  checkpoints(threadId: string): CheckpointView[] {
    const rows = this.#all<Omit<CheckpointView, 'files'> & { files: string }>(
      `${selects.checkpoints} WHERE thread_id = ? ORDER BY created_at, ref`,
      threadId,
    )
    return rows.map((row) => ({ ...row, files: JSON.parse(row.files) as ChangedFile[] }))
  }

  settings(): Record<string, unknown> {
    const rows = this.#all<{ key: string; value: string }>('SELECT key, value FROM settings ORDER BY key')
    return Object.fromEntries(rows.map(({ key, value }) => [key, JSON.parse(value) as unknown]))
  }

  /** How many events there are of each type. */
  eventCounts(): Record<string, number> {
    const sql =
      'SELECT event_type AS type, count(*) AS count FROM events GROUP BY event_type ORDER BY event_type'
    const rows = this.#all<{ type: string; count: number }>(sql)
    return Object.fromEntries(rows.map(({ type, count }) => [type, count]))
  }

  #all<T>(sql: string, ...values: string[]): T[] {
    return statement(this.#handle, sql)
      .all(...values)
      .map((row) => ({ ...(row as T) }))
  }

  #one<T>(what: string, id: string, sql: string): T {
    const [row] = this.#all<T>(sql, id)
    if (row === undefined) throw new Refusal('not-found', `There is no ${what} ${id}`)
    return row
  }
}
