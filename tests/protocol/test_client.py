from __future__ import annotations

import itertools
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.client import (
    REGIONS,
    ClientSession,
    SessionState,
    endpoint,
    handshake_headers,
    handshake_url,
)
from qa_service.protocol.config import Extensions, SessionConfig
from qa_service.protocol.errors import InvalidValue, MalformedMessage, OutOfOrder
from qa_service.protocol.events import (
    Committed,
    Completed,
    ErrorEvent,
    Event,
    Failed,
    ItemCreated,
    Partial,
    Progress,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    Unknown,
)
from qa_service.protocol.limits import MAX_APPEND_BYTES
from qa_service.protocol.writer import write_event

MANUAL = SessionConfig(turn_detection=None)
CREATED = SessionCreated("sess_1", "m", SessionConfig())
UPDATED = SessionUpdated("sess_1", "m", SessionConfig())


def new_session(config=None):
    numbers = itertools.count(1)
    return ClientSession(config or SessionConfig(), lambda: f"event_{next(numbers)}")


@pytest.fixture
def session():
    return new_session()


@pytest.fixture
def manual():
    return new_session(MANUAL)


def hear(session, event, **options):
    return session.receive_text(write_event(event, "event_s", **options))


def unnamed(event):
    """The text of an event as a server writes it that leaves item ids out."""
    members = json.loads(write_event(event, "event_s"))
    members.pop("item_id", None)
    members.pop("item", None)
    return json.dumps(members)


# Handshake.


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("ap-southeast-1", "dashscope-intl.aliyuncs.com"),
        ("cn-beijing", "dashscope.aliyuncs.com"),
        ("cn-hongkong", "cn-hongkong.dashscope.aliyuncs.com"),
        ("us-east-1", "dashscope-intl.aliyuncs.com"),
        ("eu-central-1", "dashscope-intl.aliyuncs.com"),
        ("ap-northeast-1", "dashscope-intl.aliyuncs.com"),
    ],
)
def test_each_region_has_its_host(region, host):
    """Section 1.1."""
    assert region in REGIONS
    assert f"wss://{host}/api-ws/v1/realtime" == endpoint(region)


def test_a_workspace_has_a_host_of_its_own():
    """Section 1.1."""
    assert endpoint("cn-beijing", "ws-1") == "wss://ws-1.cn-beijing.maas.aliyuncs.com/api-ws/v1/realtime"


@pytest.mark.parametrize(
    ("region", "workspace", "param"),
    [
        ("mars", None, "region"),
        ("us-east-1", "ws-1", "region"),
        ("cn-beijing", "evil.example/", "workspace"),
        ("cn-beijing", "", "workspace"),
    ],
)
def test_an_address_that_does_not_exist_is_refused(region, workspace, param):
    """Section 1.1."""
    with pytest.raises(InvalidValue) as caught:
        endpoint(region, workspace)

    assert param == caught.value.param


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("wss://h/p", "wss://h/p?model=m"),
        ("ws://h:8080/p/", "ws://h:8080/p/?model=m"),
        ("wss://h/p?heartbeat=true", "wss://h/p?heartbeat=true&model=m"),
        ("wss://h/p?model=other", "wss://h/p?model=other"),
    ],
)
def test_the_model_is_added_to_an_address_that_names_none(url, full):
    """Section 1.1: an existing query is kept."""
    assert full == handshake_url(url, "m")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_model_name_survives_the_address(model):
    """Section 1.1: percent-encoding."""
    assert [model] == parse_qs(urlsplit(handshake_url("wss://h/p", model)).query)["model"]


def test_the_headers_carry_key_and_beta_flag():
    """Section 8.2.1."""
    assert handshake_headers("sk-1") == {"Authorization": "Bearer sk-1", "OpenAI-Beta": "realtime=v1"}


def test_the_headers_name_a_workspace_if_there_is_one_and_no_key_if_there_is_none():
    """Section 1.3; some servers of one's own need no key."""
    assert handshake_headers(None, "ws-1") == {"OpenAI-Beta": "realtime=v1", "X-DashScope-WorkSpace": "ws-1"}


