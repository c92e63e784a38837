"""The benchmark of speech recognition: the whole server, as a client on a telephone line meets it.

Decided here: the figures and what each is. *Excess* is the time of a recording's last final minus (end of the
last sample of speech, by energy, plus the silence asked for). Everything is measured through the WebSocket of
a server process; only the direct run, which accuracy is compared with, calls the engine on whole recordings.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import make_http_session
from qa_service.asr_server import EngineError, ServerConfig
from qa_service.asr_server.engines import SAMPLE_RATE_HZ, Engine, Hints, Segment
from qa_service.asr_server.engines.whisper import WhisperEngine
from qa_service.audio.line import LINE_RATE_HZ, to_float
from qa_service.audio.resample import resample
from qa_service.bench.legs import Legs, LegsBench
from qa_service.bench.listening import BenchError, Heard, listen
from qa_service.bench.recordings import (
    Recording,
    Track,
    corpus_recordings,
    first_speech,
    on_the_line,
    sample_recordings,
    unspoken_sounds,
)
from qa_service.bench.scoring import Score, Spread, score, spread
from qa_service.bench.serving import MeasuredServer, measured_server
from qa_service.fetching import FetchError, default_cache_dir
from qa_service.models import ensure

VERSION: Final = 1
"""Of the JSON; a key keeps its meaning within one."""

_TAIL_S: Final = 1.2  # of idle line after the silence that ends the last utterance
_LANGUAGE_S: Final = 4.0
_MAX_FINAL_DELAY_S: Final = 1.0  # what QA_SERVER_MAX_FINAL_DELAY_S is by default
_ATTEMPTS_AT_ONCE: Final = 2  # sessions at a time where time does not count


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Word errors of one group (of characters in Chinese), streamed through the server and direct."""

    group: str
    recordings: int
    words: int
    errors: int
    wer: float
    direct_errors: int | None
    direct_wer: float | None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """One leg at a time. ``missed``: recordings without a final."""

    silence_ms: int
    excess_ms: Spread
    first_partial_ms: Spread
    """From the first sample of speech, of recordings in which a partial came."""
    missed: int
    load: float
    """The machine's load average over a minute when this was done: over 1 with one leg, others worked too."""


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """The language found in the first four seconds of speech, each recording in a session of its own."""

    recordings: int
    right: int
    share: float
    wrong: tuple[str, ...]


