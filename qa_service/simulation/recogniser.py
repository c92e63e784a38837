"""A recogniser service: the protocol's own server side, an engine that reads words, and everything amiss.

Decided here: sessions are exact in what they hear and free in where they cut. Each draws its own silence and
its own longest utterance, so audio that is replayed into another session is cut elsewhere. Answers take
their time but keep their order, unless a fault says otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from random import Random
from typing import Any, Final

import aiohttp
import msgspec

from qa_service.protocol.events import AppendAudio, Configure, Finish, ResultDetail
from qa_service.protocol.server import ServerSession
from qa_service.simulation.loop import Process, VirtualLoop, current_process
from qa_service.simulation.network import Network
from qa_service.simulation.words import ALARM_EVERY, RATE_HZ, runs_of, spell

_PADDING_MS: Final = 300
_SILENCE_MS: Final = 800
_ANY_NUMBER: Final = 10_000
_TELLS_MEANWHILE: Final = 0.4
"""Share of appends after which there is an intermediate result, or word of how far silence was heard."""
_CONNECT_S: Final = 0.2
_ANSWER_S: Final = (0.0, 0.02, 0.3)
"""Between what is heard and what is told of it."""
_REPLAY_BYTES: Final = RATE_HZ  # half a second; live appends hold a tenth
_LOST: Final = 1006
_BROKEN: Final = 1011


class Service:
    """The recogniser that all workers talk to."""

    def __init__(self, loop: VirtualLoop, network: Network, random: Random, *, extensions: bool) -> None:
        self.loop = loop
        self.network = network
        self.random = random
        self.extensions = extensions
        """Whether it honours ours; the cloud does not."""
        self.is_up = True
        self.refuses = 0
        """So many handshakes are answered with 429."""
        self.connections: list[Connection] = []
        self.unheard: set[int] = set()
        """Words that connections were too deaf to hear."""
        self.opened = 0
        self.abandoned_at: list[float] = []
        """When a worker closed a connection in the middle of a session (virtual seconds)."""

    def dialler(self) -> Any:
        """What a worker takes for its :class:`aiohttp.ClientSession`."""
        return _Dialler(self)

    def connect(self, heartbeat_s: float) -> Connection:
        """Open a connection of the process that asks."""
        self.opened += 1
        connection = Connection(self, current_process(), heartbeat_s, number=self.opened)
        self.connections = [c for c in self.connections if c.is_open]
        self.connections.append(connection)
        return connection

    @property
    def live(self) -> list[Connection]:
        """Connections of processes that are alive."""
        return [c for c in self.connections if c.is_open and (c.process is None or c.process.is_alive)]


class _Dialler:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def ws_connect(self, _url: str, *, heartbeat: float, **_options: object) -> Connection:
        service = self._service
        await service.network.pass_point("asr.connect", longest_s=_CONNECT_S)
        if not service.is_up:
            raise ConnectionRefusedError("nobody listens")
        if service.refuses:
            service.refuses -= 1
            raise aiohttp.WSServerHandshakeError(None, (), status=429)  # type: ignore[arg-type]
        return service.connect(heartbeat)


class Connection:
    """One WebSocket connection: the client's end, and behind it the server's session."""

    def __init__(self, service: Service, process: Process | None, heartbeat_s: float, *, number: int) -> None:
        self.process = process
        self.is_open = True
        self.close_code: int | None = None
        self.is_deaf = False
        """Nothing is heard any more, but the connection lives."""
        self.is_stalled = False
        """Nothing passes any more in either direction, not even a pong."""
        self.lose_finals = 0
        self.repeat_finals = 0
        self.swap_finals = 0
        self.delay_finals_s = 0.0
        """How much later than due the next final, and all that follows, is told."""
        self.is_configured = self.is_finished = False
        self.finals_due = 0
        """Told and not delivered yet."""
        self.replayed_at = -10.0
        """Virtual second of the newest append that was longer than live ones are."""
        self._service = service
        self._heartbeat_s = heartbeat_s
        self._error: Exception | None = None
        self._inbox: deque[aiohttp.WSMessage] = deque()
        self._news = asyncio.Event()
        self._last_due = 0.0
        self._held: str | None = None
        self._counts: dict[str, itertools.count[int]] = {}
        self._number = number
        self._protocol = ServerSession(f"sess_{number}", "a model", self._next_id)
        self.engine = _Engine(self._protocol, service.random, ours=service.extensions)
        self._tell(self._protocol.created())

    # --- what aiohttp's client has ----------------------------------------------------------------

    async def send_str(self, text: str) -> None:
        """Send a message to the server."""
        await self._service.network.pass_point("asr.send")
        if not self.is_open:
            raise ConnectionResetError("the connection is gone")
        if not self.is_stalled:
            self._hear(text)

    async def receive(self) -> aiohttp.WSMessage:
        """Wait for a message of the server."""
        while not self._inbox:
            self._news.clear()
            await self._news.wait()
        await self._service.network.pass_point("asr.receive")
        return self._inbox.popleft()

    async def close(self) -> None:
        """Say goodbye."""
        if self.is_open and not self.is_finished:
            self._service.abandoned_at.append(self._service.loop.time())
        self.is_open = False
        await self._service.network.pass_point("asr.close")

    def exception(self) -> Exception | None:
        """Why the connection broke."""
        return self._error

    # --- what may happen to it --------------------------------------------------------------------

    def drop(self, code: int = _LOST) -> None:
        """Break the connection."""
        if self.is_open:
            self.is_open, self.close_code = False, code
            self._deliver(aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None))

    def break_down(self) -> None:
        """Close it as a server with a fault of its own does."""
        self.drop(_BROKEN)

    def stall(self) -> None:
        """Let nothing pass any more; pings that stay unanswered end it."""
        self.is_stalled = True
        self._service.loop.call_later(self._heartbeat_s * 1.5, self._give_up_pinging)

    def garble(self) -> None:
        """Send something that is no event."""
        self._deliver(aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, '{"type":', None))

    def heal(self) -> None:
        """Lose, repeat, swap and delay nothing more; a connection that is deaf or stalled stays so."""
        self.lose_finals = self.repeat_finals = self.swap_finals = 0
        self.delay_finals_s = 0.0

    def _give_up_pinging(self) -> None:
        self._error = TimeoutError("no pong")
        self.drop()

    # --- the server's end -------------------------------------------------------------------------

    def _hear(self, text: str) -> None:
        if not self._service.extensions and '"session.update"' in text:
            text = _without_extensions(text)
        receipt = self._protocol.receive_text(text)
        for reply in receipt.replies:
            self._tell(reply)
        for command in receipt.commands:
            match command:
                case AppendAudio(audio):
                    if len(audio) >= _REPLAY_BYTES:
                        self.replayed_at = self._service.loop.time()
                    if self.is_deaf:
                        self._service.unheard.update(word for word, _ in runs_of(audio) if word is not None)
                    else:
                        self._tell_all(self.engine.hear(audio))
                case Finish() if not self.is_deaf:
                    self._tell_all(self.engine.finish())
                    self._tell(self._protocol.finished())
                    self.is_finished = True
                case Finish():
                    pass
                case Configure():
                    self.is_configured = True
                case _:
                    raise AssertionError(f"the worker does not ask for {command}")

    def _tell_all(self, texts: list[str]) -> None:
        for text in texts:
            if '"conversation.item.input_audio_transcription.completed"' in text:
                self._tell_final(text)
            else:
                self._tell(text)

    def _tell_final(self, text: str) -> None:
        if self.lose_finals:
            self.lose_finals -= 1
            return
        if self.swap_finals and self._held is None:
            self.swap_finals -= 1
            self._held = text
            return
        if self.delay_finals_s:
            self._last_due = max(self._last_due, self._service.loop.time()) + self.delay_finals_s
            self.delay_finals_s = 0.0
        self._tell(text, is_final=True)
        if self._held is not None:
            self._tell(self._held, is_final=True)
            self._held = None
        if self.repeat_finals:
            self.repeat_finals -= 1
            self._tell(text, is_final=True)

    def _tell(self, text: str, *, is_final: bool = False) -> None:
        """Have a text delivered, after all those before it."""
        now = self._service.loop.time()
        self._last_due = max(now + self._service.random.choice(_ANSWER_S), self._last_due)
        message = aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None)
        self.finals_due += is_final
        self._service.loop.call_at(self._last_due, self._deliver_if_open, message, is_final)

    def _deliver_if_open(self, message: aiohttp.WSMessage, is_final: bool) -> None:  # noqa: FBT001 - call_at takes no keywords
        self.finals_due -= is_final
        if self.is_open and not self.is_stalled:
            self._deliver(message)

    def _deliver(self, message: aiohttp.WSMessage) -> None:
        self._inbox.append(message)
        self._news.set()

    def _next_id(self, prefix: str) -> str:
        count = next(self._counts.setdefault(prefix, itertools.count(1)))
        return f"{prefix}_{self._number}_{count}"


class _Engine:
    """Cuts turns where enough silence passes, or where they get too long for this session's taste.

    One that is ``ours`` cuts where it was told to, pads what it tells, and counts the silence in; any other
    cuts where it likes and tells where speech began and ended.
    """

    def __init__(self, protocol: ServerSession, random: Random, *, ours: bool) -> None:
        self.words: list[int] = []
        """Of the open utterance."""
        self.heard: set[int] = set()
        self._protocol = protocol
        self._random = random
        self._is_ours = ours
        self._padding_ms = _PADDING_MS if ours else 0
        self._silence = RATE_HZ * (_SILENCE_MS if ours else random.choice((300, 500, 800))) // 1000
        self._longest = _ANY_NUMBER if ours else random.choice((2, 4, 8, _ANY_NUMBER))
        self._received = 0
        self._speech_end = 0
        self._item = ""

    def hear(self, pcm: bytes) -> list[str]:
        """Take audio; returns what is to be told."""
        told: list[str] = []
        for word, samples in runs_of(pcm):
            told += self._speak(word, samples) if word is not None else self._hush(samples)
        if not self.words and self._random.random() < _TELLS_MEANWHILE:
            processed_ms = max(_ms(self._received) - self._padding_ms, self._protocol.earliest_start_ms)
            told += self._protocol.progress(processed_ms)
        return told

    def finish(self) -> list[str]:
        """Take the end of all audio."""
        return self._end(self._received) if self.words else []

    def _speak(self, number: int, samples: int) -> list[str]:
        told: list[str] = []
        if self.words and self.words[-1] != number and len(self.words) >= self._longest:
            told += self._end(self._received)
        if not self.words:
            start_ms = max(_ms(self._received) - self._padding_ms, self._protocol.earliest_start_ms)
            self._item, text = self._protocol.speech_started(start_ms)
            told.append(text)
        if not self.words or self.words[-1] != number:
            self.words.append(number)
            self.heard.add(number)
        self._received += samples
        self._speech_end = self._received
        if self._random.random() < _TELLS_MEANWHILE:
            told += self._protocol.partial(self._item, "", self._text, "en")
        return told

    def _hush(self, samples: int) -> list[str]:
        before, self._received = self._received, self._received + samples
        if self.words and self._received - self._speech_end >= self._silence:
            return self._end(max(before, self._speech_end + self._silence))
        return []

    def _end(self, end: int) -> list[str]:
        if not self._is_ours:
            end = self._speech_end
        emotion = "angry" if any(number % ALARM_EVERY == 0 for number in self.words) else "neutral"
        told = [
            *self._protocol.speech_stopped(self._item, _ms(end)),
            *self._protocol.completed(
                self._item,
                self._text,
                "en",
                emotion,
                detail=ResultDetail(emotion_confidence=0.9, engine="simulated"),
            ),
        ]
        self.words = []
        return told

    @property
    def _text(self) -> str:
        return " ".join(spell(number) for number in self.words)


def _ms(samples: int) -> int:
    return samples * 1000 // RATE_HZ


def _without_extensions(text: str) -> str:
    update = msgspec.json.decode(text)
    update["session"].pop("qa", None)
    return msgspec.json.encode(update).decode()
