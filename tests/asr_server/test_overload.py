"""What gives way when there is too much to do: partials, then new sessions, never a final."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
import pytest

from qa_service.asr_server import ServerConfig, load, serve
from qa_service.asr_server.agenda import Agenda, Task
from qa_service.asr_server.engines import Hints, Segment, Transcript
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.load import MIN_INTERVAL_S, Priority
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.asr_server.workplace import Models
from tests.asr_server.support import DEADLINE_S, VAD_8K, connected, silence, spoken

THREADS = 2
PARTIAL_S, FINAL_S = 0.27, 0.42  # Whisper base on 4 s of speech, emotion beside it
SILENCE_S, SPECULATE_S = 0.8, 0.2  # that ends an utterance, and after which its final is decoded ahead
PAUSES_PER_S = 0.15  # of speech, that last so long and are not the end
SPEECH_S, PAUSE_S = 4.0, 4.9  # 45 % speech


@dataclass
class Utterance:
    """One utterance as its listener meets it."""

    began: float
    ended: float | None = None
    shown: list[float] = field(default_factory=list)
    final_at: float | None = None

    @property
    def excess(self) -> float:
        assert self.ended is not None
        assert self.final_at is not None
        return max(0.0, self.final_at - self.ended - SILENCE_S)

    @property
    def gaps(self) -> list[float]:
        assert self.ended is not None
        times = [self.began, *(at for at in self.shown if at < self.ended), self.ended]
        return [after - before for before, after in itertools.pairwise(times)]


class VirtualServer:
    """Legs, an agenda and threads in virtual time: a recognition takes what it costs, and no time at all."""

    def __init__(self) -> None:
        self.agenda: Agenda[Task] = Agenda(threads=THREADS, max_waiting_partials=16, max_final_delay_s=1.0)
        self.now = 0.0
        self.utterances: list[Utterance] = []
        self.refused: list[float] = []
        self.widened: list[float] = []
        self.suspended: list[float] = []
        self._random = random.Random(3)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._vain: set[Task] = set()

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._number), act))

    def run(self) -> None:
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self._begin_what_may()

    def open_leg(self, until: float) -> None:
        """A leg, if it fits, that begins a last utterance before ``until``."""
        wait_s = self.agenda.admit_session(self.now)
        if wait_s is None:
            self.refused.append(self.now)
            return
        self.at(self.now + wait_s, lambda: self._take_up(until))

    def _take_up(self, until: float) -> None:
        """Begin what has waited for its turn, if there is room still."""
        if self.agenda.refuses_sessions:
            self.refused.append(self.now)
            return
        self.at(self.now + self._random.uniform(0, PAUSE_S), lambda: self._speak(until))

    def _speak(self, until: float) -> None:
        if self.now >= until:
            return
        utterance = Utterance(self.now)
        self.utterances.append(utterance)
        ends = self.now + SPEECH_S * self._random.uniform(0.4, 1.6)
        self.at(self.now + 0.4, lambda: self._look(utterance, ends))
        self.at(ends, lambda: self._end(utterance))
        pause_at = self.now + self._random.expovariate(PAUSES_PER_S)
        if pause_at < ends:
            self.at(pause_at, lambda: self._pause(utterance))
        self.at(ends + PAUSE_S * self._random.uniform(0.4, 1.6), lambda: self._speak(until))

    def _look(self, utterance: Utterance, ends: float) -> None:
        if self.now >= ends:
            return
        interval_s = self.agenda.partial_interval_s(self.now)
        if interval_s is None:
            self.suspended.append(self.now)
        elif interval_s > MIN_INTERVAL_S:
            self.widened.append(self.now)
        self.agenda.add(Task(Priority.PARTIAL, id(utterance), self.now), self.now)
        self.at(self.now + (interval_s or 2.0), lambda: self._look(utterance, ends))

    def _pause(self, utterance: Utterance) -> None:
        """A pause that is not the end: the final decoded ahead for it is shown as a partial."""
        task = Task(Priority.SPECULATIVE, id(utterance), self.now + SILENCE_S - SPECULATE_S)
        self._vain.add(task)
        self.agenda.add(task, self.now)
        self.at(self.now + 0.2, lambda: self.agenda.remove(task))

    def _end(self, utterance: Utterance) -> None:
        utterance.ended = self.now
        due = self.now + SILENCE_S
        task = Task(Priority.SPECULATIVE, id(utterance), due)
        self.at(self.now + SPECULATE_S, lambda: self.agenda.add(task, self.now))
        self.at(due, lambda: self.agenda.promote(task, self.now))

    def _begin_what_may(self) -> None:
        while (task := self.agenda.begin_next(self.now)) is not None:
            cost_s = PARTIAL_S if task.priority is Priority.PARTIAL else FINAL_S
            self.at(self.now + cost_s * self._random.uniform(0.7, 1.3), lambda task=task: self._finish(task))
        if (at := self.agenda.recheck_at()) is not None:
            self.at(max(at, self.now + 0.001), lambda: None)

    def _finish(self, task: Task) -> None:
        self.agenda.finish(task, self.now)
        (utterance,) = (u for u in self.utterances if id(u) == task.key)
        if task.priority is Priority.PARTIAL or task in self._vain:
            utterance.shown.append(self.now)
        else:
            utterance.final_at = self.now


def share_within(values: list[float], limit: float) -> float:
    return sum(value <= limit for value in values) / len(values)


def test_twelve_legs_see_partials_within_two_seconds_and_finals_within_one() -> None:
    server = VirtualServer()
    for _ in range(12):
        server.open_leg(until=300.0)
    server.run()

    gaps = [gap for u in server.utterances for gap in u.gaps]
    excesses = [u.excess for u in server.utterances]
    assert len(excesses) > 300
    assert share_within(gaps, 2.0) > 0.95
    assert share_within(excesses, 1.0) > 0.95
    assert server.refused == []


def test_three_times_too_many_legs_lose_partials_and_newcomers_but_no_final_and_it_passes() -> None:
    server = VirtualServer()
    for _ in range(6):
        server.open_leg(until=400.0)
    for newcomer in range(200):
        server.at(60.0 + newcomer * 0.5, lambda: server.open_leg(until=200.0))
    for newcomer in range(3):
        server.at(300.0 + newcomer, lambda: server.open_leg(until=400.0))
    server.run()

    before = [gap for u in server.utterances if u.began < 55 for gap in u.gaps]
    during = [gap for u in server.utterances if 120 < u.began < 190 for gap in u.gaps]
    after = [gap for u in server.utterances if u.began > 260 for gap in u.gaps]
    assert share_within(before, 2.0) > 0.98
    assert share_within(during, 2.0) < 0.9
    assert share_within(after, 2.0) > 0.95
    late = [u.excess for u in server.utterances if 120 < u.began < 190]
    assert min(server.widened) < min(server.suspended)
    assert min(server.widened) < min(server.refused), "partials give way before newcomers do"
    assert share_within(late, 1.0) > 0.95, "those who were taken are served in time"
    assert min(server.refused) > 60
    assert max(server.refused) < 170, "all 3 that came after the rush were taken"
    assert all(u.final_at is not None for u in server.utterances)
    assert max(u.excess for u in server.utterances if u.began > 260) < 2.0


class GatedEngine(ScriptedEngine):
    """An engine that stands still until its gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        assert self.gate.wait(DEADLINE_S), "the gate was never opened"
        return super().transcribe(segment, hints)


