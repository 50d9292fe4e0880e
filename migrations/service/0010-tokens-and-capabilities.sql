-- operational: who made a token, and which one it takes the place of. NULL for tokens of before, and for the first.
ALTER TABLE token ADD COLUMN maker TEXT;
-- The maker's author name at that time: ids of people say little to a reader.
ALTER TABLE token ADD COLUMN maker_subject TEXT;
ALTER TABLE token ADD COLUMN predecessor TEXT;
CREATE INDEX token_predecessor ON token (predecessor) WHERE predecessor IS NOT NULL;

-- The key that a db belongs to: capabilities whose chain begins with it hold here. Goes with the db.
CREATE TABLE capability_owner (
  db_id TEXT PRIMARY KEY,
  -- did:key of an Ed25519 key.
  did TEXT NOT NULL,
  time INTEGER NOT NULL,
  -- Id of the principal that set it.
  by TEXT NOT NULL,
  sum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Capabilities that hold no more, for this db. A row is never removed, also when the db goes: one that is made under
-- the same name later may belong to the same key.
CREATE TABLE capability_revocation (
  db TEXT NOT NULL,
  -- Canonical address, as text.
  cid TEXT NOT NULL,
  time INTEGER NOT NULL,
  by TEXT NOT NULL,
  sum INTEGER NOT NULL,
  PRIMARY KEY (db, cid)
) STRICT, WITHOUT ROWID;
