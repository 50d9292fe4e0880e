-- operational: points of dbs that somebody gave a name. What they hold is made from the log when it is asked for.
CREATE TABLE snapshot (
  db_id TEXT NOT NULL,
  name TEXT NOT NULL,
  -- `history` or `state`.
  kind TEXT NOT NULL,
  -- Of a state; NULL is `main`, and a history has all branches.
  branch TEXT,
  seq INTEGER NOT NULL,
  -- Address of the commit; NULL before the first.
  commit_cid BLOB,
  created INTEGER NOT NULL,
  message TEXT,
  sum INTEGER NOT NULL,
  PRIMARY KEY (db_id, name)
) STRICT, WITHOUT ROWID;
