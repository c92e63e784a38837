"""A recogniser that misbehaves on purpose: which session suffers what, and what becomes of each message.

Decided here and nowhere else; nothing here waits, sends or closes. Sessions are counted from 1 in the order
in which their handshakes come. Chance is drawn per session and fault from the plan's seed, so the same
handshakes and the same messages meet the same faults.

    plan = FaultPlan(rules=(FaultRule(fault=Strike(deed=Drop(), moment=Moment(after_audio_ms=2000))),))
    session = plan.for_session(1)
    session.tell(text)  # what to do instead of sending it
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, assert_never, get_args

import msgspec

from qa_service.protocol import (
    CloseCode,
    ErrorEvent,
    InvalidValue,
    MalformedMessage,
    SessionConfig,
)
from qa_service.protocol.requests import read_append, read_request, updated_config
from qa_service.protocol.writer import write_event

EventType: TypeAlias = Literal[
    "session.created",
    "session.updated",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "input_audio_buffer.cleared",
    "conversation.item.created",
    "conversation.item.input_audio_transcription.text",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.failed",
    "qa.progress",
    "qa.leg_state",
    "session.finished",
    "error",
]
"""What a server says, by the names on the wire (section 4 of the protocol)."""
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
FINAL: Final[EventType] = "conversation.item.input_audio_transcription.completed"

_SAMPLE_BYTES: Final = 2  # 16-bit PCM


# --- what can go wrong ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refuse:
    """The handshake is answered with an HTTP status."""

    status: int


@dataclass(frozen=True, slots=True)
class DelayHandshake:
    """The handshake is answered late."""

    by_ms: int


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is gone, without a close frame."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is closed with a code."""

    code: int = CloseCode.INTERNAL


@dataclass(frozen=True, slots=True)
class FallSilent:
    """Nothing of the server's is sent any more, not even a close; pings are answered still."""


@dataclass(frozen=True, slots=True)
class SendGarbage:
    """A text is sent that is no event."""

    text: str = '{"type": "session.upd'


@dataclass(frozen=True, slots=True)
class SendBinary:
    """A binary message is sent."""


@dataclass(frozen=True, slots=True)
class SendError:
    """An ``error`` event is sent; the session goes on, whatever the client makes of it."""

    type: str = "server_error"
    code: str = "internal_error"
    message: str = "A fault that was asked for."


@dataclass(frozen=True, slots=True)
class ReadSlowly:
    """Messages are taken at so many bytes a second, so that the client's fill up; at 0 none, and no ping."""

    bytes_per_s: int
    lasting_ms: int | None = None
    """None: to the end of the session."""


Deed: TypeAlias = Drop | Close | FallSilent | SendGarbage | SendBinary | SendError | ReadSlowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When in a session something happens: once so much audio has come, or just before an event is sent."""

    after_audio_ms: int = 0
    """Of PCM appended; 0 is with the first append."""
    before: EventType | None = None
    """If given, this counts instead of the audio."""
    number: int = 1
    """The how manyth event of that type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A deed at its moment."""

    deed: Deed
    moment: Moment = Moment()


Mishap: TypeAlias = Literal["missing", "repeated", "reordered", "late"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishandle:
    """Events of one type are not sent, sent twice, sent after the next one (of any type), or sent late."""

    how: Mishap
    late_by_ms: int = 0
    """Where they are late; others overtake them meanwhile."""
    event: EventType = FINAL
    numbers: frozenset[int] = frozenset()
    """Which of that type in the session, from 1; none given: all."""


Fault: TypeAlias = Refuse | DelayHandshake | Strike | Mishandle


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """A fault, and which sessions suffer it."""

    fault: Fault
    sessions: frozenset[int] = frozenset()
    """By their numbers; none given: all."""
    probability: float = 1.0
    """Of suffering it, for each of these sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """All faults of a server."""

    rules: tuple[FaultRule, ...]
    seed: int = 0

    def for_session(self, number: int) -> SessionFaults:
        """What session ``number`` will suffer, in the order of the rules."""
        return SessionFaults(
            [rule.fault for place, rule in enumerate(self.rules) if self._strikes(place, rule, number)]
        )

    def _strikes(self, place: int, rule: FaultRule, number: int) -> bool:
        if rule.sessions and number not in rule.sessions:
            return False
        # A generator of its own for each decision: adding a rule at the end changes no other.
        chance = random.Random(f"{self.seed}/{place}/{number}")  # noqa: S311 - has to be repeatable
        return chance.random() < rule.probability


# --- what becomes of it --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a text, after a while without waiting for it."""

    text: str
    late_by_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TellBytes:
    """Send a binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the connection: with a close code, or without a word."""

    code: int | None


Effect: TypeAlias = Tell | TellBytes | HangUp


@dataclass(frozen=True, slots=True)
class Heard:
    """What comes of a client's message: effects, and seconds to wait before the next message is read."""

    effects: tuple[Effect, ...] = ()
    pause_s: float = 0.0


