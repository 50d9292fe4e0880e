-- operational: who made a token, and which one it takes the place of. NULL for tokens of before, and for the first.
ALTER TABLE token ADD COLUMN maker TEXT;
-- The maker's author name at that time: ids of people say little to a reader.
ALTER TABLE token ADD COLUMN maker_subject TEXT;
ALTER TABLE token ADD COLUMN predecessor TEXT;
CREATE INDEX token_predecessor ON token (predecessor) WHERE predecessor IS NOT NULL;
