-- Figures of calls that have ended are stored, so that reports over many calls are quick; those of live calls are
-- computed when asked. Both come from the same functions. More figures, more views, and judgements in alert_log.
-- A statement ends with a semicolon at the end of a line, unless the next line is indented. The functions run with the
-- rights of their owner, since those who read the views may not read the tables.

-- The punctuation is spelt out, since character classes depend on the database's locale.
CREATE FUNCTION qa.characters_said(said text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN length(regexp_replace(said, '[]\s!-/:-@[\\^-`{-~　，。、？！；：「」『』（）《》【】…—～·¿¡«»„“”‘’]', '', 'g'))::bigint;

COMMENT ON FUNCTION qa.characters_said IS 'Number of characters of a text without blanks and punctuation.';

CREATE FUNCTION qa.words_said(said text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN regexp_count(said, '\S*[^]\s!-/:-@[\\^-`{-~　，。、？！；：「」『』（）《》【】…—～·¿¡«»„“”‘’]\S*')::bigint;

COMMENT ON FUNCTION qa.words_said IS 'Number of words of a text whose language parts them by blanks; bare punctuation is none.';

CREATE OR REPLACE VIEW qa.spoken AS
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
    u.model,
    u.loudness_dbfs,
    split_part(lower(u.language), '-', 1) IN ('zh', 'yue', 'ja', 'th', 'lo', 'km', 'my', 'bo') IS TRUE AS is_unspaced
FROM (
    SELECT
        e.call_id, e.leg_id, e.kind, e.ordinal, e.utterance_id, e.start_ms, e.end_ms, e.text, e.language,
        e.emotion, e.emotion_confidence, e.emotion_abstained, e.engine, e.model, e.loudness_dbfs,
        max(e.call_seq) FILTER (WHERE e.kind IN ('leg_started', 'leg_updated'))
            OVER (PARTITION BY e.call_id, e.leg_id ORDER BY e.call_seq) AS described_by
    FROM qa.log_entry AS e
) AS u
LEFT JOIN qa.log_entry AS d ON d.call_id = u.call_id AND d.call_seq = u.described_by
WHERE u.kind = 'utterance';

-- The turns of a call in the order of their beginnings, each with the one that had ended last before it.
CREATE VIEW qa.turn AS
SELECT
    turn.call_id,
    turn.n,
    turn.leg_id,
    turn.ordinal,
    turn.role,
    turn.agent_id,
    turn.start_ms,
    turn.end_ms,
    (max(ARRAY[turn.end_ms, turn.n]) OVER before)[1] AS last_end_ms,
    (max(ARRAY[turn.end_ms, turn.n]) OVER before)[2] AS last_n
FROM (
    SELECT
        spoken.*,
        row_number() OVER (PARTITION BY call_id ORDER BY start_ms, end_ms, leg_id, ordinal) AS n
    FROM qa.spoken
) AS turn
WINDOW before AS (PARTITION BY turn.call_id ORDER BY turn.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING);

COMMENT ON VIEW qa.turn IS 'The turns of a call in the order of their beginnings, each with the one that had ended last before it.';

-- Answers: turns that begin when another role's has ended and nobody has spoken since.
CREATE OR REPLACE VIEW qa.response AS
SELECT
    turn.call_id,
    turn.agent_id,
    turn.start_ms - turn.last_end_ms AS delay_ms,
    turn.role,
    last.role AS to_role
FROM qa.turn
JOIN qa.turn AS last ON last.call_id = turn.call_id AND last.n = turn.last_n
WHERE last.role <> turn.role
    AND turn.start_ms >= turn.last_end_ms
    AND NOT EXISTS (
        SELECT FROM qa.log_entry AS gap
        WHERE gap.call_id = turn.call_id
            AND gap.kind = 'gap'
            AND gap.reason <> 'not_sent'
            AND gap.start_ms < turn.start_ms
            AND gap.end_ms > turn.last_end_ms
    );

COMMENT ON VIEW qa.response IS 'Answers: turns that begin when another role''s has ended and nobody has spoken since, with their delay; none across a gap.';

-- Who cut whom: begun at least 200 ms after the other's beginning and before its end, and going on after it. Turns
-- are met by the minutes that they touch, lest long calls cost the square of their turns.
CREATE VIEW qa.interruption AS
SELECT DISTINCT
    cut.call_id,
    cut.n,
    cut.role,
    cut.agent_id,
    cut.start_ms AS at_ms,
    other.n AS other_n,
    other.role AS other_role,
    other.agent_id AS other_agent_id
FROM qa.turn AS other
CROSS JOIN LATERAL generate_series(other.start_ms / 60000, other.end_ms / 60000) AS minute
JOIN qa.turn AS cut ON cut.call_id = other.call_id AND cut.start_ms / 60000 = minute
WHERE cut.role <> other.role
    AND cut.start_ms - other.start_ms >= 200
    AND other.end_ms - cut.start_ms >= 200
    AND cut.end_ms > other.end_ms;

COMMENT ON VIEW qa.interruption IS 'Who cut whom: begun at least 200 ms after the other''s beginning and 200 ms before its end, and going on after it.';

CREATE TABLE qa.call_figure (
    call_id text PRIMARY KEY,
    agent_ids text[] NOT NULL,
    queues text[] NOT NULL,
    duration_s double precision,
    customer_talk_s double precision NOT NULL,
    agent_talk_s double precision NOT NULL,
    overtalk_s double precision NOT NULL,
    silence_s double precision NOT NULL,
    unheard_s double precision NOT NULL,
    agent_responses bigint NOT NULL,
    agent_response_avg_s double precision,
    agent_response_max_s double precision,
    utterances bigint NOT NULL,
    agent_words_per_min double precision,
    customer_words_per_min double precision,
    agent_characters_per_s double precision,
    customer_characters_per_s double precision,
    emotion_utterances bigint NOT NULL,
    surprised bigint NOT NULL,
    neutral bigint NOT NULL,
    happy bigint NOT NULL,
    sad bigint NOT NULL,
    disgusted bigint NOT NULL,
    angry bigint NOT NULL,
    fearful bigint NOT NULL,
    abstained bigint NOT NULL,
    not_given bigint NOT NULL,
    sent_s double precision NOT NULL,
    heard_s double precision NOT NULL,
    speech_s double precision NOT NULL,
    talk_s double precision NOT NULL,
    together_s double precision NOT NULL,
    agent_interruptions bigint NOT NULL,
    customer_interruptions bigint NOT NULL,
    dead_airs bigint NOT NULL,
    longest_dead_air_s double precision NOT NULL,
    customer_responses bigint NOT NULL,
    customer_response_avg_s double precision,
    agent_pace_words_per_min double precision,
    customer_pace_words_per_min double precision,
    agent_pace_characters_per_min double precision,
    customer_pace_characters_per_min double precision,
    agent_loudness_dbfs double precision,
    customer_loudness_dbfs double precision
);

CREATE TABLE qa.agent_figure (
    call_id text NOT NULL,
    agent_id text NOT NULL,
    talk_s double precision NOT NULL,
    overtalk_s double precision NOT NULL,
    words bigint,
    worded_s double precision,
    responses bigint NOT NULL,
    response_s double precision,
    interruptions bigint NOT NULL,
    interrupted bigint NOT NULL,
    PRIMARY KEY (call_id, agent_id)
);

CREATE TABLE qa.anger_figure (
    call_id text NOT NULL,
    leg_id text NOT NULL,
    began_ms bigint NOT NULL,
    utterances bigint NOT NULL,
    recovered_ms bigint,
    agent_id text,
    PRIMARY KEY (call_id, leg_id, began_ms)
);

COMMENT ON TABLE qa.call_figure IS 'Figures of calls that have ended, stored as they end; derived from the log by call_figures.';
COMMENT ON TABLE qa.agent_figure IS 'Figures of each agent in calls that have ended, stored as they end; derived from the log by agent_figures.';
COMMENT ON TABLE qa.anger_figure IS 'Sustained anger in calls that have ended, stored as they end; derived from the log by anger_figures.';

CREATE FUNCTION qa.call_figures(of_call text) RETURNS SETOF qa.call_figure
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH said AS MATERIALIZED (
    SELECT
        spoken.*,
        spoken.emotion_policy = 'on' AS allowed,
        (spoken.end_ms - spoken.start_ms)::double precision / 1000 AS length_s,
        spoken.end_ms - spoken.start_ms >= 2000 AS is_paced
    FROM qa.spoken
    WHERE spoken.call_id = of_call
), audio AS MATERIALIZED (
    SELECT * FROM qa.leg_audio WHERE leg_audio.call_id = of_call
), blind AS (
    SELECT COALESCE(range_agg(int8range(start_ms, GREATEST(start_ms, end_ms))), '{}') AS stretches
    FROM qa.log_entry
    WHERE log_entry.call_id = of_call AND kind = 'gap' AND reason <> 'not_sent'
), heard AS (
    SELECT
        COALESCE(range_agg(span), '{}') AS spans,
        COALESCE(range_agg(gaps), '{}') AS gaps,
        COALESCE(range_agg(speech), '{}') AS speech,
        COALESCE(sum(qa.seconds(span - withheld)), 0) AS sent_s,
        COALESCE(sum(qa.seconds(span - audio.gaps)), 0) AS heard_s,
        COALESCE(sum(qa.seconds(audio.speech - audio.gaps)), 0) AS speech_s
    FROM audio
), talk AS (
    SELECT
        count(*) AS utterances,
        COALESCE(range_agg(stretch), '{}') AS anybody,
        COALESCE(range_agg(stretch) FILTER (WHERE role = 'customer'), '{}') AS customer,
        COALESCE(range_agg(stretch) FILTER (WHERE role = 'agent'), '{}') AS agent,
        COALESCE(range_agg(stretch) FILTER (WHERE role NOT IN ('customer', 'agent')), '{}') AS other,
        60 * sum(words) FILTER (WHERE role = 'agent')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'agent' AND words IS NOT NULL), 0) AS agent_words_per_min,
        60 * sum(words) FILTER (WHERE role = 'customer')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'customer' AND words IS NOT NULL), 0) AS customer_words_per_min,
        sum(characters) FILTER (WHERE role = 'agent')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'agent'), 0) AS agent_characters_per_s,
        sum(characters) FILTER (WHERE role = 'customer')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'customer'), 0) AS customer_characters_per_s,
        count(*) FILTER (WHERE allowed) AS emotion_utterances,
        count(*) FILTER (WHERE emotion = 'surprised') AS surprised,
        count(*) FILTER (WHERE emotion = 'neutral') AS neutral,
        count(*) FILTER (WHERE emotion = 'happy') AS happy,
        count(*) FILTER (WHERE emotion = 'sad') AS sad,
        count(*) FILTER (WHERE emotion = 'disgusted') AS disgusted,
        count(*) FILTER (WHERE emotion = 'angry') AS angry,
        count(*) FILTER (WHERE emotion = 'fearful') AS fearful,
        count(*) FILTER (WHERE emotion IS NULL AND emotion_abstained) AS abstained,
        count(*) FILTER (WHERE allowed AND emotion IS NULL AND NOT emotion_abstained) AS not_given,
        60 * sum(qa.words_said(text)) FILTER (WHERE role = 'agent' AND is_paced AND NOT is_unspaced)
            / sum(length_s) FILTER (WHERE role = 'agent' AND is_paced AND NOT is_unspaced) AS agent_pace_words,
        60 * sum(qa.words_said(text)) FILTER (WHERE role = 'customer' AND is_paced AND NOT is_unspaced)
            / sum(length_s) FILTER (WHERE role = 'customer' AND is_paced AND NOT is_unspaced) AS customer_pace_words,
        60 * sum(qa.characters_said(text)) FILTER (WHERE role = 'agent' AND is_paced AND is_unspaced)
            / sum(length_s) FILTER (WHERE role = 'agent' AND is_paced AND is_unspaced) AS agent_pace_characters,
        60 * sum(qa.characters_said(text)) FILTER (WHERE role = 'customer' AND is_paced AND is_unspaced)
            / sum(length_s) FILTER (WHERE role = 'customer' AND is_paced AND is_unspaced) AS customer_pace_characters,
        sum(loudness_dbfs * length_s) FILTER (WHERE role = 'agent')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'agent' AND loudness_dbfs IS NOT NULL), 0) AS agent_loudness,
        sum(loudness_dbfs * length_s) FILTER (WHERE role = 'customer')
            / NULLIF(sum(length_s) FILTER (WHERE role = 'customer' AND loudness_dbfs IS NOT NULL), 0) AS customer_loudness
    FROM said
), dead_air AS (
    SELECT
        count(*) FILTER (WHERE upper(silence) - lower(silence) > 10000) AS dead_airs,
        COALESCE(max(upper(silence) - lower(silence)), 0)::double precision / 1000 AS longest_dead_air_s
    FROM heard, blind, unnest(heard.spans - blind.stretches - heard.speech) AS silence
), answers AS (
    SELECT
        count(*) FILTER (WHERE role = 'agent') AS agent_responses,
        avg(delay_ms) FILTER (WHERE role = 'agent')::double precision / 1000 AS agent_response_avg_s,
        max(delay_ms) FILTER (WHERE role = 'agent')::double precision / 1000 AS agent_response_max_s,
        count(*) FILTER (WHERE role = 'customer') AS customer_responses,
        avg(delay_ms) FILTER (WHERE role = 'customer')::double precision / 1000 AS customer_response_avg_s
    FROM qa.response
    WHERE response.call_id = of_call
        AND (role, to_role) IN (('agent', 'customer'), ('customer', 'agent'))
), cuts AS (
    SELECT
        count(*) FILTER (WHERE role = 'agent' AND other_role = 'customer') AS agent_interruptions,
        count(*) FILTER (WHERE role = 'customer' AND other_role = 'agent') AS customer_interruptions
    FROM qa.interruption
    WHERE interruption.call_id = of_call
), named AS (
    SELECT
        COALESCE(array_agg(DISTINCT agent_id ORDER BY agent_id) FILTER (WHERE agent_id IS NOT NULL), '{}') AS agent_ids,
        COALESCE(array_agg(DISTINCT queue ORDER BY queue) FILTER (WHERE queue IS NOT NULL), '{}') AS queues
    FROM qa.named
    WHERE named.call_id = of_call
)
SELECT
    of_call,
    named.agent_ids,
    named.queues,
    (upper(heard.spans) - lower(heard.spans))::double precision / 1000,
    qa.seconds(talk.customer),
    qa.seconds(talk.agent),
    qa.seconds(talk.customer * talk.agent),
    qa.seconds(heard.spans - heard.gaps - heard.speech),
    qa.seconds(heard.gaps),
    answers.agent_responses,
    answers.agent_response_avg_s,
    answers.agent_response_max_s,
    talk.utterances,
    talk.agent_words_per_min,
    talk.customer_words_per_min,
    talk.agent_characters_per_s,
    talk.customer_characters_per_s,
    talk.emotion_utterances,
    talk.surprised,
    talk.neutral,
    talk.happy,
    talk.sad,
    talk.disgusted,
    talk.angry,
    talk.fearful,
    talk.abstained,
    talk.not_given,
    heard.sent_s,
    heard.heard_s,
    heard.speech_s,
    qa.seconds(talk.anybody),
    qa.seconds(talk.customer * talk.agent + talk.customer * talk.other + talk.agent * talk.other),
    cuts.agent_interruptions,
    cuts.customer_interruptions,
    dead_air.dead_airs,
    dead_air.longest_dead_air_s,
    answers.customer_responses,
    answers.customer_response_avg_s,
    talk.agent_pace_words,
    talk.customer_pace_words,
    talk.agent_pace_characters,
    talk.customer_pace_characters,
    talk.agent_loudness,
    talk.customer_loudness
