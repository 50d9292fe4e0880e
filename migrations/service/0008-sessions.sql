-- operational: who is signed in to the dashboard. Losing a row signs somebody out and does nothing else.
CREATE TABLE session (
  id TEXT PRIMARY KEY,
  -- SHA-256 of the cookie; the cookie itself is nowhere.
  hash BLOB NOT NULL UNIQUE,
  -- `person` or `token`, and its id: whose the session is, and with what it ends.
  kind TEXT NOT NULL,
  whose TEXT NOT NULL,
  created INTEGER NOT NULL,
  -- Written some minutes late.
  used INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  -- From where and with what it was opened, for people to know their own by.
  address TEXT NOT NULL,
  agent TEXT NOT NULL,
  sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_whose ON session (kind, whose);
