-- Scorecards, and what calls scored on them. A statement ends with a semicolon at the end of a line.

CREATE TABLE qa.scorecard (
    hash text PRIMARY KEY,
    scorecard_id text NOT NULL,
    version integer NOT NULL,
    source text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE qa.scorecard IS 'Scorecards by content hash; rows are never changed.';
COMMENT ON COLUMN qa.scorecard.hash IS 'Content hash.';
COMMENT ON COLUMN qa.scorecard.scorecard_id IS 'Its id.';
COMMENT ON COLUMN qa.scorecard.version IS 'Its revision.';
COMMENT ON COLUMN qa.scorecard.source IS 'The YAML as it was written.';
COMMENT ON COLUMN qa.scorecard.created_at IS 'When it was first stored.';

CREATE TABLE qa.scorecard_result (
    call_id text NOT NULL,
    scorecard_hash text NOT NULL,
    scorecard_id text NOT NULL,
    scorecard_version integer NOT NULL,
    score double precision,
    auto_failed boolean NOT NULL,
    answered integer NOT NULL,
    left_out integer NOT NULL,
    answers jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (call_id, scorecard_hash)
);

COMMENT ON TABLE qa.scorecard_result IS 'What calls that have ended scored on scorecards.';
COMMENT ON COLUMN qa.scorecard_result.call_id IS 'The call.';
COMMENT ON COLUMN qa.scorecard_result.scorecard_hash IS 'The scorecard, in scorecard.';
COMMENT ON COLUMN qa.scorecard_result.scorecard_id IS 'Its id.';
COMMENT ON COLUMN qa.scorecard_result.scorecard_version IS 'Its revision.';
COMMENT ON COLUMN qa.scorecard_result.score IS 'Score, 0 to 100; NULL: no question could be answered.';
COMMENT ON COLUMN qa.scorecard_result.auto_failed IS 'True when a critical question was failed: the score is 0 for it.';
COMMENT ON COLUMN qa.scorecard_result.answered IS 'Number of questions answered.';
COMMENT ON COLUMN qa.scorecard_result.left_out IS 'Number of questions left out of the score.';
COMMENT ON COLUMN qa.scorecard_result.answers IS 'Each answer with its reasons.';
COMMENT ON COLUMN qa.scorecard_result.created_at IS 'When it was first scored.';
COMMENT ON COLUMN qa.scorecard_result.updated_at IS 'When it was last scored.';
