"""What the screen says of events, and what it leaves out because a line above has said it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from qa_service.demo.screen import Screen


class Shown:
    """A screen, and the lines on it."""

    def __init__(self, *, width: int = 120, terminal: bool = False) -> None:
        self._written = io.StringIO()
        console = Console(file=self._written, width=width, force_terminal=terminal, color_system=None)
        self.screen = Screen(console)

    @property
    def lines(self) -> list[str]:
        return self._written.getvalue().splitlines()


def utterance(utterance_id: str, text: str = "Hello.", **fields: Any) -> dict[str, Any]:
    return {
        "utterance_id": utterance_id,
        "call_id": "a-call",
        "role": "customer",
        "language": "en",
        "emotion": None,
        "emotion_confidence": None,
        "emotion_abstained": False,
        "start_ms": 1_000,
        "end_ms": 2_500,
        "text": text,
    } | fields


def evidence(utterance_id: str | None, text: str | None = "Hello.", **fields: Any) -> dict[str, Any]:
    return {
        "utterance_id": utterance_id,
        "role": "customer",
        "text": text,
        "start_ms": 1_000,
        "end_ms": 2_500,
        "emotion": None,
        "emotion_confidence": None,
    } | fields


def alert(state: str, *pieces: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "incident_id": "incident",
        "call_id": "a-call",
        "rule_id": "some-rule",
        "severity": "high",
        "description": "Something happened.",
        "state": state,
        "opened_ms": 2_500,
        "updated_ms": 2_500,
        "closed_ms": None,
        "evidence": pieces,
    } | fields


def test_an_utterance_is_placed_at_its_end():
    shown = Shown()

    shown.screen.utterance(utterance("u1", start_ms=58_000, end_ms=59_990))

    assert "00:59.9" in shown.lines[0]


@pytest.mark.parametrize(
    ("fields", "mood"),
    [
        ({"emotion": "angry", "emotion_confidence": 0.876}, "angry 0.88"),
        ({"emotion": "angry"}, "angry"),
        ({"emotion_abstained": True}, "-"),
        ({"role": "agent"}, ""),
    ],
)
def test_an_emotion_is_shown_where_there_is_one(fields: dict[str, Any], mood: str):
    shown = Shown()

    shown.screen.utterance(utterance("u1", **fields))

    assert shown.lines[0].partition(" en ")[2].removesuffix("Hello.").strip() == mood


def test_the_words_stand_under_the_heading_of_their_column():
    shown = Shown()

    shown.screen.legend()
    shown.screen.utterance(utterance("u1", "Hello."))

    assert shown.lines[-2].index("words") == shown.lines[-1].index("Hello.")


def test_the_legend_explains_each_mark():
    shown = Shown()

    shown.screen.legend()

    assert [line.split()[0] for line in shown.lines[:2]] == ["-", "[number]"]


def test_only_the_place_of_an_utterance_is_dim():
    written = io.StringIO()
    screen = Screen(Console(file=written, width=120, force_terminal=True, color_system="standard"))

    screen.utterance(utterance("u1", "Hello.", role="other", language="en"))

    dim, _, rest = written.getvalue().partition("\x1b[0m")
    assert dim.startswith("\x1b[2ma-call")
    assert rest.rstrip().endswith("Hello.")


def test_on_a_terminal_long_words_stay_in_their_column():
    shown = Shown(width=100, terminal=True)

    shown.screen.utterance(utterance("u1", "word " * 30))

    assert len(shown.lines) > 1
    assert {line.index("word") for line in shown.lines} == {shown.lines[0].index("word")}
    assert all(len(line) <= 100 for line in shown.lines)


def test_in_a_file_an_utterance_is_one_line():
    shown = Shown(width=80)

    shown.screen.utterance(utterance("u1", "word " * 30))

    assert len(shown.lines) == 1


def test_an_utterance_without_words_has_its_line():
    shown = Shown(terminal=True)

    shown.screen.utterance(utterance("u1", ""))

    assert len(shown.lines) == 1


def test_what_an_alert_rests_on_is_not_repeated_under_its_own_line():
    shown = Shown()

    shown.screen.utterance(utterance("u1"))
    shown.screen.alert(alert("opened", evidence("u1")))

    assert [line.count("Hello.") for line in shown.lines] == [1, 0]


def test_what_an_alert_rests_on_is_quoted_when_other_lines_came_between():
    shown = Shown()

    shown.screen.utterance(utterance("u1"))
    shown.screen.utterance(utterance("u2", "Goodbye."))
    shown.screen.alert(alert("opened", evidence("u1")))

    assert shown.lines[-1].endswith("“Hello.”")


def test_all_is_quoted_of_an_alert_that_rests_on_several_utterances():
    shown = Shown()

    shown.screen.utterance(utterance("u1"))
    shown.screen.utterance(utterance("u2", "Goodbye."))
    shown.screen.alert(alert("opened", evidence("u1"), evidence("u2", "Goodbye.")))

    assert [line[-9:].strip() for line in shown.lines[-2:]] == ["“Hello.”", "“Goodbye.”"[-9:]]


def test_an_update_tells_only_what_is_new():
    shown = Shown()

    shown.screen.alert(alert("opened", evidence("u1", "First.")))
    shown.screen.alert(alert("updated", evidence("u1", "First."), evidence("u2", "Second.")))

    assert shown.lines[2].endswith(" updated some-rule · 2 utterances")
    assert shown.lines[3].endswith("“Second.”")
    assert len(shown.lines) == 4


def test_evidence_that_the_event_no_longer_carries_is_counted_still():
    shown = Shown()

    shown.screen.alert(alert("opened", evidence("u1")))
    shown.screen.alert(alert("closed", evidence("u2"), closed_ms=9_000))

    assert shown.lines[2].endswith(" closed some-rule · 2 utterances")


def test_an_incident_that_is_over_at_once_has_no_line_for_its_end():
    shown = Shown()

    shown.screen.alert(alert("opened", evidence("u1")))
    before = shown.lines
    shown.screen.alert(alert("closed", evidence("u1"), closed_ms=2_500))

    assert shown.lines == before


def test_a_silence_says_since_when_and_at_its_end_how_long():
    shown = Shown()

    shown.screen.alert(alert("opened", evidence(None, None, start_ms=27_600, end_ms=37_600)))
    closing = evidence(None, None, start_ms=27_600, end_ms=40_600)
    shown.screen.alert(alert("closed", closing, closed_ms=40_600))

    assert shown.lines[1].strip() == "silence since 00:27.6"
    assert shown.lines[2].endswith(" closed some-rule · silence of 13.0 s")
    assert len(shown.lines) == 3


def test_a_plain_line_is_printed_as_it_is():
    shown = Shown()

    shown.screen.line("  . /tmp/[red]/env")

    assert shown.lines == ["  . /tmp/[red]/env"]
