-- How loud an utterance was. A statement ends with a semicolon at the end of a line.

ALTER TABLE qa.log_entry ADD COLUMN loudness_dbfs double precision;

COMMENT ON COLUMN qa.log_entry.loudness_dbfs IS 'Active speech level of an utterance in dB of full scale (0: a full-scale square wave, telephone speech is about -26); NULL: no audio of it, or from before this was measured.';
