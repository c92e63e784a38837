-- Schema report: what analysts read. The views are the contract; the tables and the views in schema qa
-- behind them may change. Seconds, shares and rates are double precision. A statement ends with a
-- semicolon at the end of a line.

CREATE SCHEMA report;

COMMENT ON SCHEMA report IS 'Views for analysts; a stable contract.';

CREATE FUNCTION qa.seconds(stretches int8multirange) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT COALESCE(sum(upper(stretch) - lower(stretch)), 0)::double precision / 1000 FROM unnest(stretches) AS stretch);

COMMENT ON FUNCTION qa.seconds IS 'Summed length, in seconds, of stretches in milliseconds.';

-- Each utterance with the description of its leg that was in force when it was said.
CREATE VIEW qa.spoken AS
SELECT
    u.call_id,
    u.leg_id,
    u.ordinal,
    u.utterance_id,
    u.start_ms,
    GREATEST(u.start_ms, u.end_ms) AS end_ms,
    int8range(u.start_ms, GREATEST(u.start_ms, u.end_ms)) AS stretch,
    u.text,
    u.language,
    CASE
        WHEN split_part(lower(u.language), '-', 1) IN ('zh', 'yue', 'ja', 'th', 'lo', 'km', 'my', 'bo') THEN NULL
        ELSE regexp_count(u.text, '\S+')
    END AS words,
    length(regexp_replace(u.text, '\s', '', 'g')) AS characters,
    COALESCE(d.detail ->> 'role', 'other') AS role,
    d.detail ->> 'agent_id' AS agent_id,
    COALESCE(d.detail ->> 'emotion_policy', 'off_unknown_role') AS emotion_policy,
    CASE WHEN d.detail ->> 'emotion_policy' = 'on' THEN u.emotion END AS emotion,
    CASE WHEN d.detail ->> 'emotion_policy' = 'on' THEN u.emotion_confidence END AS emotion_confidence,
    CASE WHEN d.detail ->> 'emotion_policy' = 'on' THEN u.emotion_abstained END AS emotion_abstained,
    u.engine,
    u.model
FROM (
    SELECT
        e.*,
        max(e.call_seq) FILTER (WHERE e.kind IN ('leg_started', 'leg_updated'))
            OVER (PARTITION BY e.call_id, e.leg_id ORDER BY e.call_seq) AS described_by
    FROM qa.log_entry AS e
) AS u
LEFT JOIN qa.log_entry AS d ON d.call_id = u.call_id AND d.call_seq = u.described_by
WHERE u.kind = 'utterance';

COMMENT ON VIEW qa.spoken IS 'Each utterance with the description of its leg that was in force when it was said.';

-- What became of each leg's audio, as stretches of call time in milliseconds.
CREATE VIEW qa.leg_audio AS
SELECT
    call_id,
    leg_id,
    int8multirange(int8range(min(start_ms), max(GREATEST(start_ms, end_ms)))) AS span,
    COALESCE(range_agg(stretch) FILTER (WHERE kind = 'gap'), '{}') AS gaps,
    COALESCE(range_agg(stretch) FILTER (WHERE kind = 'gap' AND reason IN ('paused', 'not_sent')), '{}') AS withheld,
    COALESCE(range_agg(stretch) FILTER (WHERE kind = 'utterance'), '{}') AS speech,
    COALESCE(range_agg(stretch) FILTER (WHERE kind = 'quiet' AND time_source = 'gate'), '{}') AS inferred
FROM (
    SELECT e.*, int8range(e.start_ms, GREATEST(e.start_ms, e.end_ms)) AS stretch
    FROM qa.log_entry AS e
) AS entry
WHERE leg_id IS NOT NULL AND kind IN ('leg_started', 'utterance', 'quiet', 'gap')
GROUP BY call_id, leg_id;

COMMENT ON VIEW qa.leg_audio IS 'What became of each leg''s audio, as stretches of call time in milliseconds.';

-- An agent's answers: the turns of an agent that come next after a customer's.
CREATE VIEW qa.response AS
SELECT
    turn.call_id,
    turn.agent_id,
    turn.start_ms - turn.previous_end_ms AS delay_ms
