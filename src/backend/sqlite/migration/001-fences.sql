-- The fence of each domain that this database holds: who may write, under which epoch, and up to which position.
CREATE TABLE underpin_fences (
  domain TEXT PRIMARY KEY,
  role TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  head INTEGER NOT NULL,
  digest TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  successor TEXT
) STRICT, WITHOUT ROWID;