FROM heard, talk, dead_air, answers, cuts, named
$$;

COMMENT ON FUNCTION qa.call_figures IS 'Figures of one call, from its log.';

CREATE FUNCTION qa.agent_figures(of_call text) RETURNS SETOF qa.agent_figure
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH said AS MATERIALIZED (
    SELECT * FROM qa.spoken WHERE spoken.call_id = of_call
), customers AS (
    SELECT COALESCE(range_agg(stretch), '{}') AS talk FROM said WHERE role = 'customer'
), cuts AS MATERIALIZED (
    SELECT * FROM qa.interruption WHERE interruption.call_id = of_call
), answers AS MATERIALIZED (
    SELECT * FROM qa.response WHERE response.call_id = of_call AND role = 'agent' AND to_role = 'customer'
)
SELECT
    of_call,
    agent.agent_id,
    qa.seconds(talk.own),
    qa.seconds(talk.own * customers.talk),
    talk.words,
    talk.worded_s,
    (SELECT count(*) FROM answers WHERE answers.agent_id = agent.agent_id),
    (SELECT sum(delay_ms)::double precision / 1000 FROM answers WHERE answers.agent_id = agent.agent_id),
    (SELECT count(*) FROM cuts WHERE cuts.agent_id = agent.agent_id AND role = 'agent' AND other_role = 'customer'),
    (SELECT count(*) FROM cuts WHERE other_agent_id = agent.agent_id AND other_role = 'agent' AND role = 'customer')
