-- derived: from a document's Automerge id to its row, since an id that is worked out of a name does not lead
-- back to it. The first 52 bits are kept: whoever looks works the id out anew from the name and compares the
-- rest. Each row has a witness, so that one which is hidden is not taken for a document that never was.
CREATE TABLE automerge (id INTEGER NOT NULL, doc INTEGER NOT NULL, PRIMARY KEY (id, doc)) STRICT, WITHOUT ROWID;
-- What was there is made anew, with it.
DELETE FROM head;
DELETE FROM doc;
DELETE FROM touch;
DELETE FROM address;
DELETE FROM receipt;
DELETE FROM witness;
DELETE FROM bundle;
DELETE FROM bundle_doc;
