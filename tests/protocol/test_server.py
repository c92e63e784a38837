from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.config import DEFAULT_MODEL, Extensions, SessionConfig
from qa_service.protocol.errors import OutOfOrder
from qa_service.protocol.events import (
    AppendAudio,
    Clear,
    Commit,
    Configure,
    ErrorCode,
    ErrorType,
    Finish,
    ResultDetail,
)
from qa_service.protocol.server import (
    Receipt,
    ServerSession,
    bearer_token,
    handshake_error,
    parse_request_path,
)

MANUAL = SessionConfig(turn_detection=None)
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def open_session(config=None):
    numbers = itertools.count(1)
    session = ServerSession("sess_1", "m", lambda prefix: f"{prefix}_{next(numbers)}", config)
    session.created()
    return session


@pytest.fixture
def session():
    return open_session()


@pytest.fixture
def manual():
    return open_session(MANUAL)


def event(event_type, **members):
    return json.dumps({"event_id": "event_c1", "type": event_type, **members})


def append(audio):
    return event("input_audio_buffer.append", audio=base64.b64encode(audio).decode())


def update(**members):
    return event("session.update", session=members)


COMMIT = event("input_audio_buffer.commit")
CLEAR = event("input_audio_buffer.clear")
FINISH = event("session.finish")
SECOND = append(bytes(32_000))  # one second of 16 kHz PCM


def types(texts):
    return [json.loads(text)["type"].rpartition(".")[2] for text in texts]


def error_of(receipt):
    """The error object of a receipt that holds nothing else."""
    assert receipt.commands == ()
    (text,) = receipt.replies
    assert json.loads(text)["type"] == "error"
    return json.loads(text)["error"]


def spoken(session, start=0, end=1000):
    item_id, _ = session.speech_started(start)
    session.speech_stopped(item_id, end)
    return item_id


# Handshake.


@pytest.mark.parametrize(
    "path", ["/api-ws/v1/realtime", "/api-ws/v1/realtime/", "/proxy/x/api-ws/v1/realtime"]
)
def test_any_path_with_the_right_end_is_ours(path):
    """Section 8.1.1."""
    assert parse_request_path(path, "model=a") == "a"


@pytest.mark.parametrize("path", ["/", "", "/api-ws/v1/inference", "/api-ws/v1/realtime/x"])
def test_other_paths_are_not_ours(path):
    """Section 8.1.1."""
    assert parse_request_path(path, "model=a") is None


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ("", DEFAULT_MODEL),
        ("model=", DEFAULT_MODEL),
        ("heartbeat=true&x", DEFAULT_MODEL),
        ("foo=1?model=X", "X"),
        ("model=A?model=B", "B"),
        ("model=a%2Fb", "a/b"),
        ("model=a+b", "a+b"),
        ("heartbeat=true&model=X&y=1", "X"),
    ],
)
def test_the_model_is_found_in_any_query(query, model):
    """Section 1.1: unknown parameters, repeated question marks, encoding or its absence; a default."""
    assert model == parse_request_path("/api-ws/v1/realtime", query)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer key", "key"),
        ("bearer key", "key"),
        (" BEARER  key ", "key"),
        ("Basic key", None),
        ("Bearer", None),
        ("", None),
        (None, None),
    ],
)
def test_the_scheme_of_a_key_has_no_case(header, token):
    """Section 1.3."""
    assert token == bearer_token(header)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidParameter"),
        (401, "InvalidApiKey"),
        (403, "AccessDenied"),
        (404, "ModelNotFound"),
        (429, "Throttling.RateQuota"),
    ],
)
def test_a_refused_handshake_says_why(status, code):
    """Section 6.1."""
    assert {"code": code, "message": "No.", "request_id": "r1"} == json.loads(
        handshake_error(status, "No.", "r1")
    )


# Life cycle.


def test_the_first_event_announces_the_session_with_its_defaults():
    """Section 4.1."""
    session = ServerSession("sess_1", "m", "{}_1".format)

    created = json.loads(session.created())

    assert (created["type"], created["event_id"]) == ("session.created", "event_1")
    assert (created["session"]["id"], created["session"]["model"]) == ("sess_1", "m")
    assert created["session"]["input_audio_format"] == "pcm"
    assert "qa" not in created["session"]


def test_nothing_comes_before_session_created():
    """Section 2."""
    session = ServerSession("sess_1", "m", "{}_1".format)

    with pytest.raises(OutOfOrder):
        session.error(ErrorType.SERVER, ErrorCode.INTERNAL, "x")