FROM (SELECT DISTINCT agent_id FROM qa.named WHERE named.call_id = of_call AND agent_id IS NOT NULL) AS agent
CROSS JOIN customers
CROSS JOIN LATERAL (
    SELECT
        COALESCE(range_agg(stretch), '{}') AS own,
        sum(words) AS words,
        sum(end_ms - start_ms) FILTER (WHERE words IS NOT NULL)::double precision / 1000 AS worded_s
    FROM said
    WHERE said.role = 'agent' AND said.agent_id = agent.agent_id
) AS talk
$$;

COMMENT ON FUNCTION qa.agent_figures IS 'Figures of each agent that a call names, from its log.';

CREATE FUNCTION qa.anger_figures(of_call text) RETURNS SETOF qa.anger_figure
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH labelled AS (
    SELECT
        leg_id, start_ms, emotion = 'angry' AS is_angry,
        row_number() OVER leg - row_number() OVER (PARTITION BY leg_id, emotion = 'angry' ORDER BY ordinal) AS island
    FROM qa.spoken
    WHERE spoken.call_id = of_call AND role = 'customer' AND emotion IS NOT NULL
    WINDOW leg AS (PARTITION BY leg_id ORDER BY ordinal)
), stretches AS (
    SELECT leg_id, is_angry, min(start_ms) AS began_ms, count(*) AS utterances
    FROM labelled
    GROUP BY leg_id, is_angry, island
), followed AS (
    SELECT
        stretches.*,
        lead(began_ms) OVER (PARTITION BY leg_id ORDER BY began_ms) AS recovered_ms
    FROM stretches
)
SELECT
    of_call,
    followed.leg_id,
    followed.began_ms,
    followed.utterances,
    followed.recovered_ms,
    (
        SELECT s.agent_id
        FROM qa.spoken AS s
        WHERE s.call_id = of_call AND s.role = 'agent' AND s.agent_id IS NOT NULL
            AND s.start_ms < COALESCE(followed.recovered_ms, 9223372036854775807)
        ORDER BY s.start_ms DESC
        LIMIT 1
    )
