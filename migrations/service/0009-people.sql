-- operational: people who have logged in, what they may do in which db, and links that invite them. Lost on export,
-- never needed to rebuild a db.
-- Times are milliseconds since 1970.

-- A row is never removed, so that an id in the audit log leads to somebody and no author name is given twice. Of a
-- person who was deleted only the id and the author name are left.
CREATE TABLE person (
  id TEXT PRIMARY KEY,
  -- Who the person is to the provider. NULL when deleted: whoever logs in with them then is somebody new.
  issuer TEXT,
  provider_sub TEXT,
  -- Author of the person's commits; never changes.
  subject TEXT NOT NULL UNIQUE,
  -- What of the author name a reader goes by, without what looks alike; NULL when it is nobody's in particular.
  likeness TEXT UNIQUE,
  -- As the provider says, at the last login.
  name TEXT NOT NULL,
  email TEXT,
  -- 1 or 0 by the provider's claim at the last login; NULL when it said nothing.
  claimed_admin INTEGER,
  -- What somebody here has set: 1 or 0, and the name or NULL.
  given_admin INTEGER NOT NULL,
  given_name TEXT,
  disabled INTEGER NOT NULL,
  created INTEGER NOT NULL,
  deleted INTEGER,
  last_seen INTEGER,
  sum INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX person_provider ON person (issuer, provider_sub);

CREATE TABLE role (
  db_id TEXT NOT NULL,
  person TEXT NOT NULL,
  -- `owner`, `editor` or `viewer`.
  role TEXT NOT NULL,
  given INTEGER NOT NULL,
  -- Id of the principal who gave it.
  giver TEXT NOT NULL,
  sum INTEGER NOT NULL,
  PRIMARY KEY (db_id, person)
) STRICT, WITHOUT ROWID;

CREATE INDEX role_person ON role (person);

CREATE TABLE invitation (
  id TEXT PRIMARY KEY,
  db_id TEXT NOT NULL,
  role TEXT NOT NULL,
  -- SHA-256 of the secret in the link; the secret itself is nowhere.
  hash BLOB NOT NULL UNIQUE,
  -- Id of the principal who made it.
  maker TEXT NOT NULL,
  note TEXT,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  -- People who may get a role by it.
  uses INTEGER NOT NULL,
  revoked INTEGER,
  sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX invitation_db ON invitation (db_id, created);

CREATE TABLE invitation_use (
  invitation TEXT NOT NULL,
  person TEXT NOT NULL,
  db_id TEXT NOT NULL,
  time INTEGER NOT NULL,
  -- 0 for somebody who had the role already, or a higher one.
  counted INTEGER NOT NULL,
  sum INTEGER NOT NULL,
  PRIMARY KEY (invitation, person)
) STRICT, WITHOUT ROWID;
