from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from qa_service.asr_server.engines import Hints, Segment, Transcript
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.recognition import Sound
from qa_service.asr_server.scheduler import Scheduler
from qa_service.asr_server.turn import Turn
from qa_service.asr_server.utterances import Utterances
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.asr_server.voice_batches import VoiceBatches
from qa_service.asr_server.workplace import Models, Workplace
from qa_service.protocol import ServerSession
from tests.asr_server.support import CLEAR, VAD_8K, silence, spoken

DEADLINE_S = 10.0


class Desk:
    """The utterances of one session, and what its client was told."""

    def __init__(self, workplace: Workplace) -> None:
        self.told: list[str] = []
        self.finals = 0
        self._numbers = iter(range(1000))
        self.protocol = ServerSession("sess_1", "model", lambda kind: f"{kind}_{next(self._numbers)}")
        self.protocol.created()
        self.protocol.receive_text(json.dumps(VAD_8K))
        audio = base64.b64encode(silence(2.0)).decode()
        self.protocol.receive_text(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        self.utterances = Utterances(self.protocol, workplace, self.told.extend, self._count)

    def _count(self) -> None:
        self.finals += 1

    def begin(self) -> Turn:
        item_id, _ = self.protocol.speech_started(0)
        return self.utterances.begin(item_id, 0, look_due_ms=400)

    def end(self, turn: Turn, *words: str) -> None:
        self.protocol.speech_stopped(turn.item_id, 1400)
        self.utterances.end(turn, lambda: sound(*words), speech_end_ms=1000)

    def events(self, kind: str) -> list[dict[str, str]]:
        decoded = [msgspec.json.decode(text) for text in self.told]
        return [event for event in decoded if event["type"].endswith(kind)]

    async def settled(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.utterances.settled()


class FailingEngine(ScriptedEngine):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def transcribe(self, _segment: Segment, _hints: Hints) -> Transcript:
        raise self._error


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    scheduler = Scheduler(threads=1, max_waiting_partials=4)
    yield scheduler
    scheduler.close()


def workplace(
    scheduler: Scheduler, thread: ThreadPoolExecutor, engine: ScriptedEngine | None = None
) -> Workplace:
    models = Models(engine=engine or ScriptedEngine(), detector=LoudnessDetector())
    return Workplace(models=models, scheduler=scheduler, voices=VoiceBatches(thread))


def sound(*words: str) -> Sound:
    return Sound(pcm=spoken(*words), rate_hz=8000)


@pytest.fixture
async def desk(scheduler: Scheduler, thread: ThreadPoolExecutor) -> Desk:
    return Desk(workplace(scheduler, thread))


async def test_an_ended_utterance_is_owed_its_final_and_gets_it(desk: Desk) -> None:
    turn = desk.begin()
    desk.end(turn, "w1", "w2")
    owed_from_ms = desk.utterances.owed_from_ms
    await desk.settled()

    assert owed_from_ms == 0
    assert desk.utterances.owed_from_ms is None
    assert desk.utterances.current is None
    assert [event["transcript"] for event in desk.events(".completed")] == ["w1 w2"]
    assert desk.finals == 1


async def test_a_final_decoded_ahead_is_the_final_of_the_same_speech(desk: Desk) -> None:
    turn = desk.begin()
    desk.utterances.speculate(turn, sound("w1"), speech_end_ms=1000, due_in_s=0.2)
    desk.end(turn, "w9")
    await desk.settled()

    assert [event["transcript"] for event in desk.events(".completed")] == ["w1"]


async def test_a_final_decoded_ahead_of_speech_that_goes_on_is_a_partial(desk: Desk) -> None:
    turn = desk.begin()
    desk.utterances.speculate(turn, sound("w1", "w2"), speech_end_ms=600, due_in_s=0.2)
    assert turn.speculation is not None
    job = turn.speculation.job
    async with asyncio.timeout(DEADLINE_S):
        await job.result()
    desk.utterances.resume(turn)
    desk.end(turn, "w1", "w2", "w3")
    await desk.settled()

    assert [event["transcript"] for event in desk.events(".completed")] == ["w1 w2 w3"]
    assert turn.speculation is None


async def test_an_abandoned_utterance_is_told_nothing_more(desk: Desk) -> None:
    turn = desk.begin()
    desk.utterances.look(turn, sound("w1"), heard_ms=400)
    desk.protocol.receive_text(json.dumps(CLEAR))
    desk.utterances.abandon()
    following = desk.begin()
    desk.end(following, "w2")
    await desk.settled()

    assert desk.events(".text") == []
    assert [event["transcript"] for event in desk.events(".completed")] == ["w2"]


async def test_an_engine_that_fails_fails_the_utterance(
    scheduler: Scheduler, thread: ThreadPoolExecutor
) -> None:
    desk = Desk(workplace(scheduler, thread, FailingEngine(EngineError("too loud"))))
    desk.end(desk.begin(), "w1")
    await desk.settled()

    assert len(desk.events(".failed")) == 1
    assert not desk.utterances.fault.done()


async def test_anything_else_is_a_fault_of_the_session(
    scheduler: Scheduler, thread: ThreadPoolExecutor
) -> None:
    desk = Desk(workplace(scheduler, thread, FailingEngine(ZeroDivisionError("oops"))))
    desk.end(desk.begin(), "w1")
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(DEADLINE_S):
            await desk.utterances.fault
