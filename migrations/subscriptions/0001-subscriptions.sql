-- operational: durable subscriptions of one db: what each is, and how far it has come. Lost on export, never needed
-- to rebuild the db.
CREATE TABLE head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  -- uid of the db.
  db BLOB NOT NULL,
  -- Rows of `subscription`, and the sum over their sums (mod 2^48): a row that is hidden or an older one is missed.
  count INTEGER NOT NULL,
  total INTEGER NOT NULL,
  -- Over all of the above.
  sum INTEGER NOT NULL
) STRICT;

CREATE TABLE subscription (
  name TEXT PRIMARY KEY,
  -- JSON: what it was made as.
  definition TEXT NOT NULL,
  -- Position, what is acknowledged ahead of it, failed deliveries, parked events.
  state BLOB NOT NULL,
  sum INTEGER NOT NULL
) STRICT;