FROM (
    SELECT
        call_id, role, agent_id, start_ms,
        lag(role) OVER turns AS previous_role,
        lag(end_ms) OVER turns AS previous_end_ms
    FROM qa.spoken
    WHERE role IN ('customer', 'agent')
    WINDOW turns AS (PARTITION BY call_id ORDER BY start_ms, end_ms, leg_id, ordinal)
) AS turn
WHERE turn.role = 'agent'
    AND turn.previous_role = 'customer'
    AND turn.start_ms >= turn.previous_end_ms
    AND NOT EXISTS (
        SELECT FROM qa.log_entry AS gap
        WHERE gap.call_id = turn.call_id
            AND gap.kind = 'gap'
            AND gap.reason <> 'not_sent'
            AND gap.start_ms < turn.start_ms
            AND gap.end_ms > turn.previous_end_ms
    );

COMMENT ON VIEW qa.response IS 'An agent''s answers: turns of an agent that come next after a customer''s, with their delay.';

-- Which agents and queues the legs of a call name at any time.
CREATE VIEW qa.named AS
SELECT DISTINCT call_id, detail ->> 'agent_id' AS agent_id, detail ->> 'queue' AS queue
FROM qa.log_entry
WHERE kind IN ('leg_started', 'leg_updated');

COMMENT ON VIEW qa.named IS 'Which agents and queues the legs of a call name at any time.';

CREATE VIEW report.coverage AS
SELECT
    c.call_id,
    l.leg_id,
    c.tenant,
    c.started_at,
    l.role,
    l.emotion_policy,
    l.emotion_enforced_by,
    l.ended,
    s.span_s,
    s.sent_s,
    s.heard_s,
    s.speech_s,
    s.heard_s - s.speech_s AS quiet_s,
    s.quiet_inferred_s,
    s.heard_s / NULLIF(s.sent_s, 0) AS coverage_share,
    CASE
        WHEN s.sent_s = 0 THEN 'nothing_sent'
        WHEN s.heard_s < s.sent_s / 2 THEN 'blind'
        WHEN s.speech_s = 0 THEN 'quiet'
        ELSE 'speech'
    END AS hearing,
    g.gaps,
    g.gap_paused_s,
    g.gap_not_sent_s,
    g.gap_lost_s,
    g.gap_offset_lost_s,
    g.gap_buffer_overflow_s,
    g.gap_capacity_s,
    g.gap_recogniser_failed_s,
    g.gap_recogniser_mute_s
FROM qa.call AS c
JOIN qa.leg AS l ON l.call_id = c.call_id
CROSS JOIN LATERAL (
    SELECT
        COALESCE(max(qa.seconds(a.span)), 0) AS span_s,
        COALESCE(max(qa.seconds(a.span - a.withheld)), 0) AS sent_s,
        COALESCE(max(qa.seconds(a.span - a.gaps)), 0) AS heard_s,
        COALESCE(max(qa.seconds(a.speech - a.gaps)), 0) AS speech_s,
        COALESCE(max(qa.seconds(a.inferred - a.gaps)), 0) AS quiet_inferred_s
    FROM qa.leg_audio AS a
    WHERE a.call_id = l.call_id AND a.leg_id = l.leg_id
) AS s
CROSS JOIN LATERAL (
    SELECT
        count(*) AS gaps,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'paused'), 0) AS gap_paused_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'not_sent'), 0) AS gap_not_sent_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'lost'), 0) AS gap_lost_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'offset_lost'), 0) AS gap_offset_lost_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'buffer_overflow'), 0) AS gap_buffer_overflow_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'capacity'), 0) AS gap_capacity_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'recogniser_failed'), 0) AS gap_recogniser_failed_s,
        COALESCE(sum(length_s) FILTER (WHERE reason = 'recogniser_mute'), 0) AS gap_recogniser_mute_s
    FROM (
        SELECT e.reason, (e.end_ms - e.start_ms)::double precision / 1000 AS length_s
        FROM qa.log_entry AS e
        WHERE e.call_id = l.call_id AND e.leg_id = l.leg_id AND e.kind = 'gap'
    ) AS gap
) AS g;

