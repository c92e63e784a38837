-- Claims, the call log, incidents and the outbox. The comments are the documentation of the columns.
-- A statement ends with a semicolon at the end of a line.

CREATE TABLE qa.rule_set (
    hash text PRIMARY KEY,
    source text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT CURRENT_USER
);

COMMENT ON TABLE qa.rule_set IS 'Rule sets by content hash. A call pins one for good; rows are never changed.';
COMMENT ON COLUMN qa.rule_set.hash IS 'Content hash of the compiled rule set.';
COMMENT ON COLUMN qa.rule_set.source IS 'The YAML as it was written.';
COMMENT ON COLUMN qa.rule_set.created_at IS 'When a worker first stored it.';
COMMENT ON COLUMN qa.rule_set.created_by IS 'Database user that stored it.';

CREATE TABLE qa.partition_claim (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    owner text NOT NULL,
    next_offset bigint,
    write_seq bigint NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

COMMENT ON TABLE qa.partition_claim IS 'Who owns which Kafka partition, and where a successor begins to read. Each batch locks its row.';
COMMENT ON COLUMN qa.partition_claim.topic IS 'Kafka topic.';
COMMENT ON COLUMN qa.partition_claim.partition IS 'Kafka partition.';
COMMENT ON COLUMN qa.partition_claim.epoch IS 'Grows by one with each claim; a write with an older epoch is refused.';
COMMENT ON COLUMN qa.partition_claim.owner IS 'Name of the worker that claimed last.';
COMMENT ON COLUMN qa.partition_claim.next_offset IS 'First record not yet covered on some live leg. This, not the consumer group''s commit, says where to go on. NULL: nothing was ever stored.';
COMMENT ON COLUMN qa.partition_claim.write_seq IS 'Number of the newest stored batch: tells whether a COMMIT of unknown outcome took effect.';
COMMENT ON COLUMN qa.partition_claim.claimed_at IS 'When the owner claimed it.';

CREATE TABLE qa.call (
    call_id text PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    rule_set_hash text NOT NULL,
    origin_ts bigint NOT NULL,
    started_at timestamptz GENERATED ALWAYS AS
        (to_timestamp(LEAST(GREATEST(origin_ts, 0), 253402300799000) / 1000.0)) STORED,
    call_seq integer NOT NULL,
    control_offset bigint NOT NULL,
    tenant text,
    ended boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX call_live ON qa.call (topic, partition) WHERE NOT ended;
CREATE INDEX call_started_at ON qa.call (started_at);

COMMENT ON TABLE qa.call IS 'The newest state of each call.';
COMMENT ON COLUMN qa.call.call_id IS 'Id given by the telephony platform (the key of its records).';
COMMENT ON COLUMN qa.call.topic IS 'Kafka topic the call is read from.';
COMMENT ON COLUMN qa.call.partition IS 'Kafka partition the call is read from.';
COMMENT ON COLUMN qa.call.rule_set_hash IS 'Rule set pinned by the call''s first record.';
COMMENT ON COLUMN qa.call.origin_ts IS 'Call time zero: capture time of the call''s first record, Unix milliseconds.';
COMMENT ON COLUMN qa.call.started_at IS 'Call time zero as a time stamp; an origin outside the years 1970 to 9999 is moved to the nearer end.';
COMMENT ON COLUMN qa.call.call_seq IS 'Number of the newest log entry.';
COMMENT ON COLUMN qa.call.control_offset IS 'Offset of the newest applied record that was not audio.';
COMMENT ON COLUMN qa.call.tenant IS 'Tenant, if the platform names one.';
COMMENT ON COLUMN qa.call.ended IS 'True when every leg has ended.';
COMMENT ON COLUMN qa.call.created_at IS 'When the row was first written.';
COMMENT ON COLUMN qa.call.updated_at IS 'When the row was last written.';

CREATE TABLE qa.leg (
    call_id text NOT NULL,
    leg_id text NOT NULL,
    role text NOT NULL,
    role_is_explicit boolean NOT NULL,
    emotion_policy text NOT NULL,
    emotion_enforced_by text NOT NULL,
    codec text NOT NULL,
    rate integer NOT NULL,
    tenant text,
    agent_id text,
    queue text,
    direction text,
    language text,
    subject text,
    attributes jsonb NOT NULL,
    origin_ms bigint NOT NULL,
    covered_until bigint NOT NULL,
    ordinal integer NOT NULL,
    paused boolean NOT NULL,
    covered_seq bigint,
    ended boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (call_id, leg_id)
);

COMMENT ON TABLE qa.leg IS 'The newest state of each leg of a call: one party''s audio.';
COMMENT ON COLUMN qa.leg.call_id IS 'The call.';
COMMENT ON COLUMN qa.leg.leg_id IS 'Id of the leg, unique in the call.';
COMMENT ON COLUMN qa.leg.role IS 'Who speaks: customer, agent or other.';
COMMENT ON COLUMN qa.leg.role_is_explicit IS 'False when no start record told the role.';
COMMENT ON COLUMN qa.leg.emotion_policy IS 'Whether emotion may be recognised, and why not: on, off_role, off_unknown_role, off_opt_out.';
COMMENT ON COLUMN qa.leg.emotion_enforced_by IS 'Who keeps the policy: recogniser (it does not infer), boundary (its label is dropped on arrival), none.';
COMMENT ON COLUMN qa.leg.codec IS 'Codec of the audio records.';
COMMENT ON COLUMN qa.leg.rate IS 'Samples per second; the unit of positions.';
COMMENT ON COLUMN qa.leg.tenant IS 'Tenant, if the platform names one.';
COMMENT ON COLUMN qa.leg.agent_id IS 'Agent who speaks or serves on this leg, if the platform names one.';
COMMENT ON COLUMN qa.leg.queue IS 'Queue, if the platform names one.';
COMMENT ON COLUMN qa.leg.direction IS 'Direction of the call as the platform names it.';
COMMENT ON COLUMN qa.leg.language IS 'Language announced by the platform; NULL: detected.';
COMMENT ON COLUMN qa.leg.subject IS 'Pseudonym of the person, for erasure.';
COMMENT ON COLUMN qa.leg.attributes IS 'Free attributes given by the platform.';
COMMENT ON COLUMN qa.leg.origin_ms IS 'Call time of position zero, milliseconds.';
COMMENT ON COLUMN qa.leg.covered_until IS 'Position (samples) up to which everything is released.';
COMMENT ON COLUMN qa.leg.ordinal IS 'Number of utterances released.';
COMMENT ON COLUMN qa.leg.covered_seq IS 'Frame number of the newest frame that is covered; NULL: none is known.';
COMMENT ON COLUMN qa.leg.paused IS 'True between pause and resume.';
COMMENT ON COLUMN qa.leg.ended IS 'True when no more audio is expected.';
COMMENT ON COLUMN qa.leg.created_at IS 'When the row was first written.';
COMMENT ON COLUMN qa.leg.updated_at IS 'When the row was last written.';

CREATE TABLE qa.log_entry (
    call_id text NOT NULL,
    call_seq integer NOT NULL,
    kind text NOT NULL,
    leg_id text,
    start_ms bigint NOT NULL,
    end_ms bigint NOT NULL,
    start_pos bigint,
    end_pos bigint,
    ordinal integer,
    utterance_id uuid,
    text text,
    language text,
    emotion text,
    emotion_confidence double precision,
    emotion_abstained boolean,
    reason text,
    time_source text,
    engine text,
    model text,
    source_offset bigint,
    detail jsonb NOT NULL,
    durable_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (call_id, call_seq)
);

CREATE UNIQUE INDEX log_entry_utterance_id ON qa.log_entry (utterance_id) WHERE utterance_id IS NOT NULL;

COMMENT ON TABLE qa.log_entry IS 'The call log: everything that rules, reports and alerts are derived from. It only grows.';
COMMENT ON COLUMN qa.log_entry.call_id IS 'The call.';
COMMENT ON COLUMN qa.log_entry.call_seq IS 'Number of the entry in its call: 1, 2, 3 ...';
COMMENT ON COLUMN qa.log_entry.kind IS 'What happened: call_started, leg_started, leg_updated, leg_ended, call_ended, utterance, quiet, gap, early_words (stable words of an unfinished utterance that raised a rule).';
COMMENT ON COLUMN qa.log_entry.leg_id IS 'The leg; NULL for entries of the call as a whole.';
COMMENT ON COLUMN qa.log_entry.start_ms IS 'Begin, call time in milliseconds.';
COMMENT ON COLUMN qa.log_entry.end_ms IS 'End, call time in milliseconds.';
COMMENT ON COLUMN qa.log_entry.start_pos IS 'Begin, position in the leg (samples); utterance, quiet, gap.';
COMMENT ON COLUMN qa.log_entry.end_pos IS 'End, position in the leg (samples); utterance, quiet, gap.';
COMMENT ON COLUMN qa.log_entry.ordinal IS 'Number of the utterance in its leg, in order of release.';
COMMENT ON COLUMN qa.log_entry.utterance_id IS 'Identity of the utterance, derived from call, leg and ordinal.';
COMMENT ON COLUMN qa.log_entry.text IS 'What was said, redacted.';
COMMENT ON COLUMN qa.log_entry.language IS 'Language of the utterance; for leg entries the announced one.';
COMMENT ON COLUMN qa.log_entry.emotion IS 'Emotion label; NULL: not allowed, not given or abstained.';
COMMENT ON COLUMN qa.log_entry.emotion_confidence IS 'Confidence of the label, 0 to 1; NULL if the recogniser gives none.';
COMMENT ON COLUMN qa.log_entry.emotion_abstained IS 'True when the model looked and would not say: something else than neutral.';
COMMENT ON COLUMN qa.log_entry.reason IS 'Why there is a gap, or why the leg ended.';
COMMENT ON COLUMN qa.log_entry.time_source IS 'Where the times come from: server, appends, progress, gate (an inference), positions.';
COMMENT ON COLUMN qa.log_entry.engine IS 'Recogniser that heard the utterance.';
COMMENT ON COLUMN qa.log_entry.model IS 'Model of the recogniser.';
COMMENT ON COLUMN qa.log_entry.source_offset IS 'Offset of the Kafka record that opened or updated the leg.';
COMMENT ON COLUMN qa.log_entry.detail IS 'The rest of the entry, by its kind.';
COMMENT ON COLUMN qa.log_entry.durable_at IS 'When the transaction that stored it began, the database''s clock.';

CREATE TABLE qa.incident (
    incident_id uuid PRIMARY KEY,
    call_id text NOT NULL,
    call_seq integer NOT NULL,
    rule_id text NOT NULL,
    rule_version integer NOT NULL,
    rule_set_hash text NOT NULL,
    severity text NOT NULL,
    audience text NOT NULL,
    description text NOT NULL,
    anchor text NOT NULL,
    state text NOT NULL,
    n integer NOT NULL,
    at_ms bigint NOT NULL,
    opened_ms bigint NOT NULL,
    closed_ms bigint,
    evidence jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    acknowledged_at timestamptz,
    acknowledged_by text,
    dismissed_reason text
);

CREATE INDEX incident_call_id ON qa.incident (call_id);

COMMENT ON TABLE qa.incident IS 'The newest state of each incident: one stretch of trouble, found by one rule.';
COMMENT ON COLUMN qa.incident.incident_id IS 'Identity, derived from call, rule, version and anchor.';
COMMENT ON COLUMN qa.incident.call_id IS 'The call.';
COMMENT ON COLUMN qa.incident.call_seq IS 'Log entry that brought about the newest state.';
COMMENT ON COLUMN qa.incident.rule_id IS 'The rule.';
COMMENT ON COLUMN qa.incident.rule_version IS 'Version of the rule.';
COMMENT ON COLUMN qa.incident.rule_set_hash IS 'Rule set the rule belongs to.';
COMMENT ON COLUMN qa.incident.severity IS 'low, medium, high or critical.';
COMMENT ON COLUMN qa.incident.audience IS 'Who is to be told: supervisor or agent.';
COMMENT ON COLUMN qa.incident.description IS 'The rule''s own description.';
COMMENT ON COLUMN qa.incident.anchor IS 'Place in the call where it began, as the rule engine names it.';
COMMENT ON COLUMN qa.incident.state IS 'opened, updated, closed or withdrawn.';
COMMENT ON COLUMN qa.incident.n IS 'Number of the state: 1 is opened. A lower one never replaces a higher one.';
COMMENT ON COLUMN qa.incident.at_ms IS 'Call time of the newest state, milliseconds.';
COMMENT ON COLUMN qa.incident.opened_ms IS 'Call time of the opening, milliseconds.';
COMMENT ON COLUMN qa.incident.closed_ms IS 'Call time of the closing, milliseconds; NULL while open.';
COMMENT ON COLUMN qa.incident.evidence IS 'What it rests on: utterances with text, offsets, emotion; or stretches of silence.';
COMMENT ON COLUMN qa.incident.created_at IS 'When the row was first written.';
COMMENT ON COLUMN qa.incident.updated_at IS 'When the row was last written.';
COMMENT ON COLUMN qa.incident.acknowledged_at IS 'When somebody took note of it.';
COMMENT ON COLUMN qa.incident.acknowledged_by IS 'Who took note of it.';
COMMENT ON COLUMN qa.incident.dismissed_reason IS 'Why it was judged a false alarm; NULL: it was not.';

CREATE TABLE qa.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    call_id text NOT NULL,
    shard smallint NOT NULL,
    call_seq integer NOT NULL,
    topic text NOT NULL,
    type text NOT NULL,
    data bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE qa.outbox IS 'Events that are yet to be published; the relay deletes a row once the broker has it.';
COMMENT ON COLUMN qa.outbox.id IS 'Order of writing.';
COMMENT ON COLUMN qa.outbox.event_id IS 'Identity of the event, derived from its subject and state.';
COMMENT ON COLUMN qa.outbox.call_id IS 'The call: key of the published record.';
COMMENT ON COLUMN qa.outbox.shard IS 'CRC-32 of the call id (UTF-8) modulo 64: the unit that one relay locks.';
COMMENT ON COLUMN qa.outbox.call_seq IS 'Log entry that brought the event about.';
COMMENT ON COLUMN qa.outbox.topic IS 'Where to: alerts or transcripts.';
COMMENT ON COLUMN qa.outbox.type IS 'CloudEvents type.';
COMMENT ON COLUMN qa.outbox.data IS 'Data of the event, JSON.';
COMMENT ON COLUMN qa.outbox.created_at IS 'When the transaction that stored it began, the database''s clock.';
