-- The tables for readers. Underpin keeps the events themselves, in desk__events; what is here is made of them.

-- Sequence numbers are Underpin's positions: gapless, in commit order. The times of events are kept in milliseconds.
CREATE VIEW events AS
SELECT
  position AS sequence,
  type AS event_type,
  data AS payload,
  strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS stored_at
FROM desk__events;

-- The primary key already finds a sequence; this one also answers "how many of which type" without reading payloads.
CREATE INDEX idx_events_sequence ON desk__events (position, type);

CREATE TABLE projection_projects (
  project_id TEXT PRIMARY KEY,
  title TEXT NOT NULL,
  workspace_root TEXT NOT NULL,
  default_model TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  deleted_at TEXT
) STRICT;

CREATE TABLE projection_threads (
  thread_id TEXT PRIMARY KEY,
  project_id TEXT NOT NULL,
  title TEXT NOT NULL,
  model TEXT NOT NULL,
  branch TEXT,
  worktree_path TEXT,
  latest_turn_id TEXT,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  deleted_at TEXT
) STRICT;
CREATE INDEX idx_threads_project ON projection_threads (project_id);

CREATE TABLE projection_turns (
  turn_id TEXT PRIMARY KEY,
  thread_id TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  requested_at TEXT NOT NULL,
  started_at TEXT,
  completed_at TEXT,
  checkpoint_ref TEXT
) STRICT;
CREATE INDEX idx_turns_thread ON projection_turns (thread_id, requested_at);

CREATE TABLE projection_messages (
  message_id TEXT PRIMARY KEY,
  thread_id TEXT NOT NULL,
  turn_id TEXT NOT NULL,
  role TEXT NOT NULL,
  text TEXT NOT NULL,
  deltas INTEGER NOT NULL,
  is_streaming INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX idx_messages_turn ON projection_messages (turn_id, sequence);

CREATE TABLE checkpoints (
  ref TEXT PRIMARY KEY,
  thread_id TEXT NOT NULL,
  turn_id TEXT NOT NULL,
  status TEXT NOT NULL,
  files TEXT NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
) STRICT;
CREATE INDEX idx_checkpoints_thread ON checkpoints (thread_id);

CREATE TABLE settings (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- The last event that the tables above know of, written with them.
CREATE TABLE projection_progress (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  sequence INTEGER NOT NULL
) STRICT;
INSERT INTO projection_progress (id, sequence) VALUES (1, 0);
