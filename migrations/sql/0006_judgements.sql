-- What people say of alerts and emotion labels, and which rules were in force since when, by whom. All of it only
-- grows: the newest row counts. A statement ends with a semicolon at the end of a line.

CREATE TABLE qa.alert_judgement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id uuid NOT NULL,
    call_id text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('acknowledged', 'dismissed')),
    reason text,
    judged_by text NOT NULL,
    judged_at timestamptz NOT NULL DEFAULT now(),
    CHECK (verdict <> 'dismissed' OR reason IS NOT NULL)
);

CREATE INDEX alert_judgement_incident ON qa.alert_judgement (incident_id, id);
CREATE INDEX alert_judgement_call_id ON qa.alert_judgement (call_id);

COMMENT ON TABLE qa.alert_judgement IS 'What people said of alerts. Rows are never changed; of several on one alert the newest counts.';
COMMENT ON COLUMN qa.alert_judgement.id IS 'Order of judging.';
COMMENT ON COLUMN qa.alert_judgement.incident_id IS 'The alert.';
COMMENT ON COLUMN qa.alert_judgement.call_id IS 'The call, for erasure.';
COMMENT ON COLUMN qa.alert_judgement.verdict IS 'acknowledged (it was right) or dismissed (a false alarm).';
COMMENT ON COLUMN qa.alert_judgement.reason IS 'Why; always given with dismissed.';
COMMENT ON COLUMN qa.alert_judgement.judged_by IS 'Who.';
COMMENT ON COLUMN qa.alert_judgement.judged_at IS 'When, the database''s clock.';

CREATE TABLE qa.emotion_correction (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    utterance_id uuid NOT NULL,
    call_id text NOT NULL,
    emotion text NOT NULL,
    corrected_by text NOT NULL,
    corrected_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX emotion_correction_utterance ON qa.emotion_correction (utterance_id, id);
CREATE INDEX emotion_correction_call_id ON qa.emotion_correction (call_id);

COMMENT ON TABLE qa.emotion_correction IS 'Emotion labels given by people who listened. Rows are never changed; of several on one utterance the newest counts.';
COMMENT ON COLUMN qa.emotion_correction.id IS 'Order of correcting.';
COMMENT ON COLUMN qa.emotion_correction.utterance_id IS 'The utterance.';
COMMENT ON COLUMN qa.emotion_correction.call_id IS 'The call, for erasure.';
COMMENT ON COLUMN qa.emotion_correction.emotion IS 'The right label: one that emotion train takes.';
COMMENT ON COLUMN qa.emotion_correction.corrected_by IS 'Who.';
COMMENT ON COLUMN qa.emotion_correction.corrected_at IS 'When, the database''s clock.';

CREATE TABLE qa.rule_set_version (
    version integer PRIMARY KEY,
    hash text NOT NULL,
    name text NOT NULL,
    published_by text NOT NULL,
    activated_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE qa.rule_set_version IS 'Rule sets published, in the order in which they came into force for new calls. Rows are never changed; the source stands in rule_set.';
COMMENT ON COLUMN qa.rule_set_version.version IS '1, 2, 3 ...; publishing an earlier rule set again is a new version.';
COMMENT ON COLUMN qa.rule_set_version.hash IS 'The rule set, in rule_set.';
COMMENT ON COLUMN qa.rule_set_version.name IS 'What its publisher calls it.';
COMMENT ON COLUMN qa.rule_set_version.published_by IS 'Who.';
COMMENT ON COLUMN qa.rule_set_version.activated_at IS 'When, the database''s clock.';