COMMENT ON VIEW report.coverage IS 'How much of each leg''s audio was transcribed, and why the rest was not. A quiet leg and a blind one look different here. One row per leg.';
COMMENT ON COLUMN report.coverage.call_id IS 'The call.';
COMMENT ON COLUMN report.coverage.leg_id IS 'The leg.';
COMMENT ON COLUMN report.coverage.tenant IS 'Tenant of the call; NULL if the platform names none.';
COMMENT ON COLUMN report.coverage.started_at IS 'When the call began: capture time of its first record.';
COMMENT ON COLUMN report.coverage.role IS 'Who speaks on the leg, by its newest description: customer, agent or other.';
COMMENT ON COLUMN report.coverage.emotion_policy IS 'Whether emotion may be recognised on the leg, by its newest description: on; off_role (not a customer); off_unknown_role (nobody said who speaks); off_opt_out (the caller refused).';
COMMENT ON COLUMN report.coverage.emotion_enforced_by IS 'Who keeps the policy: recogniser (it does not infer), boundary (it infers, its label is dropped on arrival), none (nothing to keep yet).';
COMMENT ON COLUMN report.coverage.ended IS 'True when no more audio of the leg is expected; before, all figures are those up to now.';
COMMENT ON COLUMN report.coverage.span_s IS 'Seconds from the beginning of the leg to the end of what has been decided on (transcribed, found quiet, or given up as a gap).';
COMMENT ON COLUMN report.coverage.sent_s IS 'Seconds of the span that were there to be transcribed: without gaps paused and not_sent.';
COMMENT ON COLUMN report.coverage.heard_s IS 'Seconds of the span that were transcribed or found quiet: without all gaps.';
COMMENT ON COLUMN report.coverage.speech_s IS 'Seconds within utterances.';
COMMENT ON COLUMN report.coverage.quiet_s IS 'Seconds heard and found to hold no speech: heard_s - speech_s.';
COMMENT ON COLUMN report.coverage.quiet_inferred_s IS 'Seconds of quiet_s that the service''s own voice gate found quiet without an acknowledgement by the recogniser.';
COMMENT ON COLUMN report.coverage.coverage_share IS 'Share of the audio that was transcribed or found quiet: heard_s / sent_s, 0 to 1; NULL when nothing was sent.';
COMMENT ON COLUMN report.coverage.hearing IS 'In one word: nothing_sent (no audio to hear); blind (less than half of it was heard); quiet (heard, and nobody spoke); speech.';
COMMENT ON COLUMN report.coverage.gaps IS 'Number of gaps, of any reason.';
COMMENT ON COLUMN report.coverage.gap_paused_s IS 'Seconds between pause and resume (card entry): neither sent on nor stored.';
COMMENT ON COLUMN report.coverage.gap_not_sent_s IS 'Seconds that the platform did not send (hold, mute, discontinuous transmission): positions jump, frame numbers do not.';
COMMENT ON COLUMN report.coverage.gap_lost_s IS 'Seconds of frames that never arrived.';
COMMENT ON COLUMN report.coverage.gap_offset_lost_s IS 'Seconds whose records Kafka had dropped before they were read.';
COMMENT ON COLUMN report.coverage.gap_buffer_overflow_s IS 'Seconds given up because more audio waited for the recogniser than may be kept.';
COMMENT ON COLUMN report.coverage.gap_capacity_s IS 'Seconds given up under overload.';
COMMENT ON COLUMN report.coverage.gap_recogniser_failed_s IS 'Seconds on which the recogniser failed repeatedly.';
COMMENT ON COLUMN report.coverage.gap_recogniser_mute_s IS 'Seconds that held speech on which the recogniser repeatedly said nothing.';

CREATE VIEW report.call_quality AS
SELECT
    c.call_id,
    c.tenant,
    c.started_at,
    c.ended,
    n.agent_ids,
    n.queues,
    (upper(a.spans) - lower(a.spans))::double precision / 1000 AS duration_s,
    qa.seconds(t.customer) AS customer_talk_s,
    qa.seconds(t.agent) AS agent_talk_s,
    qa.seconds(t.agent) / NULLIF(qa.seconds(t.customer) + qa.seconds(t.agent), 0) AS agent_talk_share,
    qa.seconds(t.customer * t.agent) AS overtalk_s,
    qa.seconds(a.spans - a.gaps - a.speech) AS silence_s,
    qa.seconds(a.gaps) AS unheard_s,
    r.agent_responses,
    r.agent_response_avg_s,
    r.agent_response_max_s,
    t.utterances,
    t.agent_words_per_min,
    t.customer_words_per_min,
    t.agent_characters_per_s,
    t.customer_characters_per_s,
    t.emotion_utterances,
    t.surprised_share,
    t.neutral_share,
    t.happy_share,
    t.sad_share,
    t.disgusted_share,
    t.angry_share,
    t.fearful_share,
    t.abstained_share,
    t.not_given_share,
    i.alerts,
    i.alerts_severe,
    i.alerts_open,
    v.heard_s / NULLIF(v.sent_s, 0) AS coverage_share,
    CASE
        WHEN v.sent_s = 0 THEN 'nothing_sent'
        WHEN v.heard_s < v.sent_s / 2 THEN 'blind'
        WHEN v.speech_s = 0 THEN 'quiet'
        ELSE 'speech'
    END AS hearing,
    c.rule_set_hash
