from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.config import Extensions, SessionConfig, TurnDetection
from qa_service.protocol.errors import InvalidValue, MalformedMessage
from qa_service.protocol.requests import (
    asks_for_extensions,
    audio_of,
    read_append,
    read_request,
    updated_config,
)

MANUAL = SessionConfig(turn_detection=None, language="en", corpus_text="Leeds", sample_rate=8000)


def append(audio):
    return json.dumps({"audio": audio, "type": "input_audio_buffer.append"})


def update(session):
    return read_request(json.dumps({"type": "session.update", "event_id": "event_c1", "session": session}))


def updated(session, config=MANUAL):
    return updated_config(config, update(session))


def refused(session):
    with pytest.raises(InvalidValue) as caught:
        updated(session)
    return caught.value


@given(st.binary())
def test_base64_is_decoded_with_padding_and_without(audio):
    """Section 3.2: both are accepted."""
    encoded = base64.b64encode(audio).decode()
    bare = append(encoded.rstrip("="))

    assert audio == read_append(append(encoded))
    assert audio == (read_append(bare) if read_append(bare) is not None else audio_of(read_request(bare)))


def test_escaped_padding_is_decoded():
    """Section 1.4: Gson writes `=` as an escape."""
    assert read_append(r'{"audio":"AA\u003d\u003d","type":"input_audio_buffer.append"}') == b"\0"


@pytest.mark.parametrize("audio", ["A", "A*AA", "AAA=AAA=", "AA=", "AA AA", "é", "AAAA\n", 5, ["AA=="], True])
def test_broken_base64_is_an_invalid_value(audio):
    """Section 3.2: `param` is "audio"."""
    assert read_append(append(audio)) is None
    with pytest.raises(InvalidValue) as caught:
        audio_of(read_request(append(audio)))
    assert (caught.value.param, caught.value.missing) == ("audio", False)


@pytest.mark.parametrize("text", [append(None), '{"type": "input_audio_buffer.append"}'])
def test_an_append_without_audio_misses_a_required_member(text):
    """Section 6.2."""
    with pytest.raises(InvalidValue) as caught:
        audio_of(read_request(text))

    assert caught.value.missing


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "3", "{}", '{"type": null}', "\ud800", b"\xff", '{"a":' * 99_999]
)
def test_what_is_no_object_with_a_type_is_malformed(text):
    """Section 3.6."""
    assert read_append(text) is None
    with pytest.raises(MalformedMessage):
        read_request(text)


@pytest.mark.parametrize(
    ("event_id", "kept"), [("event_123", "event_123"), (None, None), (7, None), ("", "")]
)
def test_any_event_id_is_accepted(event_id, kept):
    """Section 1.5: absence, repeats and any string."""
    assert kept == read_request(json.dumps({"type": "session.finish", "event_id": event_id})).event_id


@pytest.mark.parametrize(
    "text", ['{"type": "session.update"}', '{"type": "session.update", "session": null}']
)
def test_an_update_without_a_session_changes_nothing(text):
    """Section 8.1.4: the whole session object is optional."""
    assert updated_config(MANUAL, read_request(text)) == MANUAL
    assert not asks_for_extensions(read_request(text))


def test_absent_members_keep_their_values():
    """Section 3.1, rules 1 and 2."""
    assert updated({}) == MANUAL


def test_null_turn_detection_selects_manual_mode():
    """Section 3.1, rule 1: absent is not null."""
    assert updated({"turn_detection": None}, SessionConfig()).manual
    assert not updated({}, SessionConfig()).manual


def test_a_turn_detection_object_replaces_the_old_one_whole():
    """Section 3.1, rule 2: missing members go to their defaults."""
    before = SessionConfig(
        turn_detection=TurnDetection(threshold=0.9, silence_duration_ms=900, prefix_padding_ms=9)
    )

    after = updated({"turn_detection": {"type": "server_vad", "threshold": 0}}, before)

    assert TurnDetection(threshold=0) == after.turn_detection


def test_a_transcription_object_replaces_the_old_one_whole():
    """Section 3.1, rule 2."""
    after = updated({"input_audio_transcription": {"corpus": {"text": "York"}}})

    assert (after.language, after.corpus_text) == (None, "York")


def test_null_transcription_means_no_language_and_no_corpus():
    """Section 3.1, rule 3."""
    after = updated({"input_audio_transcription": None})

    assert (after.language, after.corpus_text) == (None, None)


@pytest.mark.parametrize("corpus", [None, "words", {"text": 5}, [], {}])
def test_no_form_of_a_corpus_is_refused(corpus):
    """Section 3.1, note on corpus: never reject it."""
    assert updated({"input_audio_transcription": {"corpus": corpus}}).corpus_text is None


def test_what_sdks_send_for_other_models_is_ignored():
    """Section 3.1, rule 4."""
    session = {
        "voice": None,
        "output_audio_format": "pcm24",
        "translation": None,
        "input_audio_transcription": {"model": None, "language": "en", "corpus": {"text": "Leeds"}},
        "audio": {"output": {"format": {"type": "mp3"}}},
        "video": 3,
        "instructions": "x",
        "modalities": None,
        "input_audio_format": None,
        "sample_rate": None,
        "qa": None,
    }

    assert updated(session) == MANUAL


