"""Compare the asr-server with WhisperLive: the same model, the same audio, in turn on the same machine.

    .venv/bin/python tools/compare/whisperlive.py --speech-data DIR --legs 1,4,8,12 --seconds 60 --json

Both get Whisper base out of the cache folder (int8 on CPU, all cores) and the same English conversations in
real time. What the figures mean, and what the comparison cannot tell, stands in docs/comparison.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal, TypeVar, get_args

import aiohttp
import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import make_http_session
from qa_service.asr_server import ServerConfig
from qa_service.bench.listening import BenchError, Heard, SessionRefusedError, listen
from qa_service.bench.recordings import CorpusError, corpus_recordings, sample_recordings
from qa_service.bench.scoring import Score, Spread, score, spread
from qa_service.bench.serving import measured_server
from qa_service.fetching import FetchError, default_cache_dir
from qa_service.models import ensure
from tools.compare.captions import Caption, last_text, partial_gaps_ms, settled_ms
from tools.compare.conversations import Conversation, converse
from tools.compare.environment import EnvironmentUnavailableError, whisper_live_python
from tools.compare.processor import ProcessorTime
from tools.compare.whisper_live_client import Take, play, whisper_live_server
from tools.compare.whisper_live_messages import completed, shown

System = Literal["qa-service", "whisper-live", "whisper-live-batched"]
"""``batched``: with the option that recognises segments of several clients together."""

SILENCE_MS: Final = 800  # of our endpointing, and of what is subtracted for all
HELD_EXCESS_MS: Final = 1000.0

_RAMP_S: Final = 10.0  # within which the legs begin, as in `qa-service bench asr --legs`
_LANGUAGE: Final = "en"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leg:
    """What a client had of one leg; ``final`` is the text that the server called final or complete."""

    conversation: Conversation
    shown: Sequence[Caption]
    final: Sequence[Caption]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One system with one number of legs."""

    legs: Sequence[Leg]
    refused: int
    dropped: int
    cores: float
    other_cores: float
    memory_mb: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run; times in milliseconds."""

    system: System
    legs: int
    held: bool
    """Excess p95 at most 1 s, no client refused or dropped."""
    utterances: int
    missed: int
    """Utterances of which no word was right, or the last one was left out."""
    excess_ms: Spread
    """Final less (end of speech + 800): ours by its final event, WhisperLive's when the words had settled."""
    settled_ms: Spread
    """From the end of speech until the words had settled, by one rule for both."""
    completed_ms: Spread
    """From the end of speech until the server called the text final or complete."""
    never_completed: int
    """Utterances heard, but not called complete before the leg ended."""
    partial_gap_ms: Spread
    wer: float
    refused: int
    dropped: int
    cores: float
    """Processor time of the server per second."""
    other_cores: float
    """That of all else on the machine, but for the client: what was not there for the server."""
    memory_mb: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    cores: int | None
    seconds: float
    whisper_live: str
    qa_service: str
    results: tuple[Result, ...]


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech-data", type=Path, help="folder with recordings and manifest.jsonl")
    parser.add_argument("--legs", type=_numbers, default="1,4,8,12", help="numbers of legs side by side")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the conversations")
    parser.add_argument(
        "--systems", type=_systems, default="qa-service,whisper-live", help=", ".join(get_args(System))
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    try:
        report = asyncio.run(
            compare(arguments.systems, arguments.legs, arguments.seconds, arguments.speech_data)
        )
    except (BenchError, CorpusError, EnvironmentUnavailableError, FetchError) as error:
        raise SystemExit(str(error)) from error
    print(msgspec.json.encode(report).decode() if arguments.json else table(report.results))


def _systems(text: str) -> list[System]:
    try:
        return msgspec.convert(text.split(","), list[System])
    except msgspec.ValidationError:
        raise argparse.ArgumentTypeError(f"choose from {', '.join(get_args(System))}") from None


def _numbers(text: str) -> list[int]:
    if not all(number.isdecimal() and int(number) for number in text.split(",")):
        raise argparse.ArgumentTypeError("numbers of at least 1, separated by commas")
    return [int(number) for number in text.split(",")]


async def compare(
    systems: Sequence[System], legs: Iterable[int], seconds: float, corpus: Path | None
) -> Report:
    """Measure each system with each number of legs; who begins changes, as others may use the machine."""
    recordings = [
        recording
        for recording in [*sample_recordings(), *(corpus_recordings(corpus) if corpus else [])]
        if recording.language == _LANGUAGE and recording.text and recording.seconds >= 1
    ]
    results: list[Result] = []
    for turn, number in enumerate(legs):
        conversations = [converse(recordings, seconds, seed) for seed in range(number)]
        shift = turn % len(systems)
        order: list[System] = [*systems[shift:], *systems[:shift]]
        for system in order:
            results.append(await _measure(system, conversations))
            print(row(results[-1]), file=sys.stderr, flush=True)
    return Report(
        cores=os.cpu_count(),
        seconds=seconds,
        whisper_live=_whisper_live_version(),
        qa_service=version("qa-service"),
        results=tuple(results),
    )


async def _measure(system: System, conversations: Sequence[Conversation]) -> Result:
    if system == "qa-service":
        run = await _run_ours(conversations)
    else:
        run = await _run_whisper_live(conversations, batched=system == "whisper-live-batched")
    return _judge(system, len(conversations), run)


async def _run_ours(conversations: Sequence[Conversation]) -> Run:
    config = ServerConfig(port=0, no_auth=True, threads=os.cpu_count() or 1)
    async with measured_server(config) as server, make_http_session() as http:
        endpoint = RecogniserEndpoint(server.url)
        before = ProcessorTime.read((await server.read_vitals()).cpu_s)

        async def one(conversation: Conversation) -> Leg | BenchError:
            try:
                heard = await listen(http, endpoint, conversation.pcm, silence_ms=SILENCE_MS)
            except BenchError as error:
                return error
            return Leg(conversation, *captions_of(heard))

        outcomes = await _one_after_the_other(one, conversations)
        vitals = await server.read_vitals()
        after = ProcessorTime.read(vitals.cpu_s)
    legs = [outcome for outcome in outcomes if isinstance(outcome, Leg)]
    refused = sum(isinstance(outcome, SessionRefusedError) for outcome in outcomes)
    return Run(
        legs=legs,
        refused=refused,
        dropped=len(outcomes) - len(legs) - refused,
        cores=after.server_cores(before),
        other_cores=after.other_cores(before),
        memory_mb=vitals.memory_mb,
    )


async def _run_whisper_live(conversations: Sequence[Conversation], *, batched: bool) -> Run:
    cache_dir = default_cache_dir()
    python = await asyncio.to_thread(whisper_live_python, cache_dir)
    model = await asyncio.to_thread(ensure, "whisper-base", cache_dir)
    async with (
        whisper_live_server(python, model, clients=len(conversations), batched=batched) as server,
        aiohttp.ClientSession() as http,
    ):
        before = ProcessorTime.read(server.cpu_s)

        async def one(conversation: Conversation) -> Take:
            return await play(http, server, conversation.pcm, language=_LANGUAGE)

        takes = await _one_after_the_other(one, conversations)
        after, memory_mb = ProcessorTime.read(server.cpu_s), server.memory_mb
    legs = [
        Leg(conversation, shown(take.messages), completed(take.messages))
        for conversation, take in zip(conversations, takes, strict=True)
        if not take.refused
    ]
    return Run(
        legs=legs,
        refused=len(takes) - len(legs),
        dropped=sum(take.dropped for take in takes),
        cores=after.server_cores(before),
        other_cores=after.other_cores(before),
        memory_mb=memory_mb,
    )


async def _one_after_the_other(
    play_one: Callable[[Conversation], Awaitable[T]], conversations: Sequence[Conversation]
) -> list[T]:
    """Side by side, begun one after the other."""

    async def begin(number: int, conversation: Conversation) -> T:
        await asyncio.sleep(_RAMP_S * number / len(conversations))
        return await play_one(conversation)

    return await asyncio.gather(*(begin(n, conversation) for n, conversation in enumerate(conversations)))


def captions_of(heard: Heard) -> tuple[list[Caption], list[Caption]]:
    """All text, and the finals alone, of a leg that our server recognised, as they came."""
    events: list[tuple[float, str, str, bool]] = []
    for item_id, utterance in heard.utterances.items():
        events += ((at, item_id, partial.text + partial.stash, False) for at, partial in utterance.partials)
        if utterance.final is not None and utterance.final_at_ms is not None:
            events.append((utterance.final_at_ms, item_id, utterance.final.transcript, True))
    texts, finals = dict.fromkeys(heard.utterances, ""), dict.fromkeys(heard.utterances, "")
    every: list[Caption] = []
    final: list[Caption] = []
    for at_ms, item_id, text, is_final in sorted(events):
        texts[item_id] = text
        every.append(Caption(at_ms, " ".join(texts.values())))
        if is_final:
            finals[item_id] = text
            final.append(Caption(at_ms, " ".join(finals.values())))
    return every, final


def _judge(system: System, number: int, run: Run) -> Result:
    settled: list[float] = []
    called_complete: list[float] = []
    gaps: list[float] = []
    utterances = 0
    errors = Score()
    for leg in run.legs:
        said = leg.conversation.said
        utterances += len(said)
        settled += _delays(leg, leg.shown)
        called_complete += _delays(leg, leg.final)
        gaps += partial_gaps_ms(said, leg.shown)
        errors += score(leg.conversation.text, last_text(leg.shown), _LANGUAGE)
    finals = called_complete if system == "qa-service" else settled
    excess = spread(delay - SILENCE_MS for delay in finals)
    held = excess.p95 is not None and excess.p95 <= HELD_EXCESS_MS and not run.refused and not run.dropped
    return Result(
        system=system,
        legs=number,
        held=held,
        utterances=utterances,
        missed=utterances - len(settled),
        excess_ms=excess,
        settled_ms=spread(settled),
        completed_ms=spread(called_complete),
        never_completed=max(0, len(settled) - len(called_complete)),
        partial_gap_ms=spread(gaps),
        wer=round(errors.rate, 4),
        refused=run.refused,
        dropped=run.dropped,
        cores=round(run.cores, 2),
        other_cores=round(run.other_cores, 2),
        memory_mb=round(run.memory_mb),
    )


def _delays(leg: Leg, captions: Sequence[Caption]) -> list[float]:
    """From the ends of the utterances until they had settled, without those that had not."""
    said = leg.conversation.said
    times = zip(said, settled_ms(said, captions), strict=True)
    return [at_ms - utterance.end_ms for utterance, at_ms in times if at_ms is not None]


def _whisper_live_version() -> str:
    pins = Path(__file__).with_name("requirements-whisper-live.in").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2] for line in pins if line.startswith("whisper-live=="))


_COLUMNS: Final = (
    "legs",
    "system",
    "held",
    "excess median, p95",
    "settled median, p95",
    "completed median, p95",
    "between partials median, p95",
    "missed",
    "WER",
    "refused, dropped",
    "cores",
    "other work",
    "MB",
)


def table(results: Iterable[Result]) -> str:
    """The results as Markdown."""
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
    return "\n".join([head, *(row(result) for result in results)])


def row(result: Result) -> str:
    """One line of the table."""
    cells = (
        str(result.legs),
        result.system,
        "yes" if result.held else "no",
        *(
            f"{_seconds(delays.median)}, {_seconds(delays.p95)}"
            for delays in (result.excess_ms, result.settled_ms, result.completed_ms, result.partial_gap_ms)
        ),
        f"{result.missed} of {result.utterances}",
        f"{result.wer:.1%}",
        f"{result.refused}, {result.dropped}",
        f"{result.cores:.1f}",
        f"{result.other_cores:.1f}",
        f"{result.memory_mb:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _seconds(value_ms: float | None) -> str:
    return "none" if value_ms is None else f"{value_ms / 1000:.2f}"


if __name__ == "__main__":
    main()
