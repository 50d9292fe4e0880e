-- operational: each row vouches for itself, so that rot gives nobody rights and takes no db away.
-- NULL until the first opening after this step fills it in.
ALTER TABLE token ADD COLUMN sum INTEGER;
ALTER TABLE db ADD COLUMN sum INTEGER;
