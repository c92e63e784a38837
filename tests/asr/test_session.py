"""A session hands events on in order, or says once and clearly how it was lost."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from qa_service import metrics
from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import RecogniserSession, SessionLimits, SessionLost
from qa_service.embedded.child import free_port
from qa_service.protocol.config import Extensions, SessionConfig
from qa_service.protocol.events import (
    Completed,
    ErrorEvent,
    Failed,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
    SpeechStarted,
)
from tests.support.waiting import eventually

CONFIG = SessionConfig(sample_rate=8000)


class Heard:
    """What the owner of a session was told, in order."""

    def __init__(self) -> None:
        self.all: list = []

    @property
    def lost(self) -> SessionLost | None:
        return next((item for item in self.all if isinstance(item, SessionLost)), None)

    def of(self, kind: type) -> list:
        return [item for item in self.all if isinstance(item, kind)]

    async def until(self, kind: type) -> None:
        await eventually(lambda: self.of(kind), f"{kind.__name__}; heard {self.all}")


@pytest.fixture
def open_session(http):
    def open_one(endpoint, config=CONFIG, **limits):
        heard = Heard()
        session = RecogniserSession(
            http,
            endpoint,
            config,
            on_event=heard.all.append,
            on_lost=heard.all.append,
            limits=SessionLimits(**limits),
        )
        session.start()
        return session, heard

    return open_one


def _lost_count(reason: str) -> float:
    return metrics.REGISTRY.get_sample_value("qa_sessions_lost_total", {"reason": reason}) or 0.0


async def test_a_whole_session_runs_from_handshake_to_close(scripted, open_session):
    seen = {}

    async def script(connection):
        seen["headers"] = connection.request.headers
        seen["model"] = connection.request.query["model"]
        seen["update"] = await connection.greet()
        seen["audio"] = [await connection.receive_audio() for _ in range(3)]
        await connection.send("input_audio_buffer.speech_started", item_id="i1", audio_start_ms=10)
        await connection.say("i1", "hello")
        await connection.receive("session.finish")
        await connection.say("i2", "goodbye")
        await connection.send("session.finished")
        seen["code"] = await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        for piece in (b"aa", b"bbbb", b"cc"):
            session.append(piece)  # before the socket even exists
        await heard.until(Completed)
        session.finish()
        await session.wait_closed()

    assert [type(item) for item in heard.all] == [
        SessionCreated,
        SessionUpdated,
        SpeechStarted,
        Completed,
        Completed,
        SessionFinished,
    ]
    assert [item.transcript for item in heard.of(Completed)] == ["hello", "goodbye"]
    assert seen["audio"] == [b"aa", b"bbbb", b"cc"]
    assert seen["update"]["session"]["sample_rate"] == 8000
    assert (seen["headers"]["Authorization"], seen["headers"]["OpenAI-Beta"]) == (
        "Bearer key-1",
        "realtime=v1",
    )
    assert "Sec-WebSocket-Extensions" not in seen["headers"]
    assert (seen["model"], seen["code"]) == ("m", 1000)
    assert session.queued_bytes == 0


async def test_no_audio_is_sent_before_the_configuration_is_confirmed(scripted, open_session):
    order = []

    async def script(connection):
        await connection.send("session.created", session={"id": "s"})
        await connection.receive("session.update")
        order.append("update")
        with pytest.raises(TimeoutError):
            await connection.socket.receive(timeout=0.1)
        # aiohttp closes a server's socket after a receive that timed out; nothing came, which is the point
        order.append("nothing")

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        session.append(b"aa")
        await heard.until(SessionLost)

    assert order == ["update", "nothing"]


async def test_the_session_knows_which_extensions_are_honoured(scripted, open_session):
    async def script(connection):
        await connection.send("session.created", session={"id": "s"})
        update = await connection.receive("session.update")
        await connection.send("session.updated", session=update["session"])
        await connection.await_close()

    async with scripted(script) as endpoint:
        wanted = Extensions(progress=True, emotion=False)
        session, heard = open_session(endpoint, SessionConfig(sample_rate=8000, extensions=wanted))
        assert not session.is_ready
        await heard.until(SessionUpdated)

        assert session.is_ready
        assert wanted == session.honoured
        await session.close()

    assert not session.is_ready


@pytest.mark.parametrize(
    ("status", "reason", "retryable", "hint"),
    [
        (401, "unauthorised", False, "refused the API key (401)"),
        (403, "unauthorised", False, "QA_ASR_WORKSPACE"),
        (404, "refused", False, "QA_ASR_MODEL"),
        (400, "refused", False, "QA_ASR_URL"),
        (200, "refused", False, "200 instead of a WebSocket"),
        (429, "rate_limited", True, "QA_ASR_SESSIONS_PER_SECOND"),
        (503, "connect_failed", True, "unwell (503)"),
    ],
)
async def test_a_refused_handshake_names_the_cause_and_the_setting(  # noqa: PLR0917 - a table of cases
    answering, open_session, status, reason, retryable, hint
):
    before = _lost_count(reason)
    async with answering(status) as endpoint:
        session, heard = open_session(endpoint)
        await session.wait_closed()

    assert len(heard.all) == 1
    assert (heard.lost.reason, heard.lost.retryable, heard.lost.status) == (reason, retryable, status)
    assert hint in heard.lost.detail
    assert "key-1" not in heard.lost.detail
    assert _lost_count(reason) == before + 1


async def test_an_unreachable_recogniser_is_named(open_session):
    address = f"ws://127.0.0.1:{free_port()}"
    session, heard = open_session(RecogniserEndpoint(address))
    await session.wait_closed()

    assert heard.lost.reason == "connect_failed"
    assert heard.lost.retryable
    assert address in heard.lost.detail
    assert "QA_ASR_URL" in heard.lost.detail


async def test_a_port_that_never_answers_is_given_up(open_session):
    # The kernel takes the connection; nobody ever reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = RecogniserEndpoint(f"ws://127.0.0.1:{silent.getsockname()[1]}")
        session, heard = open_session(endpoint, connect_s=0.1)
        await session.wait_closed()

    assert (heard.lost.reason, heard.lost.retryable) == ("timeout", True)


async def test_a_server_that_says_nothing_is_given_up(scripted, open_session):
    async def script(connection):
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint, configure_s=0.1)
        await session.wait_closed()

    assert heard.lost.reason == "timeout"
    assert "session.created" in heard.lost.detail


async def test_a_server_that_never_confirms_is_given_up(scripted, open_session):
    async def script(connection):
        await connection.send("session.created", session={"id": "s"})
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint, configure_s=0.2)
        await session.wait_closed()

    assert heard.lost.reason == "timeout"
    assert "session.updated" in heard.lost.detail


async def test_a_rejected_configuration_is_not_tried_again(scripted, open_session):
    async def script(connection):
        await connection.send("session.created", session={"id": "s"})
        update = await connection.receive("session.update")
        error = {
            "type": "invalid_request_error",
            "code": "invalid_value",
            "message": "no such language",
            "param": "session.input_audio_transcription.language",
            "event_id": update["event_id"],
        }
        await connection.send("error", error=error)
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await session.wait_closed()

    assert (heard.lost.reason, heard.lost.retryable) == ("refused", False)
    assert "session.input_audio_transcription.language" in heard.lost.detail
    assert "no such language" in heard.lost.detail


async def test_a_connection_dropped_half_way_is_reported_after_its_results(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.say("i1", "hello")
        await connection.receive_audio()
        connection.request.transport.abort()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await heard.until(Completed)
        session.append(b"aa")
        await heard.until(SessionLost)
        session.append(b"late")  # without effect, and no error

    assert isinstance(heard.all[-1], SessionLost)
    assert (heard.lost.reason, heard.lost.retryable) == ("closed", True)


async def test_the_servers_close_code_and_words_are_told(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.socket.close(code=1011, message=b"engine lost")

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await session.wait_closed()

    assert heard.lost.reason == "closed"
    assert "1011: engine lost" in heard.lost.detail


@pytest.mark.parametrize("text", ["garbage", "[]", "{}", '{"type": 7}'])
async def test_what_is_no_event_loses_the_session(scripted, open_session, text):
    async def script(connection):
        await connection.greet()
        await connection.socket.send_str(text)
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await session.wait_closed()

    assert (heard.lost.reason, heard.lost.retryable) == ("protocol_error", True)


async def test_a_binary_message_loses_the_session(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.socket.send_bytes(b"\x00")
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await session.wait_closed()

    assert heard.lost.reason == "protocol_error"


async def test_an_error_of_ours_is_survived_and_one_of_the_servers_is_not(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.send("error", error={"type": "invalid_request_error", "code": "x", "message": "a"})
        await connection.say("i1", "still here")
        await connection.send(
            "error", error={"type": "server_error", "code": "internal_error", "message": "b"}
        )
        await connection.say("i2", "never read")
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await session.wait_closed()

    assert [type(item) for item in heard.all[2:]] == [ErrorEvent, Completed, ErrorEvent, SessionLost]
    assert heard.lost == SessionLost("server_error", "server_error internal_error: b", retryable=True)


async def test_a_failed_item_does_not_end_the_session(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.send(
            "conversation.item.input_audio_transcription.failed",
            item_id="i1",
            error={"code": "x", "message": "m"},
        )
        await connection.say("i2", "next")
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await heard.until(Completed)
        await session.close()

    assert len(heard.of(Failed)) == 1
    assert heard.lost is None


async def test_a_late_finish_is_waited_for_and_a_missing_one_is_not_for_ever(scripted, open_session):
    async def late(connection):
        await connection.greet()
        await connection.receive("session.finish")
        await asyncio.sleep(0.2)
        await connection.say("i1", "late")
        await connection.send("session.finished")
        await connection.await_close()

    async def never(connection):
        await connection.greet()
        await connection.await_close()

    async with scripted(late) as endpoint:
        session, heard = open_session(endpoint, finish_s=10)
        session.finish()
        await session.wait_closed()
    assert (heard.lost, [item.transcript for item in heard.of(Completed)]) == (None, ["late"])

    async with scripted(never) as endpoint:
        session, heard = open_session(endpoint, finish_s=0.1)
        session.finish()
        await session.wait_closed()

    assert heard.lost.reason == "timeout"
    assert "session.finished" in heard.lost.detail


async def test_a_recogniser_that_takes_no_audio_loses_the_session_with_a_bounded_queue(
    scripted, open_session
):
    release = asyncio.Event()

    async def script(connection):
        await connection.greet()
        connection.request.transport.pause_reading()
        await release.wait()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint, queue_bytes=1_000_000)
        await heard.until(SessionUpdated)
        while heard.lost is None:
            session.append(bytes(100_000))
            assert session.queued_bytes <= 1_100_000
            await asyncio.sleep(0.001)
        await asyncio.wait_for(session.wait_closed(), 10)
        release.set()

    assert (heard.lost.reason, heard.lost.retryable) == ("slow_recogniser", True)
    assert len(heard.of(SessionLost)) == 1


async def test_a_server_that_answers_no_pings_is_lost(scripted, open_session):
    release = asyncio.Event()

    async def script(connection):
        await connection.greet()
        await release.wait()  # nobody reads, so nobody answers

    script.autoping = False
    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint, ping_s=0.1)
        await session.wait_closed()
        release.set()

    assert heard.lost == SessionLost("timeout", "the recogniser answers no pings any more", retryable=True)


async def test_a_servers_ping_is_answered(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.socket.ping(b"there?")
        message = await connection.socket.receive(timeout=10)
        await connection.say("i1", f"{message.type.name} {bytes(message.data).decode()}")
        await connection.await_close()

    script.autoping = False
    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await heard.until(Completed)
        await session.close()

    assert heard.of(Completed)[0].transcript == "PONG there?"


async def test_after_close_nothing_is_heard_any_more(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await heard.until(SessionUpdated)
        await session.close()
        await session.close()

    assert heard.lost is None


async def test_closing_before_anything_happened_is_quiet(scripted, open_session):
    async def script(connection):
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await session.close()

    assert heard.all == []


async def test_a_session_closed_while_it_waited_for_its_turn_does_not_start(http):
    heard = []
    session = RecogniserSession(
        http, RecogniserEndpoint("ws://127.0.0.1:1"), CONFIG, on_event=heard.append, on_lost=heard.append
    )
    session.append(b"aa")
    await session.close()
    session.start()
    await session.wait_closed()

    assert heard == []


async def test_audio_after_finish_is_a_mistake_of_the_caller(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, _heard = open_session(endpoint)
        session.finish()
        with pytest.raises(RuntimeError, match="finishing"):
            session.append(b"aa")
        await session.close()


async def test_a_fault_in_the_owners_callback_is_not_silent(scripted, http):
    lost = []

    def stumble(_event):
        raise KeyError("leg")

    async def script(connection):
        await connection.greet()
        await connection.await_close()

    async with scripted(script) as endpoint:
        session = RecogniserSession(http, endpoint, CONFIG, on_event=stumble, on_lost=lost.append)
        session.start()
        await session.wait_closed()

    assert [item.reason for item in lost] == ["internal"]


async def test_audio_longer_than_an_append_may_be_is_not_lost_in_silence(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint, queue_bytes=64 * 1024 * 1024)
        session.append(bytes(15 * 1024 * 1024 + 1))
        await session.wait_closed()

    assert heard.lost.reason == "internal"


async def test_messages_of_many_megabytes_are_taken(scripted, open_session):
    async def script(connection):
        await connection.greet()
        await connection.socket.send_str(
            json.dumps({"type": "later.invention", "event_id": "e", "blob": "x" * 6_000_000})
        )
        await connection.say("i1", "after")
        await connection.await_close()

    async with scripted(script) as endpoint:
        session, heard = open_session(endpoint)
        await heard.until(Completed)
        await session.close()

    assert heard.lost is None


async def test_audio_that_has_to_wait_for_room_is_sent_before_the_session_is_finished(http):
    room, sent = asyncio.Event(), []

    class FullSocket:
        async def send_str(self, text):
            await room.wait()
            sent.append(json.loads(text)["type"])

    session = RecogniserSession(
        http, RecogniserEndpoint("ws://nowhere"), CONFIG, on_event=print, on_lost=print
    )
    writer = asyncio.create_task(session._write(FullSocket()))
    await eventually(lambda: session._open_socket is not None, "the writer to have nothing to do")
    session.append(bytes(2))
    session.append(bytes(2))
    session.finish()
    room.set()
    await eventually(lambda: len(sent) == 3, f"three messages; sent {sent}")
    writer.cancel()

    assert sent == ["input_audio_buffer.append", "input_audio_buffer.append", "session.finish"]