FROM qa.call AS c
CROSS JOIN LATERAL (
    SELECT
        COALESCE(array_agg(DISTINCT agent_id ORDER BY agent_id) FILTER (WHERE agent_id IS NOT NULL), '{}') AS agent_ids,
        COALESCE(array_agg(DISTINCT queue ORDER BY queue) FILTER (WHERE queue IS NOT NULL), '{}') AS queues
    FROM qa.named
    WHERE named.call_id = c.call_id
) AS n
CROSS JOIN LATERAL (
    SELECT
        COALESCE(range_agg(span), '{}') AS spans,
        COALESCE(range_agg(gaps), '{}') AS gaps,
        COALESCE(range_agg(speech), '{}') AS speech
    FROM qa.leg_audio
    WHERE leg_audio.call_id = c.call_id
) AS a
CROSS JOIN LATERAL (
    SELECT
        COALESCE(sum(qa.seconds(span - withheld)), 0) AS sent_s,
        COALESCE(sum(qa.seconds(span - gaps)), 0) AS heard_s,
        COALESCE(sum(qa.seconds(speech - gaps)), 0) AS speech_s
    FROM qa.leg_audio
    WHERE leg_audio.call_id = c.call_id
) AS v
CROSS JOIN LATERAL (
    SELECT
        count(*) AS utterances,
        COALESCE(range_agg(stretch) FILTER (WHERE role = 'customer'), '{}') AS customer,
        COALESCE(range_agg(stretch) FILTER (WHERE role = 'agent'), '{}') AS agent,
        60 * sum(words) FILTER (WHERE role = 'agent')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'agent' AND words IS NOT NULL), 0) AS agent_words_per_min,
        60 * sum(words) FILTER (WHERE role = 'customer')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'customer' AND words IS NOT NULL), 0) AS customer_words_per_min,
        sum(characters) FILTER (WHERE role = 'agent')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'agent'), 0) AS agent_characters_per_s,
        sum(characters) FILTER (WHERE role = 'customer')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'customer'), 0) AS customer_characters_per_s,
        count(*) FILTER (WHERE allowed) AS emotion_utterances,
        count(*) FILTER (WHERE emotion = 'surprised') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS surprised_share,
        count(*) FILTER (WHERE emotion = 'neutral') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS neutral_share,
        count(*) FILTER (WHERE emotion = 'happy') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS happy_share,
        count(*) FILTER (WHERE emotion = 'sad') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS sad_share,
        count(*) FILTER (WHERE emotion = 'disgusted') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS disgusted_share,
        count(*) FILTER (WHERE emotion = 'angry') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS angry_share,
        count(*) FILTER (WHERE emotion = 'fearful') / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS fearful_share,
        count(*) FILTER (WHERE emotion IS NULL AND emotion_abstained)
            / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS abstained_share,
        count(*) FILTER (WHERE allowed AND emotion IS NULL AND NOT emotion_abstained)
            / NULLIF(count(*) FILTER (WHERE allowed), 0)::double precision AS not_given_share
    FROM (
        SELECT
            s.*,
            s.emotion_policy = 'on' AS allowed,
            (s.end_ms - s.start_ms)::double precision / 1000 AS length_s
        FROM qa.spoken AS s
        WHERE s.call_id = c.call_id
    ) AS spoken
) AS t
CROSS JOIN LATERAL (
    SELECT
        count(*) AS agent_responses,
        avg(delay_ms)::double precision / 1000 AS agent_response_avg_s,
        max(delay_ms)::double precision / 1000 AS agent_response_max_s
    FROM qa.response
    WHERE response.call_id = c.call_id
) AS r
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state <> 'withdrawn') AS alerts,
        count(*) FILTER (WHERE state <> 'withdrawn' AND severity IN ('high', 'critical')) AS alerts_severe,
        count(*) FILTER (WHERE state IN ('opened', 'updated')) AS alerts_open
    FROM qa.incident
    WHERE incident.call_id = c.call_id
) AS i;