FROM followed
WHERE followed.is_angry AND followed.utterances >= 2
$$;

COMMENT ON FUNCTION qa.anger_figures IS 'Sustained anger in one call, from its log: two or more angry labels in a row, with no other label between.';

CREATE FUNCTION qa.store_figures(of_calls text[]) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM qa.call_figure WHERE call_id = ANY (of_calls);
    DELETE FROM qa.agent_figure WHERE call_id = ANY (of_calls);
    DELETE FROM qa.anger_figure WHERE call_id = ANY (of_calls);
    INSERT INTO qa.call_figure SELECT f.* FROM unnest(of_calls) AS id CROSS JOIN LATERAL qa.call_figures(id) AS f;
    INSERT INTO qa.agent_figure SELECT f.* FROM unnest(of_calls) AS id CROSS JOIN LATERAL qa.agent_figures(id) AS f;
    INSERT INTO qa.anger_figure SELECT f.* FROM unnest(of_calls) AS id CROSS JOIN LATERAL qa.anger_figures(id) AS f;
    $$;

COMMENT ON FUNCTION qa.store_figures IS 'Store the figures of calls that have ended, in place of what was stored of them.';

-- Figures of every call: stored ones where the call has ended, else those up to now.
-- The id is that of qa.call, so that a look for one call finds it by its index.
CREATE VIEW qa.figured AS
SELECT
    c.call_id,
    f.agent_ids,
    f.queues,
    f.duration_s,
    f.customer_talk_s,
    f.agent_talk_s,
    f.overtalk_s,
    f.silence_s,
    f.unheard_s,
    f.agent_responses,
    f.agent_response_avg_s,
    f.agent_response_max_s,
    f.utterances,
    f.agent_words_per_min,
    f.customer_words_per_min,
    f.agent_characters_per_s,
    f.customer_characters_per_s,
    f.emotion_utterances,
    f.surprised,
    f.neutral,
    f.happy,
    f.sad,
    f.disgusted,
    f.angry,
    f.fearful,
    f.abstained,
    f.not_given,
    f.sent_s,
    f.heard_s,
    f.speech_s,
    f.talk_s,
    f.together_s,
    f.agent_interruptions,
    f.customer_interruptions,
    f.dead_airs,
    f.longest_dead_air_s,
    f.customer_responses,
    f.customer_response_avg_s,
    f.agent_pace_words_per_min,
    f.customer_pace_words_per_min,
    f.agent_pace_characters_per_min,
    f.customer_pace_characters_per_min,
    f.agent_loudness_dbfs,
    f.customer_loudness_dbfs
FROM qa.call AS c
LEFT JOIN qa.call_figure AS stored ON stored.call_id = c.call_id AND c.ended
CROSS JOIN LATERAL (
    SELECT (stored).* WHERE stored.call_id IS NOT NULL
    UNION ALL
    SELECT live.* FROM qa.call_figures(c.call_id) AS live WHERE stored.call_id IS NULL
) AS f;

COMMENT ON VIEW qa.figured IS 'Figures of every call: stored ones where the call has ended, else those up to now.';

CREATE VIEW qa.figured_agent AS
SELECT
    c.call_id,
    a.agent_id,
    a.talk_s,
    a.overtalk_s,
    a.words,
    a.worded_s,
    a.responses,
    a.response_s,
    a.interruptions,
    a.interrupted
FROM qa.call AS c
JOIN qa.call_figure AS stored ON stored.call_id = c.call_id
JOIN qa.agent_figure AS a ON a.call_id = c.call_id
WHERE c.ended
UNION ALL
SELECT
    c.call_id,
    live.agent_id,
    live.talk_s,
    live.overtalk_s,
    live.words,
    live.worded_s,
    live.responses,
    live.response_s,
    live.interruptions,
    live.interrupted
FROM qa.call AS c
LEFT JOIN qa.call_figure AS stored ON stored.call_id = c.call_id AND c.ended
CROSS JOIN LATERAL qa.agent_figures(c.call_id) AS live
WHERE stored.call_id IS NULL;