@pytest.mark.parametrize("key", ["", "two words", "sk-1\r\nX-Other: 1", "schlüssel"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_repeating_it(key):
    """Section 1.3."""
    with pytest.raises(InvalidValue) as caught:
        handshake_headers(key)

    assert not key or key not in str(caught.value)


# What is sent.


def test_an_update_sends_the_configuration_and_remembers_its_id(session):
    """Section 8.2.2; the id tells an error that answers the update."""
    update = json.loads(session.update())

    assert (update["type"], update["event_id"]) == ("session.update", session.update_event_id)
    assert "qa" not in update["session"]


def test_an_update_may_replace_the_configuration(session):
    """Section 3.1, rule 9."""
    assert json.loads(session.update(MANUAL))["session"]["turn_detection"] is None
    assert session.config == MANUAL


def test_extensions_are_asked_for_only_if_wanted_and_taken_back_once_asked(session):
    """Extension: servers that know none of it see nothing of it."""
    wanted = SessionConfig(extensions=Extensions(progress=True))

    assert json.loads(session.update(wanted))["session"]["qa"]["progress"] is True
    assert json.loads(session.update(SessionConfig()))["session"]["qa"]["progress"] is False


def test_each_message_has_an_id_of_its_own(session):
    """Section 1.5."""
    texts = [session.update(), session.append(b"\0\0"), session.clear(), session.finish()]

    assert [json.loads(text)["event_id"] for text in texts] == ["event_1", "event_2", "event_3", "event_4"]


def test_audio_beyond_the_limit_of_one_append_is_refused(session):
    """Section 3.2: 15 MiB."""
    with pytest.raises(InvalidValue):
        session.append(bytes(MAX_APPEND_BYTES + 1))


def test_turns_are_committed_in_manual_mode(manual):
    """Section 3.3."""
    manual.append(b"\0\0")

    assert json.loads(manual.commit())["type"] == "input_audio_buffer.commit"


@pytest.mark.parametrize("spoil", [lambda _: None, ClientSession.commit, ClientSession.clear])
def test_an_empty_buffer_is_never_committed(manual, spoil):
    """Section 8.2.6: neither at first, nor after a commit or clear."""
    if spoil is not ClientSession.commit:
        manual.append(b"")
    else:
        manual.append(b"\0\0")
    spoil(manual)

    with pytest.raises(OutOfOrder, match="no audio"):
        manual.commit()


def test_nothing_is_committed_in_vad_mode(session):
    """Section 8.2.6."""
    session.append(b"\0\0")

    with pytest.raises(OutOfOrder, match="voice activity"):
        session.commit()


@pytest.mark.parametrize(
    "send",
    [
        ClientSession.update,
        lambda session: session.append(b"\0\0"),
        ClientSession.commit,
        ClientSession.clear,
        ClientSession.finish,
    ],
)
def test_nothing_is_sent_after_finish(manual, send):
    """Section 3.5: a connection is good for one session."""
    manual.finish()

    with pytest.raises(OutOfOrder, match="finished"):
        send(manual)


# What is received.


def test_a_session_goes_through_its_states(session):
    """Section 2."""
    states = [session.state]
    hear(session, CREATED)
    states.append(session.state)
    hear(session, UPDATED)
    states.append(session.state)
    session.finish()
    states.append(session.state)
    hear(session, SessionFinished())
    states.append(session.state)

    assert list(SessionState) == states


def test_a_late_answer_does_not_put_the_state_back(session):
    """Section 9.15: `session.updated` may come at any time, `session.created` with it."""
    hear(session, UPDATED)
    hear(session, CREATED)
    assert session.state is SessionState.READY

    session.finish()
    hear(session, UPDATED)
    assert session.state is SessionState.FINISHING


def test_the_echo_tells_which_extensions_are_honoured(session):
    """Extension: without the echo none is."""
    wanted = Extensions(progress=True, emotion=False)
    session.update(SessionConfig(extensions=wanted))
    confirmed = SessionUpdated("sess_1", "m", SessionConfig(extensions=wanted))

    hear(session, confirmed)
    assert Extensions() == session.honoured
    hear(session, confirmed, extensions_asked=True)
    assert wanted == session.honoured


def test_events_are_keyed_by_their_items(session):
    """Section 5.1: B may start before A is done."""
    partial = Partial("B", "", "x", "en", "neutral")
    for event in (SpeechStarted("A", 0), SpeechStopped("A", 1), SpeechStarted("B", 2), partial):
        assert event == hear(session, event)
    assert session.unfinished_items == ("A", "B")
    hear(session, Completed("A", "a", "en", "neutral"))
    assert session.unfinished_items == ("B",)


@pytest.mark.parametrize(
    "event", [SpeechStopped("B", 5), Committed("B"), ItemCreated("B"), Partial("B", "x")]
)
def test_an_unnamed_event_is_about_the_newest_item(session, event):
    """Section 8.2.4: fall back to the current item."""
    hear(session, SpeechStarted("A", 0))
    hear(session, SpeechStarted("B", 1))

    assert session.receive_text(unnamed(event)).item_id == "B"


@pytest.mark.parametrize("event", [Completed("A", "x"), Failed("A", "x")])
def test_an_unnamed_final_is_about_the_oldest_item(session, event):
    """Sections 5.1 and 8.2.4: items finish in order."""
    hear(session, SpeechStarted("A", 0))
    hear(session, SpeechStarted("B", 1))

    assert session.receive_text(unnamed(event)).item_id == "A"
    assert session.unfinished_items == ("B",)


@pytest.mark.parametrize("event", [Completed("A", "x"), Partial("A", "x")])
def test_an_unnamed_event_about_nothing_known_has_no_item(session, event):
    """Section 8.2.4."""
    assert session.receive_text(unnamed(event)).item_id == ""


def test_items_without_speech_started_are_known_too(session):
    """Section 8.2.5: do not rely on any one event."""
    hear(session, Committed("A"))

    assert session.unfinished_items == ("A",)


def test_a_final_ends_older_items_that_never_got_theirs(session):
    """Section 5.1: items finish in order, so a missing final will not come any more."""
    for item_id in "ABC":
        hear(session, SpeechStarted(item_id, 0))
    hear(session, Completed("B"))

    assert session.unfinished_items == ("C",)


def test_a_straggler_does_not_reopen_a_finished_item(session):
    """Section 8.2.5: the order between results and `committed` is not to be relied on."""
    hear(session, SpeechStarted("A", 0))
    hear(session, Completed("A"))
    hear(session, Committed("A"))

    assert session.unfinished_items == ()


@pytest.mark.parametrize("event", [Progress(5), ErrorEvent("server_error"), Unknown("x")])
def test_other_events_leave_the_session_as_it_is(session, event):
    """Section 4: unknown ones are ignored; what an error means is the caller's to decide."""
    text = json.dumps({"type": "x"}) if event == Unknown("x") else write_event(event, "event_s")

    assert event == session.receive_text(text)
    assert session.state is SessionState.CONNECTING


@given(st.text() | st.binary())
def test_any_text_is_an_event_or_a_malformed_message(text):
    """Section 4: nothing a server sends has another outcome."""
    session = new_session()
    try:
        event = session.receive_text(text)
    except MalformedMessage:
        assert session.state is SessionState.CONNECTING
    else:
        assert isinstance(event, Event)