@pytest.mark.parametrize(("padding", "kept"), [(100, 100), (None, 300), ("x", 300), (-5, 300), (10**9, 300)])
def test_prefix_padding_is_honoured_if_it_makes_sense_and_never_refused(padding, kept):
    """Section 3.1, rule 4."""
    after = updated({"turn_detection": {"type": "server_vad", "prefix_padding_ms": padding}})

    assert kept == after.turn_detection.prefix_padding_ms


@pytest.mark.parametrize(("name", "meant"), [("pcm", "pcm"), ("pcm16", "pcm"), ("opus", "opus")])
def test_pcm16_is_another_name_of_pcm(name, meant):
    """Section 3.1, rule 5."""
    assert meant == updated({"input_audio_format": name}).input_audio_format


def test_the_nested_format_is_honoured():
    """Section 3.1, rule 6."""
    after = updated({"audio": {"input": {"format": {"type": "opus", "sample_rate": 16000}}}})

    assert (after.input_audio_format, after.sample_rate) == ("opus", 16000)


def test_flat_members_win_over_nested_ones():
    """Section 3.1, rule 6."""
    nested = {"audio": {"input": {"format": {"type": "opus", "sample_rate": 16000}}}}

    after = updated({**nested, "input_audio_format": "pcm", "sample_rate": 8000})

    assert (after.input_audio_format, after.sample_rate) == ("pcm", 8000)


@pytest.mark.parametrize("rate", [8000, 8000.0])
def test_a_whole_number_may_be_written_as_a_float(rate):
    """Section 3.1: JSON has one kind of number."""
    after = updated(
        {"sample_rate": rate, "turn_detection": {"type": "server_vad", "silence_duration_ms": 400.0}}
    )

    assert (after.sample_rate, after.turn_detection.silence_duration_ms) == (8000, 400)
    assert isinstance(after.sample_rate, int)


VAD = {"type": "server_vad"}


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ("text", "session"),
        ({"modalities": ["text", "audio"]}, "session.modalities"),
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        ({"input_audio_format": 5}, "session.input_audio_format"),
        ({"sample_rate": 44100}, "session.sample_rate"),
        ({"sample_rate": "16000"}, "session.sample_rate"),
        ({"sample_rate": True}, "session.sample_rate"),
        ({"input_audio_transcription": []}, "session.input_audio_transcription"),
        ({"input_audio_transcription": {"language": 1}}, "session.input_audio_transcription.language"),
        ({"input_audio_transcription": {"language": "xx"}}, "session.input_audio_transcription.language"),
        ({"turn_detection": "server_vad"}, "session.turn_detection"),
        ({"turn_detection": {"type": "semantic_vad"}}, "session.turn_detection.type"),
        ({"turn_detection": VAD | {"threshold": 2}}, "session.turn_detection.threshold"),
        ({"turn_detection": VAD | {"threshold": "0.2"}}, "session.turn_detection.threshold"),
        ({"turn_detection": VAD | {"threshold": True}}, "session.turn_detection.threshold"),
        (
            {"turn_detection": VAD | {"silence_duration_ms": 100}},
            "session.turn_detection.silence_duration_ms",
        ),
        (
            {"turn_detection": VAD | {"silence_duration_ms": 400.5}},
            "session.turn_detection.silence_duration_ms",
        ),
        ({"audio": 1}, "session.audio"),
        ({"audio": {"input": 1}}, "session.audio.input"),
        ({"audio": {"input": {"format": 1}}}, "session.audio.input.format"),
        ({"audio": {"input": {"format": {"type": "wav"}}}}, "session.audio.input.format.type"),
        ({"audio": {"input": {"format": {"sample_rate": 1}}}}, "session.audio.input.format.sample_rate"),
        ({"qa": True}, "session.qa"),
        ({"qa": {"emotion": 0}}, "session.qa.emotion"),
    ],
)
def test_a_bad_value_of_a_known_member_is_refused_with_its_path(session, param):
    """Section 3.1, rule 7."""
    fault = refused(session)

    assert (param, False) == (fault.param, fault.missing)


@pytest.mark.parametrize("turn", [{}, {"type": None}])
def test_the_type_of_turn_detection_is_required(turn):
    """Section 3.1: required if the object is given."""
    fault = refused({"turn_detection": turn})

    assert (fault.param, fault.missing) == ("session.turn_detection.type", True)


def test_our_extensions_replace_the_old_ones_whole():
    """Extension: like every object of an update."""
    before = SessionConfig(extensions=Extensions(progress=True, emotion=False))

    assert (
        Extensions(emotion_detail=True)
        == updated({"qa": {"emotion_detail": True, "x": 1}}, before).extensions
    )
    assert before == updated({}, before)


@pytest.mark.parametrize("wish", [True, False, "a state", ""])
def test_a_leg_state_is_a_wish_or_the_state_itself(wish):
    """Extension: whether the text is any good is for the recogniser to say."""
    assert wish == updated({"qa": {"leg_state": wish}}).extensions.leg_state


def test_a_leg_state_that_is_neither_is_refused():
    """Extension."""
    assert refused({"qa": {"leg_state": 1}}).param == "session.qa.leg_state"


@pytest.mark.parametrize(("session", "asks"), [({"qa": {}}, True), ({"qa": None}, False), ({}, False)])
def test_an_update_with_our_object_asks_for_the_echo(session, asks):
    """Extension: only a client that asked is answered in kind."""
    assert asks == asks_for_extensions(update(session))