COMMENT ON VIEW qa.figured_agent IS 'Figures of every agent in every call, stored or up to now.';

CREATE VIEW qa.figured_anger AS
SELECT
    c.call_id,
    a.leg_id,
    a.began_ms,
    a.utterances,
    a.recovered_ms,
    a.agent_id
FROM qa.call AS c
JOIN qa.call_figure AS stored ON stored.call_id = c.call_id
JOIN qa.anger_figure AS a ON a.call_id = c.call_id
WHERE c.ended
UNION ALL
SELECT
    c.call_id,
    live.leg_id,
    live.began_ms,
    live.utterances,
    live.recovered_ms,
    live.agent_id
FROM qa.call AS c
LEFT JOIN qa.call_figure AS stored ON stored.call_id = c.call_id AND c.ended
CROSS JOIN LATERAL qa.anger_figures(c.call_id) AS live
WHERE stored.call_id IS NULL;

COMMENT ON VIEW qa.figured_anger IS 'Sustained anger in every call, stored or up to now.';

CREATE OR REPLACE VIEW report.call_quality AS
SELECT
    c.call_id,
    c.tenant,
    c.started_at,
    c.ended,
    f.agent_ids,
    f.queues,
    f.duration_s,
    f.customer_talk_s,
    f.agent_talk_s,
    f.agent_talk_s / NULLIF(f.customer_talk_s + f.agent_talk_s, 0) AS agent_talk_share,
    f.overtalk_s,
    f.silence_s,
    f.unheard_s,
    f.agent_responses,
    f.agent_response_avg_s,
    f.agent_response_max_s,
    f.utterances,
    f.agent_words_per_min,
    f.customer_words_per_min,
    f.agent_characters_per_s,
    f.customer_characters_per_s,
    f.emotion_utterances,
    f.surprised / NULLIF(f.emotion_utterances, 0)::double precision AS surprised_share,
    f.neutral / NULLIF(f.emotion_utterances, 0)::double precision AS neutral_share,
    f.happy / NULLIF(f.emotion_utterances, 0)::double precision AS happy_share,
    f.sad / NULLIF(f.emotion_utterances, 0)::double precision AS sad_share,
    f.disgusted / NULLIF(f.emotion_utterances, 0)::double precision AS disgusted_share,
    f.angry / NULLIF(f.emotion_utterances, 0)::double precision AS angry_share,
    f.fearful / NULLIF(f.emotion_utterances, 0)::double precision AS fearful_share,
    f.abstained / NULLIF(f.emotion_utterances, 0)::double precision AS abstained_share,
    f.not_given / NULLIF(f.emotion_utterances, 0)::double precision AS not_given_share,
    i.alerts,
    i.alerts_severe,
    i.alerts_open,
    f.heard_s / NULLIF(f.sent_s, 0) AS coverage_share,
    CASE
        WHEN f.sent_s = 0 THEN 'nothing_sent'
        WHEN f.heard_s < f.sent_s / 2 THEN 'blind'
        WHEN f.speech_s = 0 THEN 'quiet'
        ELSE 'speech'
    END AS hearing,
    c.rule_set_hash,
    f.talk_s,
    f.together_s / NULLIF(f.talk_s, 0) AS overtalk_share,
    f.agent_interruptions,
    f.customer_interruptions,
    f.dead_airs,
    f.longest_dead_air_s,
    f.customer_responses,
    f.customer_response_avg_s,
    f.agent_pace_words_per_min,
    f.agent_pace_characters_per_min,
    f.customer_pace_words_per_min,
    f.customer_pace_characters_per_min,
    f.agent_loudness_dbfs,
    f.customer_loudness_dbfs,
    f.sent_s,
    f.heard_s
FROM qa.call AS c
JOIN qa.figured AS f ON f.call_id = c.call_id
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE state <> 'withdrawn') AS alerts,
        count(*) FILTER (WHERE state <> 'withdrawn' AND severity IN ('high', 'critical')) AS alerts_severe,
        count(*) FILTER (WHERE state IN ('opened', 'updated')) AS alerts_open
    FROM qa.incident
    WHERE incident.call_id = c.call_id
) AS i;

COMMENT ON COLUMN report.call_quality.agent_responses IS 'Number of answers: an agent''s utterance that begins when a customer''s has ended and nobody has spoken since, with no gap between (other than not_sent).';
COMMENT ON COLUMN report.call_quality.talk_s IS 'Seconds in which anybody spoke.';
COMMENT ON COLUMN report.call_quality.overtalk_share IS 'Share of talk_s in which people of two roles spoke at once, 0 to 1; NULL if nobody spoke.';
COMMENT ON COLUMN report.call_quality.agent_interruptions IS 'How often an agent cut a customer short: began at least 0.2 s after the customer''s beginning and 0.2 s before its end, and went on after it.';
COMMENT ON COLUMN report.call_quality.customer_interruptions IS 'How often a customer cut an agent short.';
COMMENT ON COLUMN report.call_quality.dead_airs IS 'Number of silences of more than 10 s on all legs, hold (not_sent) included; stretches that nobody could hear are none.';
COMMENT ON COLUMN report.call_quality.longest_dead_air_s IS 'Length of the longest silence, seconds, of whatever length.';
COMMENT ON COLUMN report.call_quality.customer_responses IS 'Number of a customer''s answers to an agent, as agent_responses.';
COMMENT ON COLUMN report.call_quality.customer_response_avg_s IS 'Mean delay of those answers, seconds; NULL without answers.';
COMMENT ON COLUMN report.call_quality.agent_pace_words_per_min IS 'Words a minute within the agent''s utterances of 2 s or more, in languages with blanks between words; NULL if there are none.';
COMMENT ON COLUMN report.call_quality.agent_pace_characters_per_min IS 'Characters a minute within the agent''s utterances of 2 s or more, in languages without blanks between words; NULL if there are none.';
COMMENT ON COLUMN report.call_quality.customer_pace_words_per_min IS 'The same of the customer, words.';
COMMENT ON COLUMN report.call_quality.customer_pace_characters_per_min IS 'The same of the customer, characters.';
COMMENT ON COLUMN report.call_quality.agent_loudness_dbfs IS 'Mean active speech level of the agent''s utterances, by their length, in dB of full scale; NULL where none was measured.';
COMMENT ON COLUMN report.call_quality.customer_loudness_dbfs IS 'The same of the customer.';
COMMENT ON COLUMN report.call_quality.sent_s IS 'Seconds of audio of all legs that were there to be transcribed, as in report.coverage.';
COMMENT ON COLUMN report.call_quality.heard_s IS 'Seconds of it that were transcribed or found quiet.';

