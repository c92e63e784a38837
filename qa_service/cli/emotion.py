"""``qa-service emotion``: the emotion model trained on recordings of one's own, measured, and looked at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qa_service.asr_server.emotion import WEIGHTS_PATH
from qa_service.asr_server.emotion.encoder import Ear
from qa_service.asr_server.emotion.model import EMITTED, Weights
from qa_service.cli.configuration import cache_dir
from qa_service.cli.emotion_corrections import correct, manifest
from qa_service.cli.emotion_norm import norm
from qa_service.emotion_training import Evaluation, Trained, evaluate, read_manifest, train, write
from qa_service.emotion_training.figures import Figure
from qa_service.emotion_training.hearing import Progress as OnClip
from qa_service.emotion_training.pictures import draw, require_matplotlib
from qa_service.models import ensure
from qa_service.settings import Settings

_MANIFEST = click.argument("manifest", type=click.Path(path_type=Path, exists=True))
_IN_WORDS = {
    "unweighted_recall": "recall, mean over labels",
    "anger_auc": "AUC, angry against the rest",
    "arousal_auc": "AUC, aroused against calm",
    "calibration_error": "calibration error",
    "alarm_precision": "precision of alarms at 2 % angry, half found",
    "alarm_precision_averaged": "the same, scores averaged over three",
    "abstention_share": "share without a label",
}


@click.group()
def emotion() -> None:
    """Train and measure the emotion model; see what a server has learnt (docs/emotion.md)."""


for _command in (norm, correct, manifest):
    emotion.add_command(_command)


@emotion.command(
    "train",
    epilog="""\b
MANIFEST is a JSON Lines file, or the folder that holds it as manifest.jsonl; a line is one recording of one
utterance (WAV or FLAC, one channel, any rate), its path relative to the manifest:
  {"file": "call-17.wav", "speaker": "c4", "emotion": "angry"}
Emotions: angry, happy, sad, neutral, fearful, disgusted, surprised, and boredom, which is learnt but never
given as a label. "full_length": false marks a cut. Angry and neutral are needed; 20 recordings of 3 speakers
of each emotion at least.
Then:
  QA_SERVER_EMOTION_WEIGHTS=emotion-weights.npz qa-service asr-server""",
)
@_MANIFEST
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("emotion-weights.npz"),
    show_default=True,
    help="Where the weights go; their provenance goes beside them, as .json.",
)
@click.option("--hold-out", multiple=True, metavar="SPEAKER", help="Not to learn from; may be repeated.")
@click.option("--name", help="The corpus's name, for the provenance.")
@click.option("--licence", help="The corpus's licence, for the provenance.")
def train_command(
    manifest: Path, *, out: Path, hold_out: tuple[str, ...], name: str | None, licence: str | None
) -> None:
    """Learn from labelled recordings; tells what the weights are worth on speakers they have not heard."""
    _check_target(out)
    corpus = read_manifest(manifest)
    about = {key: value for key, value in (("name", name), ("licence", licence)) if value}
    with _progress() as progress:
        trained = train(corpus, _ear(), progress, hold_out=hold_out, about=about)
    provenance = write(trained, out)
    click.echo(_training_in_words(trained))
    click.echo(f"Written: {out}, {provenance}")


def _check_target(out: Path) -> None:
    """Fail before minutes of listening if what they lead to could not be written."""
    if out.suffix != ".npz":
        raise click.BadParameter(f"{out}: expected a name that ends in .npz", param_hint="--out")
    if not os.access(out.parent, os.W_OK):
        raise click.BadParameter(f"the folder {out.parent} is not there or not writable", param_hint="--out")


def _training_in_words(trained: Trained) -> str:
    corpus = trained.provenance["corpus"]
    counts = ", ".join(f"{n} {label}" for label, n in corpus["utterances"].items())
    held_out = ", ".join(corpus["held_out_speakers"])
    figures = trained.provenance["figures"]
    unheard, bad_line = figures["unheard_speakers"], figures["unheard_speakers_bad_line"]
    lines = [
        f"Recordings: {counts}" + (f"; not learnt from: those of {held_out}" if held_out else ""),
        "On speakers that were not learnt from:",
        *(f"  {_IN_WORDS[key]:46} {_told(Figure(**unheard[key]))}" for key in _IN_WORDS if key in unheard),
        f"  {'AUC, angry, on a noisy Opus-coded line':46} {_told(Figure(**bad_line['anger_auc']))}",
    ]
    if trained.missing_labels:
        missing = ", ".join(trained.missing_labels)
        lines.append(f"These labels can never come, since there were no recordings of them: {missing}")
    return "\n".join(lines)


@emotion.command(
    "evaluate",
    epilog="""\b
