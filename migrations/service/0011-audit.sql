-- operational: what waits for its place in the audit log, which is a db. A row goes when the log has it; rows of
-- before there was the log have no sum and go the same way.
-- Name of the entry in the log; NULL: it follows from the row.
ALTER TABLE audit ADD COLUMN key TEXT;
-- JSON of the whole entry; NULL: the columns are all there is.
ALTER TABLE audit ADD COLUMN entry TEXT;
ALTER TABLE audit ADD COLUMN sum INTEGER;
