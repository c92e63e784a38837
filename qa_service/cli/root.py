"""The command group: where commands are found, and how failures reach the user."""

from __future__ import annotations

import importlib
import os
import sys

import click
from pydantic import ValidationError

from qa_service import __version__

# Read by numpy when it is imported: recognition runs an utterance per thread, and OpenBLAS threads that spin
# beside them double the CPU of the emotion model.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_COMMANDS = {
    "alerts": ("qa_service.cli.alerts:alerts", "Follow alerts, look them up, judge them."),
    "asr-server": (
        "qa_service.cli.parts:asr_server",
        "Serve realtime recognition (Qwen protocol) on this machine.",
    ),
    "bench": ("qa_service.cli.bench:bench", "Measure this machine: accuracy, latency, load."),
    "capacity": (
        "qa_service.cli.bench_path:capacity",
        "Say what this machine holds: legs a core, memory, writes.",
    ),
    "config": ("qa_service.cli.configuration:config", "Print the effective settings, secrets masked."),
    "demo": ("qa_service.demo.command:demo", "Run the whole service here on sample calls."),
    "emotion": ("qa_service.cli.emotion:emotion", "Train and measure the emotion model."),
    "health": ("qa_service.cli.parts:health", "Ask a part for its health; for container probes."),
    "migrate": ("qa_service.cli.database:migrate", "Bring the database schema up to date."),
    "model": ("qa_service.cli.models:model", "Fetch and verify model files."),
    "partials": ("qa_service.cli.topics:partials", "Follow partial results on their topic."),
    "publish": ("qa_service.cli.audio:publish", "Play audio files into Kafka as live calls."),
    "relay": ("qa_service.cli.parts:relay", "Publish alerts and transcripts from the outbox."),
    "replay": ("qa_service.cli.backtest:replay", "Recompute a stored call's incidents and compare."),
    "report": ("qa_service.cli.database:report", "Print a view of the report schema."),
    "rules": ("qa_service.cli.rules:rules", "Check, publish and back-test rule files."),
    "scorecards": ("qa_service.cli.scorecards:scorecards", "Check scorecards, and grade stored calls."),
    "simulate": ("qa_service.cli.simulate:simulate", "Break the worker in simulated worlds."),
    "tape": ("qa_service.cli.tape:tape", "Keep a call's records in a file, and play it offline."),
    "transcribe": ("qa_service.cli.audio:transcribe", "Send files through any Qwen-protocol server."),
    "transcripts": ("qa_service.cli.topics:transcripts", "Follow finished utterances on their topic."),
    "worker": ("qa_service.cli.parts:worker", "Transcribe live calls and evaluate rules."),
}


class _Commands(click.Group):
    """Commands by name, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in sorted(_COMMANDS)])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            raise click.ClickException(_explain_settings(error)) from error
        except Exception as error:
            if not _is_ours(error) or os.environ.get("QA_LOG_LEVEL", "").lower() == "debug":
                raise
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands,
    epilog="""\b
Examples:
  qa-service demo                         everything on this machine, on sample calls
  qa-service asr-server --no-auth         a recogniser that the vendor's SDKs can use
  QA_KAFKA_BOOTSTRAP=… QA_DATABASE_URL=… qa-service worker
Settings are environment variables QA_… or lines of .env; see `qa-service config`.""",
)
@click.version_option(__version__, prog_name="qa-service")
def _root() -> None:
    """Live quality inspection for call centres."""


def main() -> None:
    """Run the command line; anything unexpected ends in one line, too, with the way to see more."""
    try:
        _root()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("QA_LOG_LEVEL", "").lower() == "debug":
            raise
        click.echo(
            f"Error: {type(error).__name__}: {error} (unexpected; set QA_LOG_LEVEL=debug to see where)",
            err=True,
        )
        sys.exit(1)


def _is_ours(error: Exception) -> bool:
    """Whether the error is one this package defines: a failure it foresaw, with a line for the user."""
    return type(error).__module__.split(".")[0] == "qa_service"


def _explain_settings(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        message = problem["msg"].removeprefix("Value error, ")
        name = "_".join(str(part) for part in problem["loc"]).upper()
        problems.append(f"QA_{name}: {message}" if name else message)  # else the message names the settings
    return "; ".join(problems)
