"""``qa-service emotion correct`` and ``emotion manifest``: labels by people, as material to learn from."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from qa_service.asr_server.emotion.model import CLASSES
from qa_service.cli.reaching import AS_JSON, ask, by_option, to_json
from qa_service.emotion_training.recordings import write_corpus
from qa_service.storage.judgements import correct_emotion, read_corrections


@click.command(
    epilog="""\b
Examples:
  qa-service emotion correct 7a31c0de angry
  qa-service emotion correct 7a31c0de neutral --by kim
The ids stand in alerts, on the transcripts topic and in report.emotion_timeline."""
)
@click.argument("utterance")
@click.argument("label", type=click.Choice(CLASSES))
@by_option("listened")
@AS_JSON
def correct(utterance: str, label: str, *, by: str, as_json: bool) -> None:
    """Note what an utterance sounds like to a person; UTTERANCE is an id or the beginning of one.

    The recogniser's label stays where it is. The newest correction of an utterance counts.
    """
    found = ask(lambda database: correct_emotion(database, utterance, label, by=by))
    if as_json:
        click.echo(to_json({"utterance_id": found, "emotion": label, "by": by}))
    else:
        click.echo(f"{found} is {label}, says {by}")


@click.command(
    epilog="""\b
Examples:
  qa-service emotion manifest --json                                  what was corrected
  qa-service emotion manifest --recordings 'rec/{call_id}-{leg}.wav' --out corrected/
  qa-service emotion train corrected/
Recordings are WAV or FLAC, one channel and one file a leg, from the leg's first sample on."""
)
@click.option(
    "--recordings", metavar="TEMPLATE", help="Where a leg's recording is: a path with {call_id} and {leg}."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for clips and manifest.jsonl."
)
@AS_JSON
def manifest(*, recordings: str | None, out: Path | None, as_json: bool) -> None:
    """Export corrected utterances as a folder that `emotion train` takes.

    Each is cut out of its leg's recording, which your platform keeps; speakers are told apart by the leg's
    subject, else by call and leg.
    """
    corrections = ask(read_corrections)
    if as_json and recordings is None:
        click.echo(to_json([msgspec.structs.asdict(correction) for correction in corrections]))
        return
    if recordings is None or out is None:
        raise click.UsageError("give --recordings TEMPLATE and --out FOLDER, or --json alone to look")
    if not corrections:
        raise click.ClickException("no emotion was corrected yet: see `qa-service emotion correct --help`")
    unused: list[str] = []
    path = write_corpus(corrections, recordings, out, unused.append)
    for line in unused:
        click.echo(f"left out: {line}", err=True)
    written = len(corrections) - len(unused)
    if as_json:
        click.echo(to_json({"manifest": path, "utterances": written, "left_out": unused}))
    else:
        click.echo(f"{written} utterances in {path}")
    if not written:
        raise click.ClickException("no recording could be used: check --recordings")
