"""One utterance on its way from its first sound to its final text: what is known and what is asked.

Decided here: when the next look is due (a second of new sound, more under load or if looks are slow), that
stable text stands still while a final is being decoded with it as its beginning, and which speculative final
may become the final.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from qa_service.asr_server.agreement import Agreement, Shown
from qa_service.asr_server.engines import Hints
from qa_service.asr_server.recognition import Finding, UtteranceRecogniser
from qa_service.asr_server.scheduler import Job
from qa_service.asr_server.segmenter import CAP_MS, CUT_SEARCH_MS

FIRST_LOOK_MS: Final = (
    400  # of sound after the onset: about a word; with its decoding, 0.7 s until it is shown
)
_SENTENCE_GAP_MS: Final = 2_000  # a pause inside a number or a sentence; after more, something new is said
_LANGUAGE_SOUND_MS: Final = 2_000  # padding included; below, detection errs even where it is sure
_CLEAR: Final = 0.95  # probability of a language that more sound of the same utterance does not change
_LOOK_SHARE: Final = 0.5  # of real time that looks at one utterance may take at most
# Sound that may yet be cut off and go to the next utterance must not enter this one's stable text.
_LAST_LOOK_MS: Final = CAP_MS - CUT_SEARCH_MS


@dataclass(frozen=True, slots=True)
class Said:
    """The last final of a session, and where its speech ended."""

    text: str = ""
    end_ms: int = 0

    def before(self, start_ms: int) -> str:
        """What of it an utterance that begins at ``start_ms`` goes on with: "" after a longer pause."""
        return self.text if start_ms - self.end_ms <= _SENTENCE_GAP_MS else ""


@dataclass(frozen=True, slots=True)
class Speculation:
    """A final decoded ahead: it holds if the silence that began at ``speech_end_ms`` goes on."""

    job: Job[Finding]
    speech_end_ms: int


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """The state of one utterance."""

    item_id: str
    start_ms: int
    recogniser: UtteranceRecogniser
    # What the client has told of it; the session adds what it has learnt.
    hints: Hints
    # Whether anybody may listen for an emotion in it.
    emotion_on: bool
    agreement: Agreement = field(default_factory=Agreement)
    # The look that waits or runs.
    look: Job[Finding] | None = None
    # Time at which the next look is due.
    look_due_ms: int = 0
    # The final that is being decoded ahead of the end of the silence.
    speculation: Speculation | None = None
    # What its language is, once that is clear.
    language_heard: Mapping[str, float] = field(default_factory=dict)
    # Whether its audio has ended: looks are of no use any more.
    ended: bool = False

    def wants_look(self, heard_ms: int) -> bool:
        """Whether a look is due at ``heard_ms`` and none is running."""
        return (
            not self.ended
            and self.speculation is None
            and heard_ms >= self.look_due_ms
            and heard_ms - self.start_ms < _LAST_LOOK_MS
            and (self.look is None or not self.look.running)
        )

    def plan_look(self, heard_ms: int, interval_s: float) -> None:
        """A look was asked for with the sound up to ``heard_ms``; the next may come ``interval_s`` later."""
        self.look_due_ms = heard_ms + round(1000 * interval_s)

    def learn_cost(self, heard_ms: int, cost_s: float) -> None:
        """A look at the sound up to ``heard_ms`` took ``cost_s`` seconds: slow ones are made less often."""
        self.look_due_ms = max(self.look_due_ms, heard_ms + round(1000 * cost_s / _LOOK_SHARE))

    def learn_language(self, heard_ms: int, probabilities: Mapping[str, float]) -> None:
        """A look at the sound up to ``heard_ms`` has detected a language: if it is clear, that is enough."""
        if (
            heard_ms - self.start_ms >= _LANGUAGE_SOUND_MS
            and max(probabilities.values(), default=0.0) >= _CLEAR
        ):
            self.language_heard = probabilities

    def take(self, hypothesis: str) -> Shown:
        """What to show for what a look has found."""
        if self.ended or self.speculation is not None:
            # A final is being decoded that begins with the stable text as it is now.
            return self.agreement.show(hypothesis)
        return self.agreement.observe(hypothesis)
