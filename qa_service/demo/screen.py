"""What the demo prints: one line an utterance, one block an alert, readable with and without colours."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

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
_NAME_WIDTH = 18


class Screen:
    """Prints events as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, what: str) -> None:
        """Say what is being set up."""
        self._console.print(Text(f"  · {what}", style="dim"))

    def headline(self, text: str) -> None:
        """Begin a section."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def line(self, text: str = "") -> None:
        """Print a plain line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def utterance(self, data: dict[str, Any]) -> None:
        """Print what was said, by whom, how."""
        line = _place(data["call_id"], data["start_ms"])
        line.append(f"{data['role']:9}", style=_ROLE_STYLES.get(data["role"], ""))
        line.append(f"{data['language'] or '?':3}", style="dim")
        line.append(_mood(data))
        line.append(data["text"])
        self._console.print(line, soft_wrap=True)

    def alert(self, data: dict[str, Any]) -> None:
        """Print a new state of an incident with what it rests on."""
        line = _place(data["call_id"], data["updated_ms"])
        style = _SEVERITY_STYLES.get(data["severity"], "") if data["state"] == "opened" else "dim"
        line.append(f" {data['state'].upper()} {data['rule_id']} ", style=style)
        line.append(
            f" {data['severity']} · {data['description']}", style="" if data["state"] == "opened" else "dim"
        )
        self._console.print(line, soft_wrap=True)
        if data["state"] == "opened":
            for evidence in data["evidence"]:
                self._console.print(_evidence(evidence), soft_wrap=True)


def _place(call_id: str, at_ms: int) -> Text:
    minutes, rest = divmod(max(at_ms, 0), 60_000)
    return Text.assemble((f"{call_id[:_NAME_WIDTH]:{_NAME_WIDTH}} {minutes:02}:{rest / 1000:04.1f} ", "dim"))


def _mood(data: dict[str, Any]) -> Text:
    if data["emotion"]:
        confidence = data["emotion_confidence"]
        shown = data["emotion"] + ("" if confidence is None else f" {confidence:.2f}")
        return Text(f"{shown:15}", style=_EMOTION_STYLES.get(data["emotion"], ""))
    return Text(f"{'(abstained)' if data['emotion_abstained'] else '':15}", style="dim")


def _evidence(evidence: dict[str, Any]) -> Text:
    line = Text(" " * (_NAME_WIDTH + 9))
    if evidence["text"] is None:
        line.append(
            f"silence from {evidence['start_ms'] / 1000:.1f} s to {evidence['end_ms'] / 1000:.1f} s",
            style="yellow",
        )
        return line
    line.append(f"{evidence['role']}: ", style="dim")
    line.append(f"“{evidence['text']}”", style="yellow")
    if evidence["emotion"]:
        line.append(f" {evidence['emotion']}", style=_EMOTION_STYLES.get(evidence["emotion"], ""))
    return line