def test_a_session_is_announced_once(session):
    """Section 4.1: the first event."""
    with pytest.raises(OutOfOrder):
        session.created()


def test_every_event_has_an_id_of_its_own(session):
    """Section 1.5."""
    replies = [*session.receive_text(update()).replies, *session.receive_text(update()).replies]

    assert len({json.loads(text)["event_id"] for text in replies}) == 2


# session.update.


def test_each_accepted_update_is_answered_with_the_whole_configuration(session):
    """Sections 3.1, rule 9, and 4.2."""
    for rate in (8000, 16000):
        receipt = session.receive_text(update(sample_rate=rate))

        assert receipt.commands == (Configure(SessionConfig(sample_rate=rate)),)
        (answer,) = map(json.loads, receipt.replies)
        assert answer["type"] == "session.updated"
        assert answer["session"]["sample_rate"] == rate
        assert answer["session"]["turn_detection"]["silence_duration_ms"] == 800


def test_a_refused_update_changes_nothing_and_names_the_member_and_the_event(session):
    """Section 3.1, rule 7."""
    receipt = session.receive_text(
        update(sample_rate=8000, turn_detection={"type": "server_vad", "silence_duration_ms": 100})
    )

    assert error_of(receipt) == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "session.turn_detection.silence_duration_ms must be between 200 and 6000.",
        "param": "session.turn_detection.silence_duration_ms",
        "event_id": "event_c1",
    }
    assert SessionConfig() == session.config


def test_a_missing_required_member_has_a_code_of_its_own(session):
    """Section 6.2."""
    error = error_of(session.receive_text(update(turn_detection={})))

    assert (error["code"], error["param"]) == ("missing_required_parameter", "session.turn_detection.type")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input_audio_format": "opus"}, "session.input_audio_format"),
        ({"sample_rate": 8000}, "session.sample_rate"),
        ({"turn_detection": None}, "session.turn_detection"),
    ],
)
def test_format_rate_and_mode_change_only_while_no_audio_is_pending(session, change, param):
    """Section 3.1, rule 8."""
    session.receive_text(SECOND)

    assert param == error_of(session.receive_text(update(**change)))["param"]
    session.receive_text(CLEAR)
    assert types(session.receive_text(update(**change)).replies) == ["updated"]


def test_language_and_threshold_change_at_any_time(session):
    """Section 3.1, rule 8."""
    session.receive_text(SECOND)
    turn = {"type": "server_vad", "threshold": 0}

    receipt = session.receive_text(
        update(sample_rate=16000, turn_detection=turn, input_audio_transcription={"language": "de"})
    )

    assert types(receipt.replies) == ["updated"]
    assert session.config.language == "de"


def test_the_extensions_are_echoed_to_a_client_that_asked(session):
    """Extension: the echo tells the client what is honoured, in later updates too."""
    assert "qa" not in json.loads(session.receive_text(update()).replies[0])["session"]
    for members in ({"qa": {"progress": True}}, {}):
        (answer,) = session.receive_text(update(**members)).replies

        assert json.loads(answer)["session"]["qa"] == {
            "progress": True,
            "emotion": True,
            "emotion_detail": False,
            "leg_state": False,
        }


# input_audio_buffer.append.


def test_audio_is_passed_on_without_an_answer(session):
    """Section 3.2: never acknowledged, and legal before any update."""
    assert Receipt((AppendAudio(b"\1\2\3\4"),)) == session.receive_text(append(b"\1\2\3\4"))


def test_unpadded_audio_is_passed_on_too(session):
    """Section 3.2."""
    receipt = session.receive_text(event("input_audio_buffer.append", audio="AQI"))

    assert Receipt((AppendAudio(b"\1\2"),)) == receipt


