"""``qa-service emotion norm``: what an asr-server has learnt of its service's voices."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from qa_service.asr_server.emotion import WEIGHTS_PATH
from qa_service.asr_server.emotion.model import Weights
from qa_service.asr_server.emotion_memory import FILE_NAME, StoredPast, read, restored
from qa_service.asr_server.emotion_recogniser import ServicePast, digest_of
from qa_service.cli.configuration import state_dir
from qa_service.settings import Settings

_SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.5)  # of the angriest, of which the lowest score is shown


@click.command(
    epilog="""\b
Examples:
  qa-service emotion norm
  qa-service emotion norm --json --state-dir /var/lib/qa-service | jq .anger_scores"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder of the server's state; default: QA_SERVER_STATE_DIR.",
)
def norm(*, as_json: bool, state_dir: Path | None) -> None:
    """Print what the asr-server has learnt of its service's voices.

    It is what an utterance is compared with: how usual voices sound, and how angry recent utterances were.
    A running server writes it down once a minute.
    """
    path = (state_dir or _configured_folder()) / FILE_NAME
    try:
        stored = read(path)
        weights = Weights.load(Settings().server_emotion_weights or WEIGHTS_PATH)
        facts = None if stored is None else describe(stored, weights, now_s=time.time())
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be used: {error}") from error
    if facts is None:
        raise click.ClickException(f"{path} is not there: nothing has been learnt yet")
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo("\n".join(f"{name:26}{value}" for name, value in _in_words(facts)))


def describe(stored: StoredPast, weights: Weights, *, now_s: float) -> dict[str, Any]:
    """The facts that are shown, by name; ``now_s`` are Unix seconds."""
    past = restored(stored, ServicePast.empty(weights))
    per_day = past.traffic.per_day(now_s)
    return {
        "utterances": past.judged,
        "utterances_a_day": None if per_day is None else round(per_day, 1),
        "weights": stored.weights,
        "weights_are_in_use": stored.weights == digest_of(weights).hex(),
        "norm": {
            "utterances": past.norm.count,
            "trust": round(past.norm.trust, 3),
            "shift": round(float(np.sqrt(np.mean(past.norm.mean**2))), 3),
            "spread": round(float(np.sqrt(np.median(past.norm.variance))), 3),
        },
        "anger_scores": {
            "utterances": len(past.scores),
            "begins_at": {
                f"{share:.0%}": None if (score := past.scores.score_at(share)) is None else round(score, 2)
                for share in _SHARES
            },
        },
    }


def _configured_folder() -> Path:
    folder = state_dir(Settings())
    if folder is None:
        raise click.UsageError("the asr-server keeps no state: set QA_SERVER_STATE_DIR, or pass --state-dir")
    return folder


def _in_words(facts: dict[str, Any]) -> list[tuple[str, str]]:
    norm, scores, a_day = facts["norm"], facts["anger_scores"], facts["utterances_a_day"]
    return [
        ("utterances judged", f"{facts['utterances']}"),
        ("at present", "known after an hour" if a_day is None else f"{a_day:g} a day"),
        (
            "weights",
            facts["weights"][:12]
            + ("" if facts["weights_are_in_use"] else " (not those of this version: it will begin anew)"),
        ),
        (
            "norm of the service",
            f"of the last {norm['utterances']} utterances; counts {norm['trust']:.0%}, that one the rest",
        ),
        ("  shift", f"{norm['shift']:g} (root mean square; 0: as the training data, 1: far from them)"),
        ("  spread", f"{norm['spread']:g} (1: as the training data)"),
        ("anger scores", f"of the last {scores['utterances']} utterances that are ranked against"),
        *(
            (f"  angriest {share}", "not known yet" if score is None else f"from {score:g} on")
            for share, score in scores["begins_at"].items()
        ),
    ]
