-- log: the records of one db, one row a commit, and what names the db. Nothing here can be derived.
CREATE TABLE record (
  seq INTEGER PRIMARY KEY,
  -- First seq of the range the row stands for: its own, or an earlier one for a bundle.
  first INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE identity (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