async def _try_to_open(url: str) -> tuple[int, str]:
    """The status of a handshake, and the code in the body of a refusal."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with aiohttp.ClientSession() as http, http.get(url, headers=upgrade) as answer:
        if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
            return answer.status, ""
        return answer.status, (await answer.json())["code"]


async def test_a_server_whose_finals_are_late_answers_429_and_later_takes_sessions_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "_HOLD_S", 0.2)
    engine = GatedEngine()
    models = Models(engine=engine, detector=LoudnessDetector())
    config = ServerConfig(port=0, no_auth=True, threads=1, max_final_delay_s=0.05)
    async with await serve(config, models=models) as server:
        await server.wait_ready()
        address = server.url.replace("ws://", "http://")
        async with connected(server.url, VAD_8K) as client:
            engine.gate.clear()
            for word in ("w1", "w2", "w3"):
                await client.append(spoken(word) + silence(0.6), size=3200)
            refused = await _answered(address, HTTPStatus.TOO_MANY_REQUESTS)
            engine.gate.set()
            await client.finish()
            await _answered(address, HTTPStatus.SWITCHING_PROTOCOLS)

        assert refused == "Throttling.RateQuota"
        assert client.transcripts == ["w1", "w2", "w3"]


async def _answered(address: str, status: int) -> str:
    """The code that comes with ``status``, once it is answered."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found, code = await _try_to_open(address)
            if found == status:
                return code
            await asyncio.sleep(0.02)
