"""Our client against recognisers that misbehave: every word that was said is released once, in order.

The server is the real one with faults in it. Its engine reads the words out of the sound, so a word that is
lost, doubled or cut by a replay shows in the text.
"""

from __future__ import annotations

import asyncio

import pytest

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import RecogniserSession, SessionLimits, SessionLost
from qa_service.asr_server import ServerConfig, serve
from qa_service.asr_server.engines.scripted import markers
from qa_service.audio.resample import pcm_of_samples
from qa_service.protocol import SessionConfig
from qa_service.testing.fault_file import load_faults
from qa_service.testing.faults import FINAL, FaultPlan
from qa_service.testing.faulty_network import FaultyNetwork
from tests.asr.live_leg import RATE, LiveLeg
from tests.support.waiting import eventually

UTTERANCES = 4
CONFIG = ServerConfig(port=0, no_auth=True, engine="scripted", close_wait_s=30.0)
WORDS = [f"w{number}" for number in range(3 * UTTERANCES)]


def call() -> bytes:
    """Utterances of three words, 0.6 s each, and 1 s of silence around each."""
    quiet = bytes(2 * round(1.0 * RATE))
    said = [WORDS[at : at + 3] for at in range(0, len(WORDS), 3)]
    return quiet + b"".join(pcm_of_samples(markers(words, rate_hz=RATE)) + quiet for words in said)


async def transcribe(http, *faults: str, seed: int = 0) -> tuple[LiveLeg, LiveLeg]:
    """The call, through a server with these faults: as a leg of ours, and as one without our extensions."""
    source = f"version: 1\nseed: {seed}\nfaults:\n" + "".join(f"- {fault}\n" for fault in faults)
    plan = load_faults(source, "faults")
    ours, plain = (transcribe_leg(http, plan, extensions=extensions) for extensions in (True, False))
    return await asyncio.gather(ours, plain)


async def transcribe_leg(http, plan: FaultPlan, *, extensions: bool) -> LiveLeg:
    async with await serve(CONFIG, network=FaultyNetwork(plan)) as server:
        await server.wait_ready()
        leg = LiveLeg(http, RecogniserEndpoint(server.url), extensions=extensions)
        await leg.play(call())
    return leg


def check(leg: LiveLeg) -> None:
    assert leg.words == WORDS
    assert leg.gaps == []
    assert leg.tiles


# What goes wrong in the first session, and how the client loses it.
LOSING = {
    "a connection that is gone": ("drop: {after_audio: 3s}", "closed"),
    "a connection that is gone at a final": (f"drop: {{before: {FINAL}, number: 2}}", "closed"),
    "a connection that is gone at the end": ("drop: {before: session.finished}", "closed"),
    "a close with 1011": ("close: {after_audio: 5s}", "closed"),
    "a close before the configuration": ("close: {code: 1001, before: session.updated}", "closed"),
    "too many sessions": ("refuse: {status: 429}", "rate_limited"),
    "a key that is refused": ("refuse: {status: 401}", "unauthorised"),
    "an unwell server": ("refuse: {status: 503}", "connect_failed"),
    "a handshake beyond patience": ("delay_handshake: {by: 3s}", "timeout"),
    "no session.created": ("missing: {event: session.created}", "timeout"),
    "no session.updated": ("missing: {event: session.updated}", "timeout"),
    "garbage": ("garbage: {after_audio: 4s}", "protocol_error"),
    "a garbled final": (
        f'garbage: {{text: \'{{"type": "{FINAL}", "transcript": 7}}\', before: {FINAL}}}',
        "protocol_error",
    ),
    "a binary message": ("binary: {after_audio: 4s}", "protocol_error"),
    "a reader that takes nothing, not even pings": (
        "slow_reads: {bytes_per_second: 0, after_audio: 2s}",
        "timeout",
    ),
}

# What goes wrong in the first session, and why the leg gives it up. A machine that is slow enough hears the
# later finals, or even session.finished, only when the call is over.
GIVING_UP = {
    "silence": ("silence: {after_audio: 3s}", "session.finished is missing"),
    "silence in an utterance": (
        "silence: {before: input_audio_buffer.speech_stopped, number: 2}",
        "session.finished is missing",
    ),
    "a missing final": (
        "missing: {numbers: [1]}",
        "a final result is missing or session.finished came before a final",
    ),
    "a final that comes too late": (
        "late: {by: 1.5s, numbers: [1]}",
        "a final result is missing or session.finished came before a final",
    ),
    "a missing session.finished": ("missing: {event: session.finished}", "session.finished is missing"),
    "an error of the server": ("error: {after_audio: 4s}", "server error: internal_error"),
}