COMMENT ON VIEW report.call_quality IS 'How each call went: talk, silence, pace, emotion, alerts, and how much of it was heard at all. One row per call; of a live call, the figures up to now. Roles, agents and emotion policy are those in force when something was said.';
COMMENT ON COLUMN report.call_quality.call_id IS 'The call.';
COMMENT ON COLUMN report.call_quality.tenant IS 'Tenant; NULL if the platform names none.';
COMMENT ON COLUMN report.call_quality.started_at IS 'When the call began: capture time of its first record.';
COMMENT ON COLUMN report.call_quality.ended IS 'True when every leg has ended.';
COMMENT ON COLUMN report.call_quality.agent_ids IS 'Agents that any leg named at any time; empty if none.';
COMMENT ON COLUMN report.call_quality.queues IS 'Queues that any leg named at any time; empty if none.';
COMMENT ON COLUMN report.call_quality.duration_s IS 'Seconds from the beginning of the first leg to the end of what has been decided on (transcribed, found quiet, or given up as a gap) on any leg; NULL if there is nothing yet.';
COMMENT ON COLUMN report.call_quality.customer_talk_s IS 'Seconds in which a customer spoke (within utterances; simultaneous ones count once).';
COMMENT ON COLUMN report.call_quality.agent_talk_s IS 'Seconds in which an agent spoke (within utterances; simultaneous ones count once).';
COMMENT ON COLUMN report.call_quality.agent_talk_share IS 'The agent''s share of the talk: agent_talk_s / (agent_talk_s + customer_talk_s), 0 to 1; NULL if neither spoke.';
COMMENT ON COLUMN report.call_quality.overtalk_s IS 'Seconds in which a customer and an agent spoke at once.';
COMMENT ON COLUMN report.call_quality.silence_s IS 'Seconds in which every leg then present was heard and nobody spoke; stretches that are a gap on any leg do not count.';
COMMENT ON COLUMN report.call_quality.unheard_s IS 'Seconds in which at least one leg has a gap, of any reason; see report.coverage.';
COMMENT ON COLUMN report.call_quality.agent_responses IS 'Number of answers: an agent''s utterance that, by beginning, comes next after a customer''s and begins at or after its end, with no gap between (other than not_sent).';
COMMENT ON COLUMN report.call_quality.agent_response_avg_s IS 'Mean seconds from the end of the customer''s utterance to the beginning of the agent''s answer; NULL without answers.';
COMMENT ON COLUMN report.call_quality.agent_response_max_s IS 'Longest such delay, seconds; NULL without answers.';
COMMENT ON COLUMN report.call_quality.utterances IS 'Number of utterances on all legs.';
COMMENT ON COLUMN report.call_quality.agent_words_per_min IS 'Words a minute of the agent''s speech; utterances in languages written without spaces (zh, yue, ja, th, lo, km, my, bo) left out; NULL if none remain.';
COMMENT ON COLUMN report.call_quality.customer_words_per_min IS 'Words a minute of the customer''s speech; utterances in languages written without spaces left out; NULL if none remain.';
COMMENT ON COLUMN report.call_quality.agent_characters_per_s IS 'Characters without blanks per second of the agent''s speech, in any language; NULL if no agent spoke.';
COMMENT ON COLUMN report.call_quality.customer_characters_per_s IS 'Characters without blanks per second of the customer''s speech, in any language; NULL if no customer spoke.';
COMMENT ON COLUMN report.call_quality.emotion_utterances IS 'Number of utterances whose emotion was allowed to be recognised: those of customers who did not opt out. The nine shares below are shares of this number and add up to 1; they are NULL if it is 0.';
COMMENT ON COLUMN report.call_quality.surprised_share IS 'Share of emotion_utterances labelled surprised, 0 to 1.';
COMMENT ON COLUMN report.call_quality.neutral_share IS 'Share of emotion_utterances labelled neutral, 0 to 1; abstentions are not among them.';
COMMENT ON COLUMN report.call_quality.happy_share IS 'Share of emotion_utterances labelled happy, 0 to 1.';
COMMENT ON COLUMN report.call_quality.sad_share IS 'Share of emotion_utterances labelled sad, 0 to 1.';
COMMENT ON COLUMN report.call_quality.disgusted_share IS 'Share of emotion_utterances labelled disgusted, 0 to 1.';
COMMENT ON COLUMN report.call_quality.angry_share IS 'Share of emotion_utterances labelled angry, 0 to 1.';
COMMENT ON COLUMN report.call_quality.fearful_share IS 'Share of emotion_utterances labelled fearful, 0 to 1.';
COMMENT ON COLUMN report.call_quality.abstained_share IS 'Share of emotion_utterances on which the model looked and would not say, 0 to 1.';
COMMENT ON COLUMN report.call_quality.not_given_share IS 'Share of emotion_utterances for which the recogniser gave no label at all, 0 to 1.';
COMMENT ON COLUMN report.call_quality.alerts IS 'Number of alerts (incidents), withdrawn ones left out.';
COMMENT ON COLUMN report.call_quality.alerts_severe IS 'Number of those of severity high or critical.';
COMMENT ON COLUMN report.call_quality.alerts_open IS 'Number of alerts not closed yet.';
COMMENT ON COLUMN report.call_quality.coverage_share IS 'Share of the audio of all legs that was transcribed or found quiet, 0 to 1 (sums of heard_s / sent_s in report.coverage); NULL when nothing was sent.';
COMMENT ON COLUMN report.call_quality.hearing IS 'In one word: nothing_sent (no audio to hear); blind (less than half of it was heard); quiet (heard, and nobody spoke); speech. Figures of a blind call say little.';
COMMENT ON COLUMN report.call_quality.rule_set_hash IS 'Rule set in force for the call.';

