-- operational: where a db was cloned from. No credential is kept.
CREATE TABLE remote (
  db_id TEXT PRIMARY KEY,
  url TEXT NOT NULL,
  sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
