-- derived: what the newest event on a name says: documents that were erased, rules of retention. Nothing that was
-- there before had any.
CREATE TABLE fact (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  seq INTEGER NOT NULL,
  value BLOB NOT NULL,
  sum INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
