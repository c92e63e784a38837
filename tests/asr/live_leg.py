"""A leg with real sessions to a real server, in a world that goes `SPEED` times as fast as time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
from msgspec import structs

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import RecogniserSession, SessionLimits, SessionLost
from qa_service.domain.actions import AbandonSession, Append, FinishSession, OpenSession
from qa_service.domain.arrival import Arrival
from qa_service.domain.coverage import ReleasedGap, ReleasedQuiet, ReleasedUtterance
from qa_service.domain.leg import Leg, LegLimits
from qa_service.protocol import Completed, Extensions, ServerEvent, SessionConfig, TurnDetection

SPEED = 5
"""Leaves every time-out of the leg at least 0.4 s, which the server on this machine keeps easily."""
RATE = 8000
FRAME = 160  # samples
SILENCE_MS = 400
WITHIN_S = 60.0
LIMITS = SessionLimits(connect_s=2.0, configure_s=2.0, finish_s=8.0, ping_s=2.0)


class LiveLeg:
    """Give it audio with :meth:`play`; then it tells what became of it."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: RecogniserEndpoint,
        *,
        extensions: bool = True,
        remembers: bool = False,
    ) -> None:
        """``remembers``: offer each session what the one before has learnt, as the worker does."""
        self._http = http
        self._endpoint = endpoint
        self._config = SessionConfig(
            sample_rate=RATE,
            turn_detection=TurnDetection(threshold=0.0, silence_duration_ms=SILENCE_MS),
            extensions=Extensions(progress=extensions, emotion_detail=extensions),
        )
        self._remembers = remembers
        limits = LegLimits(silence_ms=SILENCE_MS, final_timeout_s=10.0)
        self._leg = Leg(codec="pcm_s16le", rate=RATE, limits=limits)
        self._sessions: dict[int, RecogniserSession] = {}
        self._releases: list[object] = []
        self.lost: list[str] = []
        """Why sessions were lost by themselves."""
        self.abandoned: list[str] = []
        """Why the leg gave sessions up."""

    async def play(self, pcm: bytes) -> None:
        """Have the leg hear 16-bit PCM as it would come over the line, and wait for its end."""
        frames = [pcm[at : at + 2 * FRAME] for at in range(0, len(pcm), 2 * FRAME)]
        begun = self._now()
        try:
            async with asyncio.timeout(WITHIN_S):
                for number, audio in enumerate(frames):
                    while self._now() - begun < number * FRAME / RATE:
                        await self._go_on()
                    pos, size = number * FRAME, len(audio) // 2
                    self._leg.accept(Arrival(pos, size, number, number, "pcm_s16le", audio), now=self._now())
                self._leg.end("stop", now=self._now())
                while not self._leg.ended:
                    await self._go_on()
        except TimeoutError:
            raise AssertionError(
                f"waited {WITHIN_S:g} s for the end; {self.words}, {self.lost}, {self.abandoned}"
            ) from None
        finally:
            self._take()
            await asyncio.gather(*(session.close() for session in self._sessions.values()))

    @property
    def words(self) -> list[str]:
        """Every word that was released, in order."""
        utterances = (release for release in self._releases if isinstance(release, ReleasedUtterance))
        return [word for utterance in utterances for word in utterance.result.transcript.split()]

    @property
    def results(self) -> list[Completed]:
        """The results that were released, in order."""
        return [release.result for release in self._releases if isinstance(release, ReleasedUtterance)]

    @property
    def gaps(self) -> list[ReleasedGap]:
        """What nobody transcribed."""
        return [release for release in self._releases if isinstance(release, ReleasedGap)]

    @property
    def tiles(self) -> bool:
        """Whether releases follow each other without overlap or hole."""
        spans = [
            (release.start, release.end)
            for release in self._releases
            if isinstance(release, ReleasedUtterance | ReleasedQuiet | ReleasedGap)
        ]
        covered = 0
        for start, end in spans:
            if not covered <= start <= end:
                return False
            covered = end
        return True

    def _now(self) -> float:
        return asyncio.get_running_loop().time() * SPEED

    async def _go_on(self) -> None:
        self._leg.tick(now=self._now(), read_until=self._now())
        self._take()
        await asyncio.sleep(0.02 / SPEED)

    def _take(self) -> None:
        for output in self._leg.take_outputs():
            match output:
                case OpenSession(number):
                    self._open(number)
                case Append(number, pcm):
                    self._sessions[number].append(pcm)
                case FinishSession(number):
                    self._sessions[number].finish()
                case AbandonSession(number, reason):
                    self.abandoned.append(reason)
                    self._closing = asyncio.ensure_future(self._sessions[number].close())
                case _:
                    self._releases.append(output)

    def _open(self, number: int) -> None:
        def hear(event: ServerEvent) -> None:
            self._leg.receive(number, event, now=self._now(), at_ms=0)

        def lose(lost: SessionLost) -> None:
            self.lost.append(lost.reason)
            self._leg.session_lost(number, now=self._now())

        config = self._config
        if self._remembers:
            state = self._leg.recogniser_state or True
            config = structs.replace(config, extensions=structs.replace(config.extensions, leg_state=state))
        session = RecogniserSession(
            self._http, self._endpoint, config, on_event=hear, on_lost=lose, limits=replace(LIMITS)
        )
        self._sessions[number] = session
        session.start()
