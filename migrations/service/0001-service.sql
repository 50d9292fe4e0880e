-- operational: who may do what on this server, and which dbs it has. Lost on export, never needed to rebuild a db.
-- Times are milliseconds since 1970.

-- A row is never removed, so an id in the audit log always leads to what the token was.
CREATE TABLE token (
  id TEXT PRIMARY KEY,
  label TEXT NOT NULL,
  -- Author of the commits written with the token.
  subject TEXT NOT NULL,
  -- SHA-256 of the token's text; the text itself is nowhere.
  hash BLOB NOT NULL UNIQUE,
  -- JSON array of scopes as text, such as ["mydb:doc.read:notes/"].
  scopes TEXT NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER,
  revoked INTEGER,
  last_used INTEGER
) STRICT;

CREATE TABLE db (
  db_id TEXT PRIMARY KEY,
  folder TEXT NOT NULL,
  created INTEGER NOT NULL,
  state TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  time INTEGER NOT NULL,
  -- Id of the token that acted.
  principal TEXT NOT NULL,
  action TEXT NOT NULL,
  db TEXT,
  detail TEXT
) STRICT;