CREATE OR REPLACE VIEW report.agent_daily AS
SELECT
    (q.started_at AT TIME ZONE 'UTC')::date AS day,
    q.tenant,
    s.agent_id,
    count(*) AS calls,
    sum(q.duration_s) AS duration_s,
    sum(s.talk_s) AS talk_s,
    sum(s.talk_s) / NULLIF(sum(s.talk_s) + sum(q.customer_talk_s), 0) AS talk_share,
    sum(s.overtalk_s) AS overtalk_s,
    sum(q.silence_s) AS silence_s,
    COALESCE(sum(s.responses), 0)::bigint AS responses,
    sum(s.response_s) / NULLIF(sum(s.responses), 0)::double precision AS response_avg_s,
    60 * sum(s.words) / NULLIF(sum(s.worded_s), 0) AS words_per_min,
    sum(q.alerts)::bigint AS alerts,
    count(*) FILTER (WHERE q.alerts > 0) AS alert_calls,
    sum(q.emotion_utterances)::bigint AS customer_utterances,
    sum(q.angry_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_angry_share,
    sum(q.neutral_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_neutral_share,
    sum(q.abstained_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_abstained_share,
    sum(q.heard_s) / NULLIF(sum(q.sent_s), 0) AS coverage_share,
    count(*) FILTER (WHERE q.hearing = 'blind') AS blind_calls,
    sum(s.interruptions)::bigint AS interruptions,
    sum(s.interrupted)::bigint AS interrupted,
    sum(q.dead_airs)::bigint AS dead_airs,
    avg(g.score) AS score_avg
FROM qa.figured_agent AS s
JOIN report.call_quality AS q ON q.call_id = s.call_id
LEFT JOIN LATERAL (
    SELECT result.score
    FROM qa.scorecard_result AS result
    WHERE result.call_id = s.call_id
    ORDER BY result.updated_at DESC
    LIMIT 1
) AS g ON true
GROUP BY 1, 2, 3;

COMMENT ON COLUMN report.agent_daily.interruptions IS 'How often the agent cut a customer short, as in report.call_quality.';
COMMENT ON COLUMN report.agent_daily.interrupted IS 'How often a customer cut the agent short.';
COMMENT ON COLUMN report.agent_daily.dead_airs IS 'Number of silences of more than 10 s in those calls.';
COMMENT ON COLUMN report.agent_daily.score_avg IS 'Mean score of those calls on the scorecard that each was graded by last, 0 to 100; NULL if none was.';

CREATE VIEW report.queue_hourly AS
SELECT
    date_trunc('hour', q.started_at, 'UTC') AS hour,
    q.tenant,
    queue.name AS queue,
    count(*) AS calls,
    count(*) FILTER (WHERE NOT q.ended) AS live_calls,
    avg(q.duration_s) AS duration_avg_s,
    sum(q.agent_talk_s) / NULLIF(sum(q.agent_talk_s + q.customer_talk_s), 0) AS agent_talk_share,
    sum(q.overtalk_share * q.talk_s) / NULLIF(sum(q.talk_s), 0) AS overtalk_share,
    sum(q.silence_s) / NULLIF(sum(q.duration_s), 0) AS silence_share,
    sum(q.dead_airs)::bigint AS dead_airs,
    sum(q.agent_response_avg_s * q.agent_responses) / NULLIF(sum(q.agent_responses), 0)::double precision AS agent_response_avg_s,
    sum(q.agent_interruptions)::bigint AS agent_interruptions,
    sum(q.customer_interruptions)::bigint AS customer_interruptions,
    sum(q.angry_share * q.emotion_utterances) / NULLIF(sum(q.emotion_utterances), 0)::double precision AS customer_angry_share,
    sum(q.alerts)::bigint AS alerts,
    sum(q.alerts_severe)::bigint AS alerts_severe,
    count(*) FILTER (WHERE q.alerts > 0) AS alert_calls,
    avg(q.coverage_share) AS coverage_share,
    count(*) FILTER (WHERE q.hearing = 'blind') AS blind_calls
FROM report.call_quality AS q
CROSS JOIN LATERAL unnest(q.queues) AS queue(name)
GROUP BY 1, 2, 3;

COMMENT ON VIEW report.queue_hourly IS 'How the calls of each queue went, hour by hour. One row per hour, tenant and queue; a call that names several queues counts in each.';
COMMENT ON COLUMN report.queue_hourly.hour IS 'Hour in which the calls began.';
COMMENT ON COLUMN report.queue_hourly.tenant IS 'Tenant of the calls; NULL if the platform names none.';
COMMENT ON COLUMN report.queue_hourly.queue IS 'The queue.';
COMMENT ON COLUMN report.queue_hourly.calls IS 'Number of calls, live ones included.';
COMMENT ON COLUMN report.queue_hourly.live_calls IS 'Number of those that have not ended.';
COMMENT ON COLUMN report.queue_hourly.duration_avg_s IS 'Mean length, seconds; of live calls that up to now.';
COMMENT ON COLUMN report.queue_hourly.agent_talk_share IS 'The agents'' share of the talk of agents and customers, 0 to 1; NULL if neither spoke.';
COMMENT ON COLUMN report.queue_hourly.overtalk_share IS 'Share of the talk in which people of two roles spoke at once, 0 to 1; NULL if nobody spoke.';
COMMENT ON COLUMN report.queue_hourly.silence_share IS 'Share of the calls'' length in which every leg was heard and nobody spoke, 0 to 1; NULL without length.';
COMMENT ON COLUMN report.queue_hourly.dead_airs IS 'Number of silences of more than 10 s.';
COMMENT ON COLUMN report.queue_hourly.agent_response_avg_s IS 'Mean delay of agents'' answers, seconds; NULL without answers.';
COMMENT ON COLUMN report.queue_hourly.agent_interruptions IS 'How often agents cut customers short.';
COMMENT ON COLUMN report.queue_hourly.customer_interruptions IS 'How often customers cut agents short.';
COMMENT ON COLUMN report.queue_hourly.customer_angry_share IS 'Share of the customers'' utterances whose emotion was allowed to be recognised that were labelled angry, 0 to 1; NULL if there are none.';
COMMENT ON COLUMN report.queue_hourly.alerts IS 'Number of alerts, withdrawn ones left out.';
COMMENT ON COLUMN report.queue_hourly.alerts_severe IS 'Number of those of severity high or critical.';
COMMENT ON COLUMN report.queue_hourly.alert_calls IS 'Number of calls with at least one alert.';
COMMENT ON COLUMN report.queue_hourly.coverage_share IS 'Mean share of the calls'' audio that was transcribed or found quiet, 0 to 1; NULL when nothing was sent.';
COMMENT ON COLUMN report.queue_hourly.blind_calls IS 'Number of calls of which less than half was heard: their figures say little.';

CREATE VIEW report.recovery AS
SELECT
    (c.started_at AT TIME ZONE 'UTC')::date AS day,
    c.tenant,
    a.agent_id,
    count(DISTINCT a.call_id) AS calls,
    count(*) AS angry_stretches,
    count(a.recovered_ms) AS recovered,
    count(a.recovered_ms) / count(*)::double precision AS recovered_share,
    avg(a.recovered_ms - a.began_ms)::double precision / 1000 AS recovery_avg_s,
    (percentile_cont(0.5) WITHIN GROUP (ORDER BY (a.recovered_ms - a.began_ms)::double precision)) / 1000 AS recovery_median_s
FROM qa.figured_anger AS a
JOIN qa.call AS c ON c.call_id = a.call_id
GROUP BY 1, 2, 3;

COMMENT ON VIEW report.recovery IS 'How often and how fast customers calmed down, by agent. An angry stretch is two or more utterances of a customer labelled angry with no other label between; it is over with the next label. Labels rank voices and are often wrong for one utterance: compare agents over many calls. One row per day, tenant and agent.';
COMMENT ON COLUMN report.recovery.day IS 'Day on which the calls began, UTC.';
COMMENT ON COLUMN report.recovery.tenant IS 'Tenant of the calls; NULL if the platform names none.';
COMMENT ON COLUMN report.recovery.agent_id IS 'The agent who spoke last before the customer calmed down, or at all; NULL: none was named.';
COMMENT ON COLUMN report.recovery.calls IS 'Number of calls with an angry stretch.';
COMMENT ON COLUMN report.recovery.angry_stretches IS 'Number of angry stretches.';
COMMENT ON COLUMN report.recovery.recovered IS 'Number of those that were over before the call was.';
COMMENT ON COLUMN report.recovery.recovered_share IS 'recovered / angry_stretches, 0 to 1.';
COMMENT ON COLUMN report.recovery.recovery_avg_s IS 'Mean seconds from the first angry utterance to the first with another label; NULL if none recovered.';
COMMENT ON COLUMN report.recovery.recovery_median_s IS 'Median of the same; NULL if none recovered.';

CREATE OR REPLACE VIEW report.alert_log AS
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
    j.judged_at AS acknowledged_at,
    j.judged_by AS acknowledged_by,
    extract(epoch FROM j.judged_at - i.created_at)::double precision AS acknowledged_after_s,
    CASE WHEN j.verdict = 'dismissed' THEN j.reason END AS dismissed_reason,
    j.verdict,
    j.reason AS judgement_reason,
    (SELECT count(*) FROM qa.alert_judgement AS all_of WHERE all_of.incident_id = i.incident_id) AS judgements
FROM qa.incident AS i
JOIN qa.call AS c ON c.call_id = i.call_id
LEFT JOIN qa.call_figure AS stored ON stored.call_id = c.call_id AND c.ended
CROSS JOIN LATERAL (
    SELECT stored.agent_ids, stored.queues WHERE stored.call_id IS NOT NULL
    UNION ALL
    SELECT
        COALESCE(array_agg(DISTINCT agent_id ORDER BY agent_id) FILTER (WHERE agent_id IS NOT NULL), '{}'),
        COALESCE(array_agg(DISTINCT queue ORDER BY queue) FILTER (WHERE queue IS NOT NULL), '{}')
    FROM qa.named
    WHERE named.call_id = i.call_id AND stored.call_id IS NULL
    HAVING stored.call_id IS NULL
) AS n
LEFT JOIN LATERAL (
    SELECT newest.*
    FROM qa.alert_judgement AS newest
    WHERE newest.incident_id = i.incident_id
    ORDER BY newest.id DESC
    LIMIT 1
) AS j ON true;

COMMENT ON COLUMN report.alert_log.acknowledged_at IS 'When somebody judged it last, either way; NULL: nobody yet.';
COMMENT ON COLUMN report.alert_log.acknowledged_by IS 'Who judged it last.';
COMMENT ON COLUMN report.alert_log.dismissed_reason IS 'Why it was judged a false alarm last; NULL: it was not.';
COMMENT ON COLUMN report.alert_log.verdict IS 'What was said of it last: acknowledged (it was right) or dismissed (a false alarm); NULL: nothing yet.';
COMMENT ON COLUMN report.alert_log.judgement_reason IS 'Why, if that was said.';
COMMENT ON COLUMN report.alert_log.judgements IS 'How often it was judged; the history is kept.';

CREATE VIEW report.scorecard AS
SELECT
    r.call_id,
    c.tenant,
    c.started_at,
    f.agent_ids,
    f.queues,
    r.scorecard_id,
    r.scorecard_version,
    r.scorecard_hash,
    r.score,
    r.auto_failed,
    r.answered,
    r.left_out,
    r.updated_at AS scored_at
FROM qa.scorecard_result AS r
JOIN qa.call AS c ON c.call_id = r.call_id
JOIN qa.figured AS f ON f.call_id = r.call_id;

COMMENT ON VIEW report.scorecard IS 'What each call scored, on each scorecard that it was graded by. One row per call and scorecard.';
COMMENT ON COLUMN report.scorecard.call_id IS 'The call.';
COMMENT ON COLUMN report.scorecard.tenant IS 'Tenant of the call; NULL if the platform names none.';
COMMENT ON COLUMN report.scorecard.started_at IS 'When the call began.';
COMMENT ON COLUMN report.scorecard.agent_ids IS 'Agents that any leg of the call named at any time; empty if none.';
COMMENT ON COLUMN report.scorecard.queues IS 'Queues that any leg of the call named at any time; empty if none.';
COMMENT ON COLUMN report.scorecard.scorecard_id IS 'The scorecard.';
COMMENT ON COLUMN report.scorecard.scorecard_version IS 'Its revision.';
COMMENT ON COLUMN report.scorecard.scorecard_hash IS 'Its content hash: what exactly was asked, with which weights.';
COMMENT ON COLUMN report.scorecard.score IS 'Score, 0 to 100; NULL: no question could be answered.';
COMMENT ON COLUMN report.scorecard.auto_failed IS 'True when a critical question was failed: the score is 0 for it.';
COMMENT ON COLUMN report.scorecard.answered IS 'Number of questions answered.';
COMMENT ON COLUMN report.scorecard.left_out IS 'Number of questions left out of the score: undecidable, not applicable, or of a rule that the call did not have.';
COMMENT ON COLUMN report.scorecard.scored_at IS 'When it was scored.';

CREATE VIEW report.scorecard_answer AS
SELECT
    r.call_id,
    r.scorecard_id,
    r.scorecard_version,
    r.scorecard_hash,
    answer ->> 'section' AS section,
    answer ->> 'question' AS question,
    answer ->> 'ask' AS ask,
    answer ->> 'rule_id' AS rule_id,
    answer ->> 'verdict' AS verdict,
    (answer ->> 'weight')::integer AS weight,
    (answer ->> 'is_critical')::boolean AS is_critical,
    answer -> 'reasons' AS reasons
FROM qa.scorecard_result AS r
CROSS JOIN LATERAL jsonb_array_elements(r.answers) AS answer;

COMMENT ON VIEW report.scorecard_answer IS 'Each answer that a score rests on. One row per call, scorecard and question.';
COMMENT ON COLUMN report.scorecard_answer.call_id IS 'The call.';
COMMENT ON COLUMN report.scorecard_answer.scorecard_id IS 'The scorecard.';
COMMENT ON COLUMN report.scorecard_answer.scorecard_version IS 'Its revision.';
COMMENT ON COLUMN report.scorecard_answer.scorecard_hash IS 'Its content hash.';
COMMENT ON COLUMN report.scorecard_answer.section IS 'Section of the scorecard.';
COMMENT ON COLUMN report.scorecard_answer.question IS 'Id of the question.';
COMMENT ON COLUMN report.scorecard_answer.ask IS 'The question, in words.';
COMMENT ON COLUMN report.scorecard_answer.rule_id IS 'The rule that answers it.';
COMMENT ON COLUMN report.scorecard_answer.verdict IS 'pass or fail; or left out of the score: undecidable (what decides it may lie in a gap), not_applicable, no_rule (the call''s rule set lacks it).';
COMMENT ON COLUMN report.scorecard_answer.weight IS 'Its weight in the section.';
COMMENT ON COLUMN report.scorecard_answer.is_critical IS 'Whether failing it makes the score 0.';
COMMENT ON COLUMN report.scorecard_answer.reasons IS 'Incidents that the answer rests on, a JSON list with utterance ids and redacted words; empty where it rests on there being none.';

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
    NULLIF(e.detail -> 'emotion_distribution', 'null'::jsonb) AS emotion_distribution,
    s.loudness_dbfs,
    corrected.emotion AS corrected_emotion,
    corrected.corrected_by
FROM qa.call AS c
JOIN qa.spoken AS s ON s.call_id = c.call_id
JOIN qa.log_entry AS e ON e.utterance_id = s.utterance_id
LEFT JOIN LATERAL (
    SELECT newest.*
    FROM qa.emotion_correction AS newest
    WHERE newest.utterance_id = s.utterance_id
    ORDER BY newest.id DESC
    LIMIT 1
) AS corrected ON true
WHERE s.emotion_policy = 'on';

COMMENT ON COLUMN report.emotion_timeline.loudness_dbfs IS 'Active speech level of the utterance in dB of full scale; NULL where it was not measured.';
COMMENT ON COLUMN report.emotion_timeline.corrected_emotion IS 'The label that a person gave it last; NULL: nobody did.';
COMMENT ON COLUMN report.emotion_timeline.corrected_by IS 'Who gave it.';

CREATE INDEX incident_created_at ON qa.incident (created_at);

ALTER TABLE qa.incident DROP acknowledged_at, DROP acknowledged_by, DROP dismissed_reason;

GRANT SELECT ON ALL TABLES IN SCHEMA report TO qa_report;
