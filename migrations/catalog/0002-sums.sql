-- derived: every row vouches for itself or for its neighbours, so that damage is not served. What was there is made anew.
DROP TABLE head;
DROP TABLE doc;
DROP TABLE touch;
DROP TABLE address;
DROP TABLE receipt;
DROP TABLE bundle;
DROP TABLE bundle_doc;

CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  seq INTEGER NOT NULL,
  -- Address of that commit: tells a catalog of this log from one of another life of it.
  cid BLOB,
  -- Rows of `address`, `doc` and `receipt`, and sums over the first and the last of these.
  addresses INTEGER NOT NULL,
  address_sum INTEGER NOT NULL,
  docs INTEGER NOT NULL,
  receipts INTEGER NOT NULL,
  receipt_sum INTEGER NOT NULL,
  -- Over all of the above.
  sum INTEGER NOT NULL
) STRICT;

CREATE TABLE doc (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  state BLOB NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  sum INTEGER NOT NULL
) STRICT;
CREATE INDEX doc_last ON doc (last);

-- Which commits touched which document: its history, and its heads at any point. Each names the one before
-- it (0 for none), so that one which is missing is missed.
CREATE TABLE touch (
  doc INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  before INTEGER NOT NULL,
  PRIMARY KEY (doc, seq)
) STRICT, WITHOUT ROWID;

-- Address to commit. The first 52 bits of a hash are kept: whoever looks reads the commit and
-- compares the rest, and a row takes 12 bytes where the whole hash would take 40.
CREATE TABLE address (prefix INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (prefix, seq)) STRICT, WITHOUT ROWID;

CREATE TABLE receipt (
  principal TEXT NOT NULL,
  client_tx_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (principal, client_tx_id)
) STRICT, WITHOUT ROWID;

-- A name (96 bits of blake3) for each document and each receipt, in a tree of its own: what one damaged page
-- of `doc` or `receipt` hides is still here, so it is not taken for something that never was.
CREATE TABLE witness (name BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;

-- Bundles of commits. What the tables above keep of single commits ends where the bundles end: a
-- bundle is expanded and searched instead.
CREATE TABLE bundle (last INTEGER PRIMARY KEY, first INTEGER NOT NULL) STRICT;
CREATE TABLE bundle_doc (doc INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (doc, last)) STRICT, WITHOUT ROWID;