class SessionFaults:
    """The faults of one session, message by message."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._strikes = [fault for fault in faults if isinstance(fault, Strike)]
        self._mishandlings = [fault for fault in faults if isinstance(fault, Mishandle)]
        self.refusal = next((fault.status for fault in faults if isinstance(fault, Refuse)), None)
        """The HTTP status that the handshake gets; None if it is taken."""
        self.handshake_delay_s = sum(f.by_ms for f in faults if isinstance(f, DelayHandshake)) / 1000
        """Seconds before the handshake gets any answer."""
        self.reads_slowly = any(isinstance(strike.deed, ReadSlowly) for strike in self._strikes)
        """Whether the connection had better hold little that was not read."""
        self._config = SessionConfig()
        self._audio_ms = 0.0
        self._has_audio = False
        self._told = Counter[str]()
        self._held: list[Effect] = []
        self.is_silent = False
        """Whether the server has stopped answering: it does not close the connection either."""
        self._is_over = False
        self._pace: ReadSlowly | None = None
        # Seconds that slow reading has taken so far.
        self._paused_s = 0.0

    def hear(self, text: str) -> Heard:
        """What a client's text comes to, beside being heard by the server."""
        effects: list[Effect] = []
        if self._note_audio(text):
            for strike in self._take_strikes(self._has_come):
                effects += self._carry_out(strike.deed)
        return Heard(tuple(effects), self._pause_after(text))

    def tell(self, text: str) -> tuple[Effect, ...]:
        """What is done instead of sending a text of the server."""
        kind = _type_of(text)
        self._told[kind] += 1
        number = self._told[kind]
        effects: list[Effect] = []
        for strike in self._take_strikes(lambda moment: (moment.before, moment.number) == (kind, number)):
            effects += self._carry_out(strike.deed)
        if not (self._is_over or self.is_silent):
            effects += self._mishandle(text, kind, number)
        return tuple(effects)

    def _note_audio(self, text: str) -> bool:
        """Count the audio in a text; whether there was any. Opus is not counted: it would need decoding."""
        audio = read_append(text)
        if audio:
            if self._config.input_audio_format == "pcm":
                self._audio_ms += 1000 * len(audio) / _SAMPLE_BYTES / self._config.sample_rate
            self._has_audio = True
            return True
        try:
            request = read_request(text)
            if request.type == "session.update":
                self._config = updated_config(self._config, request)
        except (MalformedMessage, InvalidValue):
            pass  # the server will say so
        return False

    def _has_come(self, moment: Moment) -> bool:
        return moment.before is None and self._has_audio and self._audio_ms >= moment.after_audio_ms

    def _take_strikes(self, is_due: Callable[[Moment], bool]) -> list[Strike]:
        """The strikes that are due, each once; none after the end."""
        if self._is_over:
            return []
        due = [strike for strike in self._strikes if is_due(strike.moment)]
        self._strikes = [strike for strike in self._strikes if strike not in due]
        return due

    def _carry_out(self, deed: Deed) -> list[Effect]:
        match deed:
            case Drop():
                return self._end(None)
            case Close(code):
                return self._end(code)
            case FallSilent():
                self.is_silent = True
            case SendGarbage(text):
                return [Tell(text)]
            case SendBinary():
                return [TellBytes(b"\0")]
            case SendError():
                event = ErrorEvent(deed.type, deed.code, deed.message)
                return [Tell(write_event(event, "event_fault"))]
            case ReadSlowly():
                self._pace, self._paused_s = deed, 0.0
            case _:
                assert_never(deed)
        return []

    def _end(self, code: int | None) -> list[Effect]:
        if self._is_over:
            return []
        self._is_over = True
        return [HangUp(code)]

    def _mishandle(self, text: str, kind: str, number: int) -> list[Effect]:
        """The event as the faults leave it, and after it those that had to wait for it."""
        effects: list[Effect] = [Tell(text)]
        is_held = False
        for fault in self._mishandlings:
            if fault.event == kind and (not fault.numbers or number in fault.numbers):
                match fault.how:
                    case "missing":
                        effects = []
                    case "repeated":
                        effects *= 2
                    case "reordered":
                        is_held = True
                    case "late":
                        effects = [Tell(text, fault.late_by_ms / 1000)] * len(effects)
                    case _:
                        assert_never(fault.how)
        if is_held:
            self._held += effects
            return []
        waiting, self._held = self._held, []
        return effects + waiting

    def _pause_after(self, text: str) -> float:
        """How long the next message has to wait, as slow reading goes on."""
        if self._pace is None:
            return 0.0
        rate, lasting_ms = self._pace.bytes_per_s, self._pace.lasting_ms
        pause_s = len(text) / rate if rate else math.inf
        if lasting_ms is not None:
            pause_s = min(pause_s, lasting_ms / 1000 - self._paused_s)
            self._paused_s += pause_s
            if self._paused_s * 1000 >= lasting_ms:
                self._pace = None
        return pause_s


class _Head(msgspec.Struct):
    type: str = ""


def _type_of(text: str) -> str:
    return msgspec.json.decode(text, type=_Head).type
