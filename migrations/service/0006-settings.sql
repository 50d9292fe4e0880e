-- operational: what a db's owner set of how this server keeps it. Without a row the defaults hold.
CREATE TABLE setting (
  db_id TEXT PRIMARY KEY,
  -- JSON
  value TEXT NOT NULL,
  sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