Examples:
  qa-service emotion evaluate own-calls/                     the shipped weights on one's own calls
  qa-service emotion evaluate own-calls/ --as-calls --pictures pictures/
  qa-service emotion evaluate own-calls/ --weights emotion-weights.npz --json
Measure on speakers that the weights have not learnt from; the format of MANIFEST stands in
`qa-service emotion train --help`.""",
)
@_MANIFEST
@click.option(
    "--weights",
    "weights_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Default: those of QA_SERVER_EMOTION_WEIGHTS, else the shipped ones.",
)
@click.option("--as-calls", is_flag=True, help="Each speaker's recordings, in order, are one call.")
@click.option("--bad-line", is_flag=True, help="With noise, Opus at 6 to 12 kbit/s and a narrow band.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--pictures", type=click.Path(path_type=Path, file_okay=False), help="Draw calibration, labels, ranking."
)
def evaluate_command(
    manifest: Path,
    *,
    weights_path: Path | None,
    as_calls: bool,
    bad_line: bool,
    as_json: bool,
    pictures: Path | None,
) -> None:
    """Measure weights on labelled recordings: recall, ranking, calibration, alarms, with intervals."""
    if pictures:
        require_matplotlib()
    weights = _load(weights_path or Settings().server_emotion_weights or WEIGHTS_PATH)
    corpus = read_manifest(manifest)
    with _progress() as progress:
        evaluation = evaluate(corpus, weights, _ear(), progress, as_calls=as_calls, bad_line=bad_line)
    click.echo(json.dumps(evaluation.as_json(), indent=2) if as_json else _evaluation_in_words(evaluation))
    for path in draw(evaluation, pictures) if pictures else ():
        click.echo(f"Drawn: {path}", err=True)


def _evaluation_in_words(evaluation: Evaluation) -> str:
    told = evaluation.as_json()
    lines = [f"{told['utterances']} utterances of {told['speakers']} speakers judged"]
    lines += [f"  {count} not judged: {why}" for why, count in evaluation.refused.items()]
    if evaluation.conditions["cut_to_2_s"]:
        lines.append("  all cut to 2 s, since some are cuts, or since they were altered")
    lines += [f"{_IN_WORDS[name]:46} {_told(figure)}" for name, figure in evaluation.figures.items()]
    return "\n".join([*lines, "", *_table(told["labels"])])


def _table(labels: dict[str, dict[str, int]]) -> Iterator[str]:
    """Which labels each true class got, as lines of text."""
    columns = [*(label for label in EMITTED if any(label in counts for counts in labels.values())), "unsure"]
    yield f"{'acted':10}" + "".join(f"{column:>10}" for column in columns)
    for name, counts in labels.items():
        yield f"{name:10}" + "".join(f"{counts.get(column, 0) or '':>10}" for column in columns)


def _told(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    interval = "" if figure.low is None else f"  ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.value:.3f}{interval}"


def _load(path: Path) -> Weights:
    try:
        return Weights.load(path)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _ear() -> Ear:
    return Ear(ensure("whisper-base-layer3", cache_dir(Settings()), lambda line: click.echo(line, err=True)))


@contextmanager
def _progress() -> Iterator[OnClip]:
    """A bar on standard error, and what moves it."""
    columns: tuple[Any, ...] = (
        TextColumn("listening"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("listening", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
