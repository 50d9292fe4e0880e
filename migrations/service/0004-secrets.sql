-- operational: keys by which this server knows what it has signed itself, such as tickets. Losing one ends what
-- was signed with it and nothing else.
CREATE TABLE secret (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL,
  sum INTEGER NOT NULL
) STRICT;
