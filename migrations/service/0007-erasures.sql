-- operational: documents that were erased, of every db that is here or was: what puts an older copy of one back has
-- them erased again. The db is named by its uid, which it keeps wherever it goes.
CREATE TABLE erasure (
  uid BLOB NOT NULL,
  doc TEXT NOT NULL,
  seq INTEGER NOT NULL,
  commit_cid BLOB NOT NULL,
  time INTEGER NOT NULL,
  sum INTEGER NOT NULL,
  PRIMARY KEY (uid, doc)
) STRICT, WITHOUT ROWID;