CREATE VIEW report.emotion_timeline AS
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
    s.model
FROM qa.call AS c
JOIN qa.spoken AS s ON s.call_id = c.call_id
WHERE s.emotion_policy = 'on';

COMMENT ON VIEW report.emotion_timeline IS 'How customers sounded, utterance by utterance. Only utterances whose emotion was allowed to be recognised: those of customers who did not opt out. One row per utterance; order by start_s.';
COMMENT ON COLUMN report.emotion_timeline.call_id IS 'The call.';
COMMENT ON COLUMN report.emotion_timeline.tenant IS 'Tenant of the call; NULL if the platform names none.';
COMMENT ON COLUMN report.emotion_timeline.leg_id IS 'The leg.';
COMMENT ON COLUMN report.emotion_timeline.ordinal IS 'Number of the utterance in its leg: 1, 2, 3 ...';
COMMENT ON COLUMN report.emotion_timeline.utterance_id IS 'Identity of the utterance, as in alerts and on the transcripts topic.';
COMMENT ON COLUMN report.emotion_timeline.spoken_at IS 'When the utterance began.';
COMMENT ON COLUMN report.emotion_timeline.start_s IS 'Begin, seconds of call time.';
COMMENT ON COLUMN report.emotion_timeline.end_s IS 'End, seconds of call time.';
COMMENT ON COLUMN report.emotion_timeline.outcome IS 'labelled; abstained (the model looked and would not say); not_given (the recogniser gave no label).';
COMMENT ON COLUMN report.emotion_timeline.emotion IS 'surprised, neutral, happy, sad, disgusted, angry or fearful; NULL unless labelled.';
COMMENT ON COLUMN report.emotion_timeline.emotion_confidence IS 'Confidence of the label, 0 to 1; NULL if the recogniser gives none. Comparable within one service and model only.';
COMMENT ON COLUMN report.emotion_timeline.language IS 'Language of the utterance; NULL if unknown.';
COMMENT ON COLUMN report.emotion_timeline.text IS 'What was said, redacted.';
COMMENT ON COLUMN report.emotion_timeline.engine IS 'Recogniser that heard it.';
COMMENT ON COLUMN report.emotion_timeline.model IS 'Model of the recogniser.';

CREATE VIEW report.alert_log AS
SELECT
    i.incident_id,
    i.call_id,
    c.tenant,
    n.agent_ids,
    n.queues,
    i.rule_id,
    i.rule_version,
    i.rule_set_hash,
    i.severity,
    i.audience,
    i.description,
    i.state,
    i.n AS changes,
    c.started_at + i.opened_ms * interval '1 millisecond' AS opened_at,
    c.started_at + i.closed_ms * interval '1 millisecond' AS closed_at,
    i.opened_ms::double precision / 1000 AS opened_s,
    i.closed_ms::double precision / 1000 AS closed_s,
    (i.closed_ms - i.opened_ms)::double precision / 1000 AS duration_s,
    i.created_at AS raised_at,
    i.updated_at,
    i.evidence,
    i.acknowledged_at,
    i.acknowledged_by,
    extract(epoch FROM i.acknowledged_at - i.created_at)::double precision AS acknowledged_after_s,
    i.dismissed_reason
FROM qa.incident AS i
JOIN qa.call AS c ON c.call_id = i.call_id
CROSS JOIN LATERAL (
    SELECT
        COALESCE(array_agg(DISTINCT agent_id ORDER BY agent_id) FILTER (WHERE agent_id IS NOT NULL), '{}') AS agent_ids,
        COALESCE(array_agg(DISTINCT queue ORDER BY queue) FILTER (WHERE queue IS NOT NULL), '{}') AS queues
    FROM qa.named
    WHERE named.call_id = i.call_id
) AS n;

