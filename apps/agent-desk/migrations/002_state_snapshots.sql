-- What the desk keeps in memory to decide by, as it was behind an event: a start reads it and the events behind it.
CREATE TABLE state_snapshots (
  sequence INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  taken_at TEXT NOT NULL
) STRICT;