# What goes wrong in every session, and does no harm.
HARMLESS = {
    "repeated finals": ["repeated:"],
    "a repeated session.updated": ["repeated: {event: session.updated}"],
    "repeated boundaries": ["repeated: {event: input_audio_buffer.speech_stopped}"],
    "reordered finals": ["reordered: {numbers: [1, 3]}"],
    "reordered boundaries": ["reordered: {event: input_audio_buffer.committed}"],
    "missing beginnings": ["missing: {event: input_audio_buffer.speech_started}"],
    "missing ends": [
        "missing: {event: input_audio_buffer.speech_stopped}",
        "missing: {event: input_audio_buffer.committed}",
    ],
    "finals a little late": ["late: {by: 200ms, numbers: [1, 2, 3]}"],
    "a slow handshake": ["delay_handshake: {by: 500ms}"],
    "a slow reader": ["slow_reads: {bytes_per_second: 0, lasting: 700ms, after_audio: 2s}"],
    "an error of the request": ["error: {type: invalid_request_error, after_audio: 2s}"],
    "an unknown event": ['garbage: {text: \'{"type": "conversation.pondered"}\', after_audio: 2s}'],
}

# Each session has about one of these.
MIXED = [
    "{refuse: {status: 429}, probability: 0.15}",
    "{refuse: {status: 503}, probability: 0.15}",
    "{close: {before: session.updated}, probability: 0.1}",
    "{drop: {after_audio: 2500ms}, probability: 0.3}",
    "{garbage: {after_audio: 4s}, probability: 0.2}",
    f"{{close: {{before: {FINAL}, number: 2}}, probability: 0.3}}",
    "{repeated: , probability: 0.5}",
    "{reordered: {event: input_audio_buffer.speech_stopped}, probability: 0.5}",
]


@pytest.mark.parametrize(("fault", "reason"), LOSING.values(), ids=LOSING)
async def test_no_word_is_lost_or_doubled_when_a_session_is_lost_by(http, fault, reason):
    for leg in await transcribe(http, f"{fault}\n  sessions: [1]"):
        check(leg)
        assert leg.lost == [reason]


@pytest.mark.parametrize(("fault", "reason"), GIVING_UP.values(), ids=GIVING_UP)
async def test_no_word_is_lost_or_doubled_when_a_session_is_given_up_for(http, fault, reason):
    for leg in await transcribe(http, f"{fault}\n  sessions: [1]"):
        check(leg)
        assert leg.abandoned[0] in reason.split(" or ")


@pytest.mark.parametrize("faults", HARMLESS.values(), ids=HARMLESS)
async def test_no_word_is_lost_or_doubled_in_spite_of(http, faults):
    for leg in await transcribe(http, *faults):
        check(leg)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_no_word_is_lost_or_doubled_when_one_session_after_the_other_fails(http, seed):
    for leg in await transcribe(http, *MIXED, seed=seed):
        check(leg)


async def test_a_reader_that_stopped_costs_no_more_memory_than_allowed(http):
    plan = load_faults("version: 1\nfaults: [slow_reads: {bytes_per_second: 0}]", "faults")
    limit, piece = 200_000, bytes(20_000)
    lost: list[SessionLost] = []
    async with await serve(CONFIG, network=FaultyNetwork(plan)) as server:
        await server.wait_ready()
        session = RecogniserSession(
            http,
            RecogniserEndpoint(server.url),
            SessionConfig(sample_rate=RATE),
            on_event=lambda _event: None,
            on_lost=lost.append,
            limits=SessionLimits(queue_bytes=limit, ping_s=120.0),
        )
        session.start()
        await eventually(lambda: session.is_ready, waiting_for="the session")
        queued = 0
        while not lost and queued <= limit:
            session.append(piece)
            queued = session.queued_bytes
            await asyncio.sleep(0.001)
        await eventually(lambda: lost, waiting_for="the loss of the session")
        await session.close()

    assert [loss.reason for loss in lost] == ["slow_recogniser"]
    assert queued <= limit + len(piece)


async def test_a_server_of_ours_that_falls_silent_in_a_call_is_given_up(http) -> None:
    plan = load_faults("version: 1\nfaults: [{silence: {after_audio: 500ms}, sessions: [1]}]", "faults.yaml")
    async with await serve(CONFIG, network=FaultyNetwork(plan)) as server:
        await server.wait_ready()
        leg = LiveLeg(http, RecogniserEndpoint(server.url))
        await leg.play(bytes(2 * RATE * 3) + call() + bytes(2 * RATE * 16))

    check(leg)
    assert leg.abandoned == ["there is speech and no answer"]
