-- How angry an utterance was among its service's recent ones, and what the recogniser has learnt of a leg.
-- A statement ends with a semicolon at the end of a line.

ALTER TABLE qa.leg ADD COLUMN recogniser_state text;

COMMENT ON COLUMN qa.leg.recogniser_state IS 'What the recogniser had learnt of the speaker when the leg was covered so far; only the recogniser reads it. NULL: it tells none, or the leg has ended.';

ALTER TABLE qa.log_entry
    ADD COLUMN anger_score double precision,
    ADD COLUMN anger_rank double precision,
    ADD COLUMN anger_daily double precision;

COMMENT ON COLUMN qa.log_entry.anger_score IS 'Anger score of an utterance, unbounded; NULL: not allowed, nothing judged, or none given.';
COMMENT ON COLUMN qa.log_entry.anger_rank IS 'Share of the service''s recent utterances at least as angry, 0 to 1; NULL as anger_score.';
COMMENT ON COLUMN qa.log_entry.anger_daily IS 'How many utterances a day were at least as angry at the time; NULL as anger_score, or not known yet.';

CREATE OR REPLACE VIEW report.emotion_timeline AS
SELECT
    c.call_id,
    c.tenant,
    s.leg_id,
    s.ordinal,
    s.utterance_id,
    c.started_at + s.start_ms * interval '1 millisecond' AS spoken_at,
    s.start_ms::double precision / 1000 AS start_s,
    s.end_ms::double precision / 1000 AS end_s,
    CASE
        WHEN s.emotion IS NOT NULL THEN 'labelled'
        WHEN s.emotion_abstained THEN 'abstained'
        ELSE 'not_given'
    END AS outcome,
    s.emotion,
    s.emotion_confidence,
    s.language,
    s.text,
    s.engine,
    s.model,
    e.anger_rank,
    e.anger_daily,
    e.anger_score,
    NULLIF(e.detail -> 'emotion_distribution', 'null'::jsonb) AS emotion_distribution
FROM qa.call AS c
JOIN qa.spoken AS s ON s.call_id = c.call_id
JOIN qa.log_entry AS e ON e.utterance_id = s.utterance_id
WHERE s.emotion_policy = 'on';

COMMENT ON COLUMN report.emotion_timeline.anger_rank IS 'Share of the service''s recent utterances that were at least as angry, 0 to 1: 0.02 is among the angriest 2 %. NULL where nothing was judged, or the recogniser does not rank.';
COMMENT ON COLUMN report.emotion_timeline.anger_daily IS 'How many utterances a day were at least as angry, at the service''s traffic of the time; NULL as anger_rank, or in the first hour of a service.';
COMMENT ON COLUMN report.emotion_timeline.anger_score IS 'What is ranked: unbounded, higher is angrier. Comparable within one service and version of the weights only; NULL as anger_rank.';
COMMENT ON COLUMN report.emotion_timeline.emotion_distribution IS 'Probability of each label that can come, and of other, a JSON object; NULL as anger_rank.';
COMMENT ON COLUMN report.alert_log.evidence IS 'What it rests on, a JSON list: utterances with redacted text, times in milliseconds of call time, emotion, confidence and anger rank; or stretches of silence.';
