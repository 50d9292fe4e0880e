-- derived: documents as tables, which SQL runs against. Every table is WITHOUT ROWID, so that the order of its rows says
-- nothing of the order in which they came.
CREATE TABLE skald_head (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  branch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  -- Seq of the last schema statement in force.
  schema INTEGER NOT NULL
) STRICT;

-- Whose file it is: uid and epoch of the db, and what tells it from one that was there before it.
CREATE TABLE skald_meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- The schema statements in force, in their order; those that could not be applied have the reason.
CREATE TABLE skald_schema (
  n INTEGER NOT NULL PRIMARY KEY,
  seq INTEGER NOT NULL,
  -- Its place among the statements of its commit.
  place INTEGER NOT NULL,
  sql TEXT NOT NULL,
  problem TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
  collection TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE commits (
  seq INTEGER NOT NULL PRIMARY KEY,
  id TEXT NOT NULL,
  branch TEXT NOT NULL,
  time TEXT NOT NULL,
  author TEXT NOT NULL,
  message TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
  collection TEXT NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  time TEXT NOT NULL,
  author TEXT NOT NULL,
  message TEXT,
  deleted INTEGER NOT NULL,
  changes INTEGER NOT NULL,
  PRIMARY KEY (collection, key, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE schema_violations (
  collection TEXT NOT NULL,
  key TEXT NOT NULL,
  seq INTEGER NOT NULL,
  code TEXT NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
