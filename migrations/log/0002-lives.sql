-- log: which lives the db has had after its first one, and another server's line of commits on its way in.
CREATE TABLE life (
  epoch INTEGER PRIMARY KEY,
  -- The last commit that it shares with the life before.
  after INTEGER NOT NULL,
  sum INTEGER NOT NULL
) STRICT;

CREATE TABLE incoming (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