COMMENT ON VIEW report.alert_log IS 'Every alert (incident) in its newest state, withdrawn ones included, with acknowledgement. One row per incident.';
COMMENT ON COLUMN report.alert_log.incident_id IS 'Identity of the incident, as in the alert events.';
COMMENT ON COLUMN report.alert_log.call_id IS 'The call.';
COMMENT ON COLUMN report.alert_log.tenant IS 'Tenant of the call; NULL if the platform names none.';
COMMENT ON COLUMN report.alert_log.agent_ids IS 'Agents that any leg of the call named at any time; empty if none.';
COMMENT ON COLUMN report.alert_log.queues IS 'Queues that any leg of the call named at any time; empty if none.';
COMMENT ON COLUMN report.alert_log.rule_id IS 'The rule that raised it.';
COMMENT ON COLUMN report.alert_log.rule_version IS 'Version of the rule.';
COMMENT ON COLUMN report.alert_log.rule_set_hash IS 'Rule set the rule belongs to.';
COMMENT ON COLUMN report.alert_log.severity IS 'low, medium, high or critical.';
COMMENT ON COLUMN report.alert_log.audience IS 'Who was told: supervisor or agent.';
COMMENT ON COLUMN report.alert_log.description IS 'The rule''s own description.';
COMMENT ON COLUMN report.alert_log.state IS 'opened, updated, closed, or withdrawn (it turned out not to hold).';
COMMENT ON COLUMN report.alert_log.changes IS 'Number of states so far, the opening included.';
COMMENT ON COLUMN report.alert_log.opened_at IS 'When, in the call, the trouble was established.';
COMMENT ON COLUMN report.alert_log.closed_at IS 'When, in the call, it was over; NULL while open.';
COMMENT ON COLUMN report.alert_log.opened_s IS 'The same as seconds of call time.';
COMMENT ON COLUMN report.alert_log.closed_s IS 'The same as seconds of call time; NULL while open.';
COMMENT ON COLUMN report.alert_log.duration_s IS 'Seconds from opening to closing; NULL while open.';
COMMENT ON COLUMN report.alert_log.raised_at IS 'When the service stored it first: real time, not the call''s.';
COMMENT ON COLUMN report.alert_log.updated_at IS 'When the service stored its newest state.';
COMMENT ON COLUMN report.alert_log.evidence IS 'What it rests on, a JSON list: utterances with redacted text, times in milliseconds of call time, emotion and confidence; or stretches of silence.';
COMMENT ON COLUMN report.alert_log.acknowledged_at IS 'When somebody took note of it; NULL: nobody yet.';
COMMENT ON COLUMN report.alert_log.acknowledged_by IS 'Who took note of it.';
COMMENT ON COLUMN report.alert_log.acknowledged_after_s IS 'Seconds from raised_at to acknowledged_at; NULL while not acknowledged.';
COMMENT ON COLUMN report.alert_log.dismissed_reason IS 'Why it was judged a false alarm; NULL: it was not.';

