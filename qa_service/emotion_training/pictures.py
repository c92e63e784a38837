"""Pictures of an evaluation: calibration, confusion, and how well anger is ranked.

The drawing library is an optional extra (`qa-service[emotion]`): nothing at run time needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.emotion.model import CLASSES, EMITTED
from qa_service.emotion_training.errors import PicturesUnavailableError
from qa_service.emotion_training.evaluation import Evaluation
from qa_service.emotion_training.figures import (
    BASE_RATE,
    CALIBRATION_BINS,
    UNSURE,
    Scored,
    anger_auc,
    calibration,
    confusion,
    expected_calibration_error,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = npt.NDArray[np.float64]

_DPI: Final = 110
_INK: Final = "#1f4e79"
_PALE: Final = "#9aa5b1"


def draw(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `calibration.png`, `confusion.png` and `anger.png` into `folder`; gives their paths.

    Raises:
        PicturesUnavailableError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, width, drawn in (
        ("calibration", 1, (_draw_calibration,)),
        ("confusion", 1.4, (_draw_confusion,)),
        ("anger", 2, (_draw_roc, _draw_precision)),
    ):
        figure = Figure(figsize=(4.6 * width, 4.2), dpi=_DPI, layout="constrained")
        for axes, draw_into in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
            draw_into(axes, evaluation.scored)
        path = folder / f"{name}.png"
        figure.savefig(path, metadata={"Software": None})
        written.append(path)
    return written


def require_matplotlib() -> None:
    """Fail early, before hours of listening, if pictures cannot be drawn.

    Raises:
        PicturesUnavailableError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - an optional extra
    except ImportError as error:
        raise PicturesUnavailableError(
            "pictures need matplotlib, which is not installed: pip install 'qa-service[emotion]'"
        ) from error


def _draw_calibration(axes: Axes, scored: Scored) -> None:
    bins = calibration(scored)
    edges = np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
    accuracy = [0.0 if entry is None else entry.accuracy for entry in bins]
    axes.bar(edges, accuracy, 1 / CALIBRATION_BINS, align="edge", color=_INK, alpha=0.85, edgecolor="white")
    axes.plot([0, 1], [0, 1], color=_PALE, linestyle="--", label="as confident as right")
    for left, entry, height in zip(edges, bins, accuracy, strict=True):
        if entry is not None:
            middle = left + 0.5 / CALIBRATION_BINS
            axes.annotate(str(entry.utterances), (middle, height), ha="center", va="bottom", fontsize=8)
    axes.axvline(scored.min_confidence, color="#b03a2e", linewidth=1, label="below: no label")
    _finish(axes, f"Calibration, error {_told(expected_calibration_error(scored))}")
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.08))
    axes.legend(loc="upper left", fontsize=8, frameon=False)


def _draw_confusion(axes: Axes, scored: Scored) -> None:
    table = confusion(scored)
    rows = [name for name in CLASSES if name in table]
    said = {label for counts in table.values() for label in counts}
    columns = [name for name in (*EMITTED, UNSURE) if name in said or name in rows]
    counts = np.array([[table[row].get(column, 0) for column in columns] for row in rows])
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.55 else "black"  # noqa: PLR2004 - legible on the blue
            axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="label given", ylabel="acted", title="Labels")


def _draw_roc(axes: Axes, scored: Scored) -> None:
    found, false = _operating_points(scored)
    axes.plot([0, 1], [0, 1], color=_PALE, linestyle="--")
    axes.plot(false, found, color=_INK)
    _finish(axes, f"Angry against the rest, AUC {_told(anger_auc(scored))}")
    axes.set(xlabel="false alarms", ylabel="angry found", xlim=(0, 1), ylim=(0, 1.02))


def _draw_precision(axes: Axes, scored: Scored) -> None:
    found, false = _operating_points(scored)
    for base_rate, ink in ((BASE_RATE, _INK), (0.1, _PALE)):
        alarms = base_rate * found + (1 - base_rate) * false
        some = alarms > 0
        axes.plot(
            found[some],
            (base_rate * found)[some] / alarms[some],
            color=ink,
            label=f"if {100 * base_rate:.0f} % are angry",
        )
    _finish(axes, "Alarms on single utterances")
    axes.set(xlabel="angry found", ylabel="alarms that are right", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize=8, frameon=False)


def _operating_points(scored: Scored) -> tuple[Float, Float]:
    """For every threshold, from the strictest: the share of angry found, and of others alarmed on."""
    angry = scored.emotion == CLASSES.index("angry")
    thresholds = np.unique(scored.anger)[::-1]
    points: Any = [
        np.concatenate([[0.0], _share_at_least(scored.anger[group], thresholds)]) for group in (angry, ~angry)
    ]
    return points[0], points[1]


def _share_at_least(scores: Float, thresholds: Float) -> Float:
    if not scores.size:
        return np.zeros(len(thresholds))
    return 1 - np.searchsorted(np.sort(scores), thresholds, side="left") / scores.size


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e5e8ec", linewidth=0.7)
    axes.set_axisbelow(True)


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