class Unspoken(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard in a sound that nobody spoke: utterances begun, and the texts of those with any."""

    sound: str
    seconds: float
    utterances: int
    texts: tuple[str, ...]


class AsrReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``qa-service bench asr --json`` prints; None and empty where something was not measured."""

    version: int
    cores: int | None
    emotion: bool
    accuracy: tuple[Accuracy, ...] = ()
    latency: tuple[Latency, ...] = ()
    language: Language | None = None
    unspoken: tuple[Unspoken, ...] = ()
    legs: Legs | None = None
    revisions: int = 0
    """How often confirmed text was taken back, in all that was streamed."""
    loop_lag_ms: Spread | None = None
    """Of the server's event loop, with one leg."""
    memory_mb: float | None = None
    """Resident memory of the server at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AsrPlan:
    """What to measure."""

    corpus: Path | None = None
    groups: tuple[str, ...] = ()
    """Names of groups of recordings to keep to; all if empty."""
    silences_ms: tuple[int, ...] = (800, 400)
    """The first one with all recordings, the others with English ones only."""
    unspoken_s: float = 600.0
    language: bool = True
    direct: bool = True
    legs: int = 0
    legs_s: float = 600.0
    overload: bool = False
    """Three times the legs in the second third of the time."""
    emotion: bool = True
    threads: int = 2


@dataclass(frozen=True, slots=True)
class _Take:
    """A recording as it was played, and what was heard."""

    track: Track
    heard: Heard


async def measure_asr(
    plan: AsrPlan, tell: Callable[[str], None], tell_progress: Callable[[str], None] | None = None
) -> AsrReport:
    """Start a server and measure it; ``tell`` gets a line whenever something is done.

    ``tell_progress`` gets a line a minute of what takes many; None leaves that to ``tell``.

    Raises:
        BenchError: the server did not start, or a session was lost.
        CorpusError: the corpus cannot be used.
    """
    recordings = [
        recording
        for recording in [*sample_recordings(), *(corpus_recordings(plan.corpus) if plan.corpus else [])]
        if not plan.groups or recording.group in plan.groups
    ]
    config = ServerConfig(
        port=0,
        no_auth=True,
        threads=plan.threads,
        emotion=plan.emotion,
        # What legs there are is what is to be measured; only an overload is to be fended off.
        max_final_delay_s=_MAX_FINAL_DELAY_S if plan.overload else None,
    )
    async with measured_server(config) as server, make_http_session() as http:
        bench = _Bench(plan, server, http, tell, tell_progress or tell)
        if plan.legs:
            return await bench.measure_legs(recordings)
        return await bench.measure_recordings(recordings)


class _Bench:
    def __init__(
        self,
        plan: AsrPlan,
        server: MeasuredServer,
        http: aiohttp.ClientSession,
        tell: Callable[[str], None],
        tell_progress: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._server = server
        self._endpoint = RecogniserEndpoint(server.url)
        self._http = http
        self._tell = tell
        self._tell_progress = tell_progress

    async def measure_recordings(self, recordings: Sequence[Recording]) -> AsrReport:
        await self._server.read_vitals()
        takes, latencies = [], []
        for number, silence_ms in enumerate(self._plan.silences_ms):
            chosen = recordings if number == 0 else [r for r in recordings if r.language == "en"]
            load = os.getloadavg()[0]
            taken = [await self._take(recording, silence_ms) for recording in chosen]
            latencies.append(_latency(taken, silence_ms, load))
            takes.append(taken)
        vitals = await self._server.read_vitals()
        direct = await asyncio.to_thread(_direct, recordings, self._tell) if self._plan.direct else {}
        return AsrReport(
            version=VERSION,
            cores=os.cpu_count(),
            emotion=self._plan.emotion,
            accuracy=_accuracy(takes[0], direct) if takes else (),
            latency=tuple(latencies),
            language=await self._measure_language(recordings) if self._plan.language else None,
            unspoken=await self._measure_unspoken() if self._plan.unspoken_s else (),
            revisions=sum(_revisions(take.heard) for taken in takes for take in taken),
            loop_lag_ms=spread(vitals.loop_lags_ms),
            memory_mb=(await self._server.read_vitals()).memory_mb,
        )

    async def measure_legs(self, recordings: Sequence[Recording]) -> AsrReport:
        """Legs that begin within ten seconds, each a conversation of its own."""
        plan = self._plan
        bench = LegsBench(
            self._server,
            self._http,
            silence_ms=plan.silences_ms[0],
            emotion=plan.emotion,
            tell=self._tell_progress,
        )
        result = await bench.measure(recordings, legs=plan.legs, seconds=plan.legs_s, overload=plan.overload)
        return AsrReport(
            version=VERSION,
            cores=os.cpu_count(),
            emotion=plan.emotion,
            legs=result.figures,
            revisions=sum(_revisions(heard) for heard in result.heard),
            memory_mb=result.figures.memory_mb,
        )

    async def _take(self, recording: Recording, silence_ms: int) -> _Take:
        track = on_the_line(recording, silence_ms / 1000 + _TAIL_S)
        heard = await self._listen(track.pcm, silence_ms=silence_ms)
        take = _Take(track, heard)
        excess = _excess(take, silence_ms)
        shown = "none" if excess is None else f"{excess:.0f} ms"
        self._tell(f"{silence_ms} {recording.group} {recording.name}: excess {shown}: {heard.text}")
        return take

    async def _listen(self, pcm: bytes, *, silence_ms: int, realtime: bool = True) -> Heard:
        return await listen(
            self._http,
            self._endpoint,
            pcm,
            silence_ms=silence_ms,
            realtime=realtime,
            emotion=self._plan.emotion,
        )

    async def _measure_language(self, recordings: Sequence[Recording]) -> Language:
        # Single digits and the like hold less speech than a language can be told from.
        long_enough = [r for r in recordings if r.seconds >= 1.0]
        gate = asyncio.Semaphore(_ATTEMPTS_AT_ONCE)

        async def find(recording: Recording) -> str | None:
            track = on_the_line(first_speech(recording, _LANGUAGE_S), 1.5)
            async with gate:
                heard = await self._listen(track.pcm, silence_ms=800, realtime=False)
            return next((u.final.language for u in heard.finals if u.final), None)

        found = await asyncio.gather(*(find(recording) for recording in long_enough))
        wrong = tuple(
            f"{r.name}: {language} for {r.language}"
            for r, language in zip(long_enough, found, strict=True)
            if language != r.language
        )
        right = len(long_enough) - len(wrong)
        share = right / len(long_enough) if long_enough else 0.0
        self._tell(f"language right in {right} of {len(long_enough)}")
        return Language(recordings=len(long_enough), right=right, share=share, wrong=wrong)

    async def _measure_unspoken(self) -> tuple[Unspoken, ...]:
        results = []
        for name, samples in unspoken_sounds(self._plan.unspoken_s).items():
            heard = await self._listen(samples.tobytes(), silence_ms=800, realtime=False)
            texts = tuple(u.final.transcript for u in heard.finals if u.final)
            results.append(
                Unspoken(
                    sound=name, seconds=self._plan.unspoken_s, utterances=len(heard.utterances), texts=texts
                )
            )
            self._tell(f"{name}: {len(heard.utterances)} utterances, {len(texts)} with text")
        return tuple(results)


def _latency(takes: Sequence[_Take], silence_ms: int, load: float) -> Latency:
    excesses = [_excess(take, silence_ms) for take in takes]
    first = [
        partials[0][0] - take.track.speech_start_ms
        for take in takes
        if (partials := [p for u in take.heard.utterances.values() for p in u.partials])
    ]
    return Latency(
        silence_ms=silence_ms,
        excess_ms=spread(value for value in excesses if value is not None),
        first_partial_ms=spread(first),
        missed=sum(value is None for value in excesses),
        load=round(load, 2),
    )


def _excess(take: _Take, silence_ms: int) -> float | None:
    """How late the last final of a recording was, in ms."""
    finals = [u.final_at_ms for u in take.heard.utterances.values() if u.final_at_ms is not None]
    return max(finals) - take.track.speech_end_ms - silence_ms if finals else None


def _revisions(heard: Heard) -> int:
    return sum(utterance.revisions for utterance in heard.utterances.values())


def _accuracy(takes: Sequence[_Take], direct: dict[str, str]) -> tuple[Accuracy, ...]:
    by_group: dict[str, list[_Take]] = {}
    for take in takes:
        if take.track.recording.text is not None:
            by_group.setdefault(take.track.recording.group, []).append(take)
    return tuple(_accuracy_of(group, taken, direct) for group, taken in sorted(by_group.items()))


def _accuracy_of(group: str, takes: Sequence[_Take], direct: dict[str, str]) -> Accuracy:
    recordings = [take.track.recording for take in takes]
    streamed = sum((_score(t.track.recording, t.heard.text) for t in takes), Score())
    whole = sum((_score(r, direct[r.name]) for r in recordings), Score()) if direct else None
    return Accuracy(
        group=group,
        recordings=len(takes),
        words=streamed.words,
        errors=streamed.errors,
        wer=round(streamed.rate, 4),
        direct_errors=whole.errors if whole else None,
        direct_wer=round(whole.rate, 4) if whole else None,
    )


def _score(recording: Recording, heard: str) -> Score:
    return score(recording.text or "", heard, recording.language)


def _direct(recordings: Sequence[Recording], tell: Callable[[str], None]) -> dict[str, str]:
    """The text of whole recordings, by name, straight from the engine."""
    try:
        folder = ensure("whisper-base", default_cache_dir())
        engine = WhisperEngine(folder, model="whisper-base", threads=1)
        return {recording.name: _transcribe(engine, recording, tell) for recording in recordings}
    except (FetchError, EngineError) as error:
        raise BenchError(str(error)) from error


def _transcribe(engine: Engine, recording: Recording, tell: Callable[[str], None]) -> str:
    samples = resample(to_float(recording.samples), LINE_RATE_HZ, SAMPLE_RATE_HZ)
    text = engine.transcribe(Segment(samples=samples), Hints()).text
    tell(f"direct {recording.group} {recording.name}: {text}")
    return text
