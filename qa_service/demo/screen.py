"""What the demo prints: a line an utterance, a line or a few an alert, readable with and without colours.

Times are call time and say when the speech, or the incident's change, ended. Of an incident each line says
only what the lines before it did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from qa_service.domain.redaction import REPLACEMENTS

_EMOTION_STYLES = {
    "angry": "bold red",
    "fearful": "magenta",
    "disgusted": "magenta",
    "sad": "blue",
    "happy": "green",
    "surprised": "yellow",
    "neutral": "dim",
}
_ROLE_STYLES = {"customer": "bold cyan", "agent": "bold white", "other": "white"}
_SEVERITY_STYLES = {
    "low": "black on white",
    "medium": "black on yellow",
    "high": "white on red",
    "critical": "bold white on red",
}
_ABSTAINED = "-"

# Columns.
_CALL_WIDTH = 18
_TIME_WIDTH = 7
_ROLE_WIDTH = 8
_LANGUAGE_WIDTH = 2
_MOOD_WIDTH = 14
_LEAST_WORDS_WIDTH = 40
"""With fewer columns left of the terminal, long words are not indented: they would be a ribbon."""


class Screen:
    """Prints events as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._line_above: str | None = None
        """Utterance that was printed last."""
        self._shown_of: dict[str, set[str | int]] = {}
        """Per incident, the evidence that was told of."""

    def step(self, what: str) -> None:
        """Say what is being set up."""
        self._console.print(Text(f"  · {what}", style="dim"))

    def headline(self, text: str) -> None:
        """Begin a section."""
        self._console.print()
        self._console.print(Text(text, style="bold"), soft_wrap=True)

    def line(self, text: str = "", *, style: str = "") -> None:
        """Print a plain line, as it is, so that it can be pasted."""
        self._console.print(Text(text, style=style), soft_wrap=True)

    def legend(self) -> None:
        """Head the columns, and explain the marks that stand in them."""
        notes = {
            _ABSTAINED: "the model would not name an emotion; agents it is never asked about",
            REPLACEMENTS["card_fragment"]: "digits that might go on as a card number; they are not stored",
        }
        for mark, meaning in notes.items():
            self.line(f"  {mark:10}{meaning}", style="dim")
        self._console.print()
        widths = {"call": _CALL_WIDTH, "ended": _TIME_WIDTH, "speaker": _ROLE_WIDTH, "": _LANGUAGE_WIDTH}
        names = "".join(_column(name, width) for name, width in widths.items())
        self.line(names + _column("emotion", _MOOD_WIDTH) + "words", style="dim")

    def utterance(self, data: dict[str, Any]) -> None:
        """Print what was said, by whom, how."""
        head = _place(data["call_id"], data["end_ms"])
        head.append(_column(data["role"], _ROLE_WIDTH), style=_ROLE_STYLES.get(data["role"], ""))
        head.append(_column(data["language"] or "?", _LANGUAGE_WIDTH), style="dim")
        head.append(_mood(data))
        self._row(head, Text(data["text"]))
        self._line_above = data["utterance_id"]

    def alert(self, data: dict[str, Any]) -> None:
        """Print what is new of an incident, unless that is nothing."""
        told = self._shown_of.setdefault(data["incident_id"], set())
        news = [piece for piece in data["evidence"] if _key(piece) not in told]
        told.update(map(_key, news))
        if data["state"] == "closed" and data["closed_ms"] == data["opened_ms"] and not news:
            return  # over as soon as it began, as a mere notice is: the line of its opening says it all
        head = _place(data["call_id"], data["updated_ms"])
        self._row(head, _title(data, pieces=len(told)))
        if [_key(piece) for piece in news] != [self._line_above]:
            for piece in news:
                self._row(*_evidence(piece))

    def _row(self, head: Text, words: Text) -> None:
        """Print a row whose words, on a terminal, stay in their column."""
        room = self._console.width - head.cell_len
        if not self._console.is_terminal or room < _LEAST_WORDS_WIDTH:
            self._console.print(head + words, soft_wrap=True)
            return
        for line in words.wrap(self._console, room) or [words]:
            line.rstrip()
            self._console.print(head + line, soft_wrap=True)
            head = Text(" " * head.cell_len)


def _column(text: str, width: int) -> str:
    return f"{text[:width]:{width}} "


def _call_time(at_ms: int) -> str:
    tenths = max(at_ms, 0) // 100
    return f"{tenths // 600:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def _place(call_id: str, at_ms: int) -> Text:
    return Text().append(_column(call_id, _CALL_WIDTH) + _column(_call_time(at_ms), _TIME_WIDTH), style="dim")


def _mood(data: Mapping[str, Any]) -> Text:
    emotion, confidence = data["emotion"], data["emotion_confidence"]
    if not emotion:
        return Text(_column(_ABSTAINED if data.get("emotion_abstained") else "", _MOOD_WIDTH), style="dim")
    shown = emotion if confidence is None else f"{emotion} {confidence:.2f}"
    return Text(_column(shown, _MOOD_WIDTH), style=_EMOTION_STYLES.get(emotion, ""))


def _title(data: dict[str, Any], *, pieces: int) -> Text:
    if data["state"] == "opened":
        style = _SEVERITY_STYLES.get(data["severity"], "")
        label = Text(f" OPENED {data['rule_id']} ", style=style)
        return Text.assemble(label, f" {data['severity']} · {data['description']}")
    newest = data["evidence"][-1]
    extent = f"silence of {(newest['end_ms'] - newest['start_ms']) / 1000:.1f} s"
    if newest["text"] is not None:
        extent = "1 utterance" if pieces == 1 else f"{pieces} utterances"
    return Text(f" {data['state']} {data['rule_id']} · {extent}", style="dim")


def _evidence(piece: dict[str, Any]) -> tuple[Text, Text]:
    if piece["text"] is None:
        indent = " " * (_place("", 0).cell_len + 1)
        return Text(indent), Text(f"silence since {_call_time(piece['start_ms'])}", style="yellow")
    head = _place("", piece["end_ms"])
    head.append(_column(piece["role"], _ROLE_WIDTH) + _column("", _LANGUAGE_WIDTH), style="dim")
    return head.append(_mood(piece)), Text(f"“{piece['text']}”", style="yellow")


def _key(piece: dict[str, Any]) -> str | int:
    """What a piece of evidence is known by: a silence grows at its end."""
    key: str | int = piece["utterance_id"] or piece["start_ms"]
    return key