@given(st.lists(st.binary(max_size=9)))
def test_odd_bytes_are_carried_over(pieces):
    """Section 3.2: any size is legal; whole samples reach the recogniser, none is lost."""
    session = open_session()

    audio = [command.audio for piece in pieces for command in session.receive_text(append(piece)).commands]

    sent = b"".join(pieces)
    assert b"".join(audio) == sent[: len(sent) // 2 * 2]
    assert all(piece and len(piece) % 2 == 0 for piece in audio)


def test_empty_audio_is_ignored(session):
    """Section 3.2."""
    assert Receipt() == session.receive_text(append(b""))


def test_broken_base64_is_an_error_about_the_audio(session):
    """Section 3.2."""
    error = error_of(session.receive_text(event("input_audio_buffer.append", audio="?")))

    assert (
        error["type"],
        error["code"],
        error["param"],
        error["event_id"],
    ) == ("invalid_request_error", "invalid_value", "audio", "event_c1")


def test_opus_is_passed_on_as_it_comes():
    """Section 3.2, Opus: one byte stream, cut anywhere; its length is unknown."""
    session = open_session(SessionConfig(input_audio_format="opus"))

    assert Receipt((AppendAudio(b"Ogg"),)) == session.receive_text(append(b"Ogg"))
    assert session.received_ms is None


def test_audio_is_counted_in_milliseconds_whatever_its_rate(manual):
    """Section 4.4: the time line of all audio appended."""
    manual.receive_text(SECOND)
    manual.receive_text(COMMIT)
    manual.receive_text(update(sample_rate=8000))
    manual.receive_text(append(bytes(8002)))

    assert manual.received_ms == 1501


def test_the_time_line_stays_unknown_after_opus(manual):
    """Section 4.4: never reset."""
    manual.receive_text(update(input_audio_format="opus"))
    manual.receive_text(append(b"OggS"))
    manual.receive_text(COMMIT)
    manual.receive_text(update(input_audio_format="pcm"))
    manual.receive_text(SECOND)

    assert manual.received_ms is None


# input_audio_buffer.commit and clear.


def test_a_commit_closes_the_turn_and_creates_its_item(manual):
    """Section 5.2."""
    manual.receive_text(SECOND)

    receipt = manual.receive_text(COMMIT)

    (commit,) = receipt.commands
    assert isinstance(commit, Commit)
    assert types(receipt.replies) == ["committed", "created"]
    assert json.loads(receipt.replies[0])["item_id"] == commit.item_id == manual.unfinished_items[0]


def test_the_second_turn_names_the_first(manual):
    """Section 4.5: `previous_item_id`."""
    previous = []
    for _ in range(2):
        manual.receive_text(SECOND)
        previous.append(json.loads(manual.receive_text(COMMIT).replies[0])["previous_item_id"])

    assert previous == [None, manual.unfinished_items[0]]


def test_an_empty_commit_is_an_error_in_manual_mode(manual):
    """Section 3.3; also when the audio has been committed already."""
    for _ in range(2):
        error = error_of(manual.receive_text(COMMIT))

        assert (
            error["type"],
            error["code"],
            error["event_id"],
        ) == ("invalid_request_error", "input_audio_buffer_commit_empty", "event_c1")
        manual.receive_text(SECOND)
        manual.receive_text(COMMIT)


def test_a_commit_is_ignored_in_vad_mode(session):
    """Section 3.3: an error would be dangerous."""
    session.receive_text(SECOND)

    assert Receipt() == session.receive_text(COMMIT)


def test_an_odd_byte_does_not_reach_into_the_next_turn(manual):
    """Section 3.3: after a commit a new turn begins."""
    manual.receive_text(append(b"\1\2\3"))
    manual.receive_text(COMMIT)

    assert Receipt((AppendAudio(b"\4\5"),)) == manual.receive_text(append(b"\4\5"))


def test_an_early_partial_carries_the_id_of_the_turn_to_be_committed(manual):
    """Section 5.2."""
    manual.receive_text(SECOND)
    item_id = manual.manual_item()
    (text,) = manual.partial(item_id, "", "one")

    assert json.loads(text)["item_id"] == item_id == manual.manual_item()
    assert manual.receive_text(COMMIT).commands == (Commit(item_id),)


def test_a_turn_without_audio_has_no_item(session, manual):
    """Section 5.2."""
    with pytest.raises(OutOfOrder):
        manual.manual_item()
    with pytest.raises(OutOfOrder):
        session.manual_item()


def test_clear_throws_uncommitted_audio_away(manual):
    """Section 3.4."""
    manual.receive_text(append(b"\1\2\3"))

    receipt = manual.receive_text(CLEAR)

    assert receipt.commands == (Clear(),)
    assert types(receipt.replies) == ["cleared"]
    assert error_of(manual.receive_text(COMMIT))["code"] == "input_audio_buffer_commit_empty"


def test_clear_drops_the_open_utterance_without_further_events(session):
    """Section 3.4, in VAD mode."""
    session.receive_text(SECOND)
    item_id, _ = session.speech_started(0)
    session.receive_text(CLEAR)

    assert session.partial(item_id, "", "one") == ()
    assert session.speech_stopped(item_id, 900) == ()
    assert session.completed(item_id, "one") == ()
    assert session.unfinished_items == ()


# session.finish.


def test_finish_is_a_command_without_an_answer_of_its_own(session):
    """Section 3.5."""
    session.receive_text(SECOND)

    assert Receipt((Finish(),)) == session.receive_text(FINISH)
    assert session.finishing


def test_uncommitted_manual_audio_is_committed_by_finish(manual):
    """Section 3.5: nothing is lost."""
    manual.receive_text(SECOND)

    receipt = manual.receive_text(FINISH)

    assert receipt.commands == (Commit(manual.unfinished_items[0]), Finish())
    assert types(receipt.replies) == ["committed", "created"]


def test_finish_commits_nothing_where_nothing_is_left(manual):
    """Section 5.2: `commit` and `finish` back to back."""
    manual.receive_text(SECOND)
    manual.receive_text(COMMIT)

    assert Receipt((Finish(),)) == manual.receive_text(FINISH)


@pytest.mark.parametrize(
    "text", [FINISH, SECOND, COMMIT, CLEAR, update(sample_rate=1), "garbage", event("x")]
)
def test_after_finish_everything_is_swallowed(session, text):
    """Sections 3.5, 3.6 and 7.6: a second finish, late audio, even garbage; never an error."""
    session.receive_text(FINISH)

    assert Receipt() == session.receive_text(text)
    assert Receipt() == session.receive_binary()


def test_the_session_finishes_when_every_item_has_its_final(session):
    """Section 5.2: `session.finished` only after the last `.completed`."""
    session.receive_text(SECOND)
    item_id = spoken(session)
    session.receive_text(FINISH)

    with pytest.raises(OutOfOrder, match=item_id):
        session.finished()
    session.completed(item_id, "one")
    assert json.loads(session.finished())["type"] == "session.finished"


def test_the_session_does_not_finish_unasked(session):
    """Section 2."""
    with pytest.raises(OutOfOrder):
        session.finished()


def test_nothing_follows_session_finished(session):
    """Section 4.11: the last event."""
    session.receive_text(update(qa={"progress": True}))
    session.receive_text(SECOND)
    session.receive_text(FINISH)
    session.finished()

    with pytest.raises(OutOfOrder):
        session.finished()
    with pytest.raises(OutOfOrder):
        session.speech_started(0)
    assert session.progress(500) == ()
    assert session.error(ErrorType.SERVER, ErrorCode.INTERNAL, "x") == ()


def test_speech_found_in_a_backlog_may_start_after_finish(session):
    """Section 8.1.9: the whole backlog is recognised."""
    session.receive_text(SECOND)
    session.receive_text(FINISH)

    assert types(session.completed(spoken(session), "one")) == ["completed"]


# Events of other models, and garbage.


@pytest.mark.parametrize("event_type", ["response.create", "response.cancel"])
def test_responses_are_swallowed(session, event_type):
    """Section 3.6: samples of the SDKs ask for them."""
    assert Receipt() == session.receive_text(event(event_type))


@pytest.mark.parametrize(
    "event_type", ["conversation.item.create", "input_image_buffer.append", "x" * 10_000]
)
def test_an_unsupported_type_is_an_error_about_the_type(session, event_type):
    """Section 3.6."""
    error = error_of(session.receive_text(event(event_type)))

    assert (
        error["type"],
        error["code"],
        error["param"],
        error["event_id"],
    ) == ("invalid_request_error", "invalid_value", "type", "event_c1")
    assert len(error["message"]) < 200


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", b"\xff", "\ud800"])
def test_garbage_is_an_error_about_nothing_in_particular(session, text):
    """Section 3.6: `param` is null, the connection is kept."""
    error = error_of(session.receive_text(text))

    assert (
        error["type"],
        error["code"],
        error["param"],
        error["event_id"],
    ) == ("invalid_request_error", "invalid_value", None, None)


def test_a_binary_message_is_an_error(session):
    """Section 3.6."""
    assert error_of(session.receive_binary())["code"] == "invalid_value"


# Utterances.


def test_an_utterance_runs_through_its_events_under_one_id(session):
    """Section 5.1, the full example."""
    session.receive_text(SECOND)
    item_id, started = session.speech_started(100)
    texts = [
        started,
        *session.partial(item_id, "", "The train"),
        *session.partial(item_id, "The train to", " Leeds"),
        *session.speech_stopped(item_id, 900),
        *session.completed(item_id, "The train to Leeds.", "en", "happy"),
    ]

    assert types(texts) == [
        "speech_started",
        "text",
        "text",
        "speech_stopped",
        "committed",
        "created",
        "completed",
    ]
    for text in map(json.loads, texts):
        assert item_id in (text.get("item_id"), text.get("item", {}).get("id"))


def test_speech_is_not_detected_in_manual_mode(manual):
    """Section 5.2."""
    manual.receive_text(SECOND)

    with pytest.raises(OutOfOrder):
        manual.speech_started(0)


def test_speech_does_not_end_after_the_audio_received(session):
    """Section 4.4."""
    session.receive_text(SECOND)
    item_id, _ = session.speech_started(0)

    with pytest.raises(OutOfOrder):
        session.speech_stopped(item_id, 1001)
    assert len(session.speech_stopped(item_id, 1000)) == 3
    assert session.earliest_start_ms == 1000


def test_a_failed_item_keeps_the_order_too(session):
    """Section 4.10."""
    session.receive_text(SECOND)
    first, second = spoken(session, 0, 500), spoken(session, 500, 1000)

    assert session.completed(second, "two") == ()
    assert types(session.failed(first, "audio_unintelligible", "No words.")) == ["failed", "completed"]


def test_a_result_has_language_and_emotion_even_if_nobody_knows_them(session):
    """Section 8.1.6: the language asked for, and `neutral`."""
    session.receive_text(update(input_audio_transcription={"language": "de"}))
    session.receive_text(SECOND)
    (text,) = session.completed(spoken(session), "eins")
    result = json.loads(text)

    assert (result["language"], result["emotion"], result["content_index"]) == ("de", "neutral", 0)
    assert "qa" not in result


def result_under(extensions, **given):
    """The final of one utterance, for a client that asked for ``extensions`` (None: did not ask)."""
    session = open_session()
    if extensions is not None:
        session.receive_text(update(qa=extensions))
    session.receive_text(SECOND)
    (text,) = session.completed(spoken(session), "one", "en", **given)
    return json.loads(text)


DETAIL = ResultDetail(emotion_confidence=0.8, engine="whisper", model="base")
ABSTAINED = ResultDetail(emotion_confidence=0.3, emotion_abstained=True, engine="whisper", model="base")


def test_detail_is_given_to_a_client_that_asked():
    """Extension: `emotion_detail`."""
    result = result_under({"emotion_detail": True}, emotion="angry", detail=DETAIL)

    assert (result["emotion"], result["qa"]["emotion_confidence"], result["qa"]["engine"]) == (
        "angry",
        0.8,
        "whisper",
    )


@pytest.mark.parametrize("extensions", [None, {}, {"progress": True}])
def test_detail_is_kept_from_a_client_that_did_not_ask(extensions):
    """Extension: opt-in."""
    result = result_under(extensions, emotion="angry", detail=DETAIL)

    assert (result["emotion"], "qa" in result) == ("angry", False)


@pytest.mark.parametrize("extensions", [None, {"emotion_detail": True}])
def test_abstention_is_neutral_for_other_clients(extensions):
    """Section 8.1.6, and the extension that keeps it apart."""
    result = result_under(extensions, emotion="angry", detail=ABSTAINED)

    assert result["emotion"] == "neutral"
    assert (extensions is not None) == result.get("qa", {}).get("emotion_abstained", False)


@pytest.mark.parametrize("detail", [None, DETAIL, ABSTAINED])
def test_a_switched_off_emotion_leaves_no_trace(detail):
    """Extension: the label, its confidence and abstention are all withheld, and `qa` says so."""
    result = result_under({"emotion": False}, emotion="angry", detail=detail)

    assert (
        result["emotion"],
        result["qa"]["emotion_off"],
        result["qa"]["emotion_confidence"],
        result["qa"]["emotion_abstained"],
    ) == ("neutral", True, None, False)


@pytest.mark.parametrize("emotion", [True, False])
def test_a_leg_state_is_given_with_results_to_a_client_that_asked(emotion):
    """Extension: `leg_state`, in which the caller leaves the voice out where emotion is off."""
    result = result_under({"leg_state": True, "emotion": emotion}, detail=ResultDetail(leg_state="state"))

    assert result["qa"]["leg_state"] == "state"


def test_a_leg_state_is_kept_from_a_client_that_did_not_ask():
    """Extension: opt-in."""
    result = result_under({"emotion_detail": True}, detail=ResultDetail(leg_state="state"))

    assert result["qa"]["leg_state"] is None


def test_a_switched_off_emotion_leaves_neither_distribution_nor_rank():
    """Extension: what was not to be inferred is not told."""
    detail = ResultDetail(
        emotion_distribution={"angry": 1.0}, anger_score=3.0, anger_rank=0.01, anger_daily=4.0
    )
    told = result_under({"emotion": False}, emotion="angry", detail=detail)["qa"]

    assert [told[name] for name in ("emotion_distribution", "anger_score", "anger_rank", "anger_daily")] == [
        None,
        None,
        None,
        None,
    ]


def test_a_leg_state_that_is_offered_is_handed_to_the_recogniser_once(session):
    """Extension: the echo says that states are handed out, and does not repeat it."""
    receipt = session.receive_text(update(qa={"leg_state": "state"}))
    (updated,) = map(json.loads, receipt.replies)
    (configure,) = receipt.commands
    (again,) = session.receive_text(update()).commands

    assert (configure.leg_state, configure.config.extensions.leg_state) == ("state", True)
    assert updated["session"]["qa"]["leg_state"] is True
    assert (again.leg_state, again.config.extensions.leg_state) == (None, True)


@pytest.mark.parametrize(("refused", "accepted"), [(None, True), ("malformed", False)])
def test_what_became_of_a_leg_state_is_told(session, refused, accepted):
    """Extension: never an error, for the session goes on."""
    (text,) = session.leg_state_answer(refused)
    answer = json.loads(text)

    assert (answer["type"], answer["accepted"], answer["reason"]) == ("qa.leg_state", accepted, refused)


def test_after_finish_a_leg_state_is_not_answered(session):
    """Section 7.6: nothing but results is sent then."""
    session.receive_text(event("session.finish"))

    assert session.leg_state_answer(None) == ()


def test_a_server_may_switch_emotions_off_for_clients_that_know_nothing_of_it():
    """Extension: the switch as the server's own default."""
    session = open_session(SessionConfig(extensions=Extensions(emotion=False)))
    session.receive_text(SECOND)
    item_id, _ = session.speech_started(0)
    (text,) = session.partial(item_id, "", "one", "en", "angry", detail=DETAIL)

    assert (json.loads(text)["emotion"], "qa" in json.loads(text)) == ("neutral", False)


# Progress and errors.


def test_progress_is_sent_only_to_a_client_that_asked(session):
    """Extension: other clients never see `qa.progress`."""
    session.receive_text(SECOND)

    assert session.progress(500) == ()
    session.receive_text(update(qa={"progress": True}))
    (text,) = session.progress(500)
    assert json.loads(text)["processed_ms"] == 500


def test_progress_is_sent_only_when_it_moves(session):
    """Extension."""
    session.receive_text(update(qa={"progress": True}))
    session.receive_text(SECOND)

    assert [len(session.progress(ms)) for ms in (500, 500, 400)] == [1, 0, 0]


def test_progress_rules_out_earlier_items_and_stays_within_the_audio(session):
    """Extension: no item can start before it."""
    session.receive_text(update(qa={"progress": True}))
    session.receive_text(SECOND)
    session.progress(500)

    with pytest.raises(OutOfOrder):
        session.speech_started(499)
    with pytest.raises(OutOfOrder):
        session.progress(1001)


def test_progress_through_opus_is_not_checked_against_its_length():
    """Extension: Opus does not tell how long it is."""
    session = open_session(SessionConfig(input_audio_format="opus"))
    session.receive_text(update(qa={"progress": True}))
    session.receive_text(append(b"OggS"))

    assert len(session.progress(10**6)) == 1


def test_a_fault_of_the_server_has_all_members(session):
    """Sections 4.12 and 6.2."""
    (text,) = session.error(ErrorType.SERVER, ErrorCode.SESSION_EXPIRED, "Idle for 10 minutes.")

    assert json.loads(text)["error"] == {
        "type": "server_error",
        "code": "session_expired",
        "message": "Idle for 10 minutes.",
        "param": None,
        "event_id": None,
    }


def test_an_undecodable_stream_is_reported_once(session):
    """Section 6.2: not per append; a cleared buffer may hold a new stream."""
    assert json.loads(session.undecodable_audio("No Ogg page.")[0])["error"]["param"] == "audio"
    assert session.undecodable_audio("No Ogg page.") == ()
    session.receive_text(CLEAR)
    assert len(session.undecodable_audio("No Ogg page.")) == 1
