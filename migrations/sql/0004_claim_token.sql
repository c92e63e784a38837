-- A statement ends with a semicolon at the end of a line.

ALTER TABLE qa.partition_claim ADD token uuid, ADD former_token uuid;

COMMENT ON COLUMN qa.partition_claim.token IS 'Made for this claim alone; a write under another one is refused. NULL: claimed by a release without tokens.';
COMMENT ON COLUMN qa.partition_claim.former_token IS 'Token of the claim before; tells the maker of that one that nobody has claimed in between.';
