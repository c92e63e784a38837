"""``qa-service publish`` and ``qa-service transcribe``: audio files as live calls, or as single sessions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from qa_service.asr.transcribe import transcribe_file
from qa_service.cli.configuration import kafka_config, recogniser_endpoint
from qa_service.cli.running import configure_logging, run
from qa_service.contract import CODECS, RATES, Codec, Role
from qa_service.protocol.config import SessionConfig, TurnDetection
from qa_service.settings import Settings
from qa_service.telephony.publish import PublishProgress, PublishReport, publish_files

_FILES = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)


@click.command(
    epilog="""\b
Examples:
  qa-service publish call.wav                 stereo: left customer, right agent; real time
  qa-service publish --speed 4 *.flac         four times as fast
  qa-service publish --speed 0 call.wav       as fast as Kafka takes it"""
)
@_FILES
@click.option("--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="0: no pacing.")
@click.option("--codec", type=click.Choice(CODECS), default="pcmu", show_default=True)
@click.option("--rate", type=click.Choice([str(rate) for rate in RATES]), default="8000", show_default=True)
@click.option("--swap-legs", is_flag=True, help="Left is the agent.")
@click.option(
    "--role",
    type=click.Choice(["customer", "agent", "other"]),
    default="customer",
    show_default=True,
    help="Who speaks in mono files.",
)
@click.option("--language", help="Language of the calls, if known, e.g. en.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def publish(
    files: tuple[Path, ...],
    *,
    speed: float,
    codec: Codec,
    rate: str,
    swap_legs: bool,
    role: Role,
    language: str | None,
    as_json: bool,
) -> None:
    """Play audio files into Kafka as a telephony platform would, each as a call of its own."""
    settings = Settings()
    configure_logging(settings)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), disable=as_json
    ) as progress:
        bars: dict[str, TaskID] = {}

        def show(state: PublishProgress) -> None:
            bar = bars.get(state.call_id)
            if bar is None:
                bar = bars[state.call_id] = progress.add_task(state.call_id, total=state.duration_ms)
            progress.update(bar, completed=state.position_ms)

        report = run(
            publish_files(
                files,
                kafka=kafka_config(settings),
                topic=settings.audio_topic,
                codec=codec,
                rate=int(rate),
                speed=speed or math.inf,
                swap_legs=swap_legs,
                mono_role=role,
                language=language,
                on_progress=show,
            )
        )
    click.echo(json.dumps(_as_json(report), indent=2) if as_json else _in_words(report))


def _as_json(report: PublishReport) -> dict[str, object]:
    return {
        "calls": [
            {"call_id": c.call_id, "legs": c.legs, "started_ts": c.started_ts, "duration_ms": c.duration_ms}
            for c in report.calls
        ],
        "records": report.records,
        "elapsed_s": round(report.elapsed_s, 3),
        "worst_lateness_ms": round(report.worst_lateness_ms, 1),
    }


def _in_words(report: PublishReport) -> str:
    ids = ", ".join(call.call_id for call in report.calls)
    return f"{report.records} records in {report.elapsed_s:.1f} s, calls {ids}"


@click.command(
    epilog="""\b
Examples:
  QA_ASR_URL=ws://localhost:8000 qa-service transcribe call.wav
  QA_ASR_API_KEY=sk-… qa-service transcribe --finals call.wav      the cloud"""
)
@_FILES
@click.option("--rate", type=click.Choice(["8000", "16000"]), default="8000", show_default=True)
@click.option("--language", help="Language to expect; default: detect.")
@click.option("--realtime", is_flag=True, help="Send as fast as it was spoken.")
@click.option("--finals", is_flag=True, help="Print final texts only, as plain lines.")
def transcribe(
    files: tuple[Path, ...], *, rate: str, language: str | None, realtime: bool, finals: bool
) -> None:
    """Send files through any Qwen-protocol server; events come out as JSON lines."""
    settings = Settings()
    configure_logging(settings)
    config = SessionConfig(
        sample_rate=int(rate),
        language=language,
        turn_detection=TurnDetection(
            threshold=settings.asr_vad_threshold, silence_duration_ms=settings.asr_silence_ms
        ),
    )

    def emit(event: dict[str, object]) -> None:
        if not finals:
            click.echo(json.dumps(event, ensure_ascii=False))
        elif event["event"] == "completed":
            click.echo(event["transcript"])

    endpoint = recogniser_endpoint(settings)
    for path in files:
        run(transcribe_file(path, endpoint, config, realtime=realtime, emit=emit))