CREATE VIEW report.agent_daily AS
SELECT
    (q.started_at AT TIME ZONE 'UTC')::date AS day,
    q.tenant,
    s.agent_id,
    count(*) AS calls,
    sum(q.duration_s) AS duration_s,
    sum(t.talk_s) AS talk_s,
    sum(t.talk_s) / NULLIF(sum(t.talk_s) + sum(q.customer_talk_s), 0) AS talk_share,
    sum(t.overtalk_s) AS overtalk_s,
    sum(q.silence_s) AS silence_s,
    COALESCE(sum(r.responses), 0)::bigint AS responses,
    sum(r.delay_s) / NULLIF(sum(r.responses), 0)::double precision AS response_avg_s,
    60 * sum(t.words) / NULLIF(sum(t.worded_s), 0) AS words_per_min,
    sum(q.alerts)::bigint AS alerts,
    count(*) FILTER (WHERE q.alerts > 0) AS alert_calls,
    sum(q.emotion_utterances)::bigint AS customer_utterances,
    sum(q.angry_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_angry_share,
    sum(q.neutral_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_neutral_share,
    sum(q.abstained_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_abstained_share,
    sum(v.heard_s) / NULLIF(sum(v.sent_s), 0) AS coverage_share,
    count(*) FILTER (WHERE q.hearing = 'blind') AS blind_calls
FROM (SELECT DISTINCT call_id, agent_id FROM qa.named WHERE agent_id IS NOT NULL) AS s
JOIN report.call_quality AS q ON q.call_id = s.call_id
CROSS JOIN LATERAL (
    SELECT
        qa.seconds(COALESCE(range_agg(u.stretch) FILTER (WHERE u.own), '{}')) AS talk_s,
        qa.seconds(
            COALESCE(range_agg(u.stretch) FILTER (WHERE u.own), '{}')
            * COALESCE(range_agg(u.stretch) FILTER (WHERE u.role = 'customer'), '{}')
        ) AS overtalk_s,
        sum(u.words) FILTER (WHERE u.own) AS words,
        sum(u.end_ms - u.start_ms) FILTER (WHERE u.own AND u.words IS NOT NULL)::double precision / 1000 AS worded_s
    FROM (
        SELECT spoken.*, spoken.role = 'agent' AND spoken.agent_id = s.agent_id AS own
        FROM qa.spoken
        WHERE spoken.call_id = s.call_id
    ) AS u
) AS t
CROSS JOIN LATERAL (
    SELECT count(*) AS responses, sum(response.delay_ms)::double precision / 1000 AS delay_s
    FROM qa.response
    WHERE response.call_id = s.call_id AND response.agent_id = s.agent_id
) AS r
CROSS JOIN LATERAL (
    SELECT sum(coverage.heard_s) AS heard_s, sum(coverage.sent_s) AS sent_s
    FROM report.coverage
    WHERE coverage.call_id = s.call_id
) AS v
GROUP BY 1, 2, 3;

COMMENT ON VIEW report.agent_daily IS 'How each agent''s calls went, day by day. One row per day, tenant and agent. What is the agent''s own (talk, overtalk, answers, pace) counts what was said while the agent was on the leg; the rest counts whole calls, for each agent that a call named.';
COMMENT ON COLUMN report.agent_daily.day IS 'Day on which the calls began, UTC.';
COMMENT ON COLUMN report.agent_daily.tenant IS 'Tenant of the calls; NULL if the platform names none.';
COMMENT ON COLUMN report.agent_daily.agent_id IS 'The agent.';
COMMENT ON COLUMN report.agent_daily.calls IS 'Number of calls in which the agent was named, live ones included.';
COMMENT ON COLUMN report.agent_daily.duration_s IS 'Summed length of those calls, seconds.';
COMMENT ON COLUMN report.agent_daily.talk_s IS 'Seconds in which the agent spoke.';
COMMENT ON COLUMN report.agent_daily.talk_share IS 'talk_s / (talk_s + seconds in which customers of those calls spoke), 0 to 1; NULL if neither spoke.';
COMMENT ON COLUMN report.agent_daily.overtalk_s IS 'Seconds in which the agent and a customer spoke at once.';
COMMENT ON COLUMN report.agent_daily.silence_s IS 'Seconds of silence in those calls, as in report.call_quality.';
COMMENT ON COLUMN report.agent_daily.responses IS 'Number of the agent''s answers to a customer, as in report.call_quality.';
COMMENT ON COLUMN report.agent_daily.response_avg_s IS 'Mean delay of those answers, seconds; NULL without answers.';
COMMENT ON COLUMN report.agent_daily.words_per_min IS 'Words a minute of the agent''s speech; languages written without spaces left out; NULL if none remain.';
COMMENT ON COLUMN report.agent_daily.alerts IS 'Number of alerts in those calls, withdrawn ones left out.';
COMMENT ON COLUMN report.agent_daily.alert_calls IS 'Number of those calls with at least one alert.';
COMMENT ON COLUMN report.agent_daily.customer_utterances IS 'Number of customers'' utterances whose emotion was allowed to be recognised.';
COMMENT ON COLUMN report.agent_daily.customer_angry_share IS 'Share of customer_utterances labelled angry, 0 to 1; NULL if there are none.';
COMMENT ON COLUMN report.agent_daily.customer_neutral_share IS 'Share of customer_utterances labelled neutral, 0 to 1; NULL if there are none.';
COMMENT ON COLUMN report.agent_daily.customer_abstained_share IS 'Share of customer_utterances on which the model looked and would not say, 0 to 1; NULL if there are none.';
COMMENT ON COLUMN report.agent_daily.coverage_share IS 'Share of the audio of those calls that was transcribed or found quiet, 0 to 1; NULL when nothing was sent.';
COMMENT ON COLUMN report.agent_daily.blind_calls IS 'Number of those calls of which less than half was heard: their figures say little.';

GRANT USAGE ON SCHEMA report TO qa_report;
GRANT SELECT ON ALL TABLES IN SCHEMA report TO qa_report;
