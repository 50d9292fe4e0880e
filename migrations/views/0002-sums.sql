-- derived: every row carries a sum over itself. What was there is made anew.
DROP TABLE head;
DROP TABLE document;
DROP TABLE saved;

CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;

CREATE TABLE document (
  name TEXT PRIMARY KEY,
  -- Commit that last touched the document.
  seq INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  -- Text, or deflated when it is long. NULL when its changes do not load; `problem` then says why.
  json ANY,
  problem TEXT,
  sum INTEGER NOT NULL
) STRICT;

-- A saved form holds every change up to its seq; loading it and viewing it at older heads is how a
-- point in the past is read.
CREATE TABLE saved (
  name TEXT NOT NULL,
  seq INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  sum INTEGER NOT NULL,
  PRIMARY KEY (name, seq)
) STRICT, WITHOUT ROWID;
