"""Conditions about utterances of one leg, each evaluated once however many rules ask for it.

A :class:`CueBook` holds those of a rule set, all their phrases in one index. A :class:`LegEar` hears one
leg in the order of its utterances and remembers what its conditions look back on; of an utterance that
concerns nothing it keeps no more than that there was one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from qa_service.contract.info import Role
from qa_service.domain.entries import Utterance
from qa_service.domain.incidents import Evidence
from qa_service.domain.talk import measure_pace
from qa_service.rules.hits import Hit, Piece, Place, join_pieces, trim
from qa_service.rules.language import (
    EmotionCondition,
    LegCondition,
    LoudnessCondition,
    NearCondition,
    SaidCondition,
    ShiftCondition,
    Speaker,
    SpeechRateCondition,
    TrendCondition,
)
from qa_service.rules.patterns import PatternSet
from qa_service.rules.phrases import PhraseIndex, Span, Words, read_words

NEAR_MS: Final = 30_000
"""What lies further apart is not near, however few words were said in between."""
LOUD_AFTER: Final = 3
"""Utterances whose level must be known before one can be louder than them."""

Cue: TypeAlias = int
"""Number of a condition in its book."""
Hits: TypeAlias = dict[Cue, Hit]


@dataclass(slots=True)
class Speech:
    """An utterance as conditions see it, with whoever spoke it in the role held then."""

    leg_id: str
    role: Role
    place: Place
    start_ms: int
    """Where it begins, or its leg's coverage if that is later."""
    end_ms: int
    body: Utterance
    told_start_ms: int
    """Where it begins by the log."""
    _piece: Piece | None = field(default=None, init=False)

    @property
    def piece(self) -> Piece:
        """The utterance as evidence."""
        if self._piece is None:
            body = self.body
            evidence = Evidence(
                utterance_id=body.utterance_id,
                leg=self.leg_id,
                role=self.role,
                text=body.text,
                start_ms=self.told_start_ms,
                end_ms=self.end_ms,
                emotion=body.emotion,
                emotion_confidence=body.emotion_confidence,
                anger_rank=body.anger_rank,
                anger_daily=body.anger_daily,
                engine=body.engine,
                model=body.model,
            )
            self._piece = Piece(self.place, evidence, f"{self.leg_id}:{body.ordinal}")
        return self._piece

    def hit(
        self,
        pieces: tuple[Piece, ...] = (),
        *,
        floor: Place | None = None,
        first: int = 0,
        last: int = 0,
    ) -> Hit:
        """Make a hit that this utterance has brought about."""
        return Hit(
            self.end_ms,
            self.start_ms,
            self.end_ms,
            self.place,
            self.place if floor is None else floor,
            pieces or (self.piece,),
            first,
            last,
        )


def concerns(speaker: Speaker, role: Role) -> bool:
    """Tell whether a condition about a speaker concerns what someone in a role says."""
    return speaker in {"any", role}


# --- said, near ---------------------------------------------------------------------------------------


class _Texts(NamedTuple):
    """What was found in an utterance."""

    spans: Mapping[int, tuple[Span, ...]]
    patterns: frozenset[int]


class _Said(NamedTuple):
    """A ``said`` with its phrases and patterns by their numbers."""

    cue: Cue
    speaker: Speaker
    any_of: tuple[int, ...]
    all_of: tuple[int, ...]
    none_of: tuple[int, ...]
    regex: tuple[int, ...]
    excluding: tuple[int, ...]
    languages: tuple[str, ...]

    def find(self, role: Role, language: str | None, found: _Texts) -> tuple[int, int] | None:
        """Find its first and last word in an utterance; None if it is not said."""
        spans, patterns = found
        is_said = (
            concerns(self.speaker, role)
            and (not self.languages or (language or "").split("-")[0].lower() in self.languages)
            and (not self.any_of or any(number in spans for number in self.any_of))
            and all(number in spans for number in self.all_of)
            and (not self.regex or any(number in patterns for number in self.regex))
            and not any(number in spans for number in self.none_of)
            and not any(number in patterns for number in self.excluding)
        )
        if not is_said:
            return None
        starts = [span.start for number in (*self.any_of, *self.all_of) for span in spans.get(number, ())]
        return min(starts, default=0), max(starts, default=0)


class _Near(NamedTuple):
    """A ``near`` with its phrases by their numbers."""

    cue: Cue
    condition: NearCondition
    a: tuple[int, ...]
    b: tuple[int, ...]
    """What has to be near ``a``, or must not be."""


class _Awaited(NamedTuple):
    """An ``a`` after which something must not be said."""

    end: int
    hit: Hit
    deadline_ms: int


@dataclass(slots=True)
class _NearMemory:
    """The newest ``a`` and ``b`` of a leg, where they end in words of the leg, and the ``a`` that wait."""

    a: tuple[int, Hit] | None = None
    b: tuple[int, Hit] | None = None
    awaited: list[_Awaited] = field(default_factory=list)


# --- windows over a leg's utterances ------------------------------------------------------------------

Verdict: TypeAlias = bool | None
"""Whether an utterance has a quality; None: nothing can be told."""
Memory = TypeVar("Memory")


@dataclass(slots=True)
class _Watch(Generic[Memory]):
    """A condition that looks back, and how it begins to remember."""

    cue: Cue
    speaker: Speaker
    begin: Callable[[], Memory]
    hear: Callable[[Memory, Speech], Hit | None]


@dataclass(slots=True)
class _Newest:
    """The utterances that count among the newest ones."""

    heard: int = 0
    counting: list[tuple[int, Piece]] = field(default_factory=list)

    def add(self, speech: Speech, needed: int, window: int, *, counts: bool) -> Hit | None:
        """Take the next utterance; a hit if it counts and with it enough of the newest do."""
        self.heard += 1
        if not counts:
            return None
        oldest = self.heard - window
        self.counting = [each for each in self.counting if each[0] > oldest]
        self.counting.append((self.heard, speech.piece))
        if len(self.counting) < needed:
            return None
        pieces = [piece for _, piece in self.counting]
        return speech.hit(tuple(pieces), floor=pieces[-needed].place)


@dataclass(slots=True)
class _Stretch:
    """Utterances in a row that have a quality."""

    first: Piece | None = None


@dataclass(slots=True)
class _Level:
    """The levels of a leg so far."""

    newest: _Newest = field(default_factory=_Newest)
    known: int = 0
    total: float = 0.0


def _judge_emotion(condition: EmotionCondition | ShiftCondition, body: Utterance) -> Verdict:
    """Tell whether the label is one of those asked for, and sure enough."""
    emotions = condition.emotions if isinstance(condition, EmotionCondition) else condition.after
    if body.emotion_abstained or body.emotion is None:
        return None
    if body.emotion not in emotions:
        return False
    if body.emotion_confidence is None:
        return True if condition.if_missing == "pass" else None
    return True if body.emotion_confidence >= condition.min_confidence else None


def _judge_feeling(condition: EmotionCondition, body: Utterance) -> Verdict:
    verdicts = [_judge_emotion(condition, body)] if condition.emotions else []
    for value, most in ((body.anger_rank, condition.top_share), (body.anger_daily, condition.most_a_day)):
        if most is not None:
            missing = True if condition.if_missing == "pass" else None
            verdicts.append(missing if value is None else value <= most)
    return False if False in verdicts else None if None in verdicts else True


def _watch_emotion(cue: Cue, condition: EmotionCondition) -> _Watch[Any]:
    def hear_window(memory: _Newest, speech: Speech) -> Hit | None:
        counts = _judge_feeling(condition, speech.body) is True
        return memory.add(speech, condition.needed, condition.window, counts=counts)

    def hear_stretch(memory: _Stretch, speech: Speech) -> Hit | None:
        verdict = _judge_feeling(condition, speech.body)
        if verdict is False:
            memory.first = None
        if verdict is not True:
            return None
        if memory.first is None:
            memory.first = speech.piece
        if speech.end_ms - memory.first.place.at_ms < condition.for_ms:
            return None
        pieces = (memory.first,) if memory.first.place == speech.place else (memory.first, speech.piece)
        return speech.hit(pieces)

    if condition.for_ms:
        return _Watch(cue, "customer", _Stretch, hear_stretch)
    return _Watch(cue, "customer", _Newest, hear_window)


def _watch_shift(cue: Cue, condition: ShiftCondition) -> _Watch[Any]:
    window, needed = condition.window, condition.needed

    def hear(memory: deque[tuple[str, Piece]], speech: Speech) -> Hit | None:
        body = speech.body
        if body.emotion_abstained or body.emotion is None:
            return None
        verdict = _judge_emotion(condition, body)
        kind = "after" if verdict else "before" if body.emotion in condition.before else "other"
        memory.append((kind, speech.piece))
        heard = list(memory)
        now = [piece for is_kind, piece in heard[-window:] if is_kind == "after"]
        then = [piece for is_kind, piece in heard[:-window] if is_kind == "before"]
        if kind != "after" or len(now) < needed or len(then) < needed:
            return None
        return speech.hit(trim([*then, *now]), floor=now[-needed].place)

    return _Watch(cue, "customer", lambda: deque(maxlen=2 * window), hear)


def _watch_trend(cue: Cue, condition: TrendCondition) -> _Watch[Any]:
    half = condition.over // 2

    def hear(memory: deque[tuple[float, Piece]], speech: Speech) -> Hit | None:
        if speech.body.anger_rank is None:
            return None
        memory.append((speech.body.anger_rank, speech.piece))
        if len(memory) < condition.over:
            return None
        ranks = [rank for rank, _ in memory]
        older, newer = sum(ranks[:half]), sum(ranks[-half:])
        less, more = (newer, older) if condition.direction == "rising" else (older, newer)
        if not (more > 0 and 2 * less <= more):
            return None
        return speech.hit(trim([piece for _, piece in memory]))

    return _Watch(cue, "customer", lambda: deque(maxlen=condition.over), hear)


def _watch_speech_rate(cue: Cue, condition: SpeechRateCondition) -> _Watch[Any]:
    faster = {"words": condition.faster_than_words, "characters": condition.faster_than_characters}
    slower = {"words": condition.slower_than_words, "characters": condition.slower_than_characters}

    def hear(memory: _Newest, speech: Speech) -> Hit | None:
        body = speech.body
        pace = measure_pace(body.text, body.language, speech.end_ms - speech.told_start_ms)
        if pace is None:
            return None
        most, least = faster[pace.unit], slower[pace.unit]
        counts = (most is not None and pace.per_minute > most) or (
            least is not None and pace.per_minute < least
        )
        return memory.add(speech, condition.needed, condition.window, counts=counts)

    return _Watch(cue, condition.leg, _Newest, hear)


def _watch_loudness(cue: Cue, condition: LoudnessCondition) -> _Watch[Any]:
    def counts(memory: _Level, level: float | None) -> bool:
        if level is None:
            return condition.if_missing == "pass"
        is_far = condition.louder_by is None or (
            memory.known >= LOUD_AFTER and level - memory.total / memory.known >= condition.louder_by
        )
        return (
            is_far
            and (condition.above is None or level > condition.above)
            and (condition.below is None or level < condition.below)
        )

    def hear(memory: _Level, speech: Speech) -> Hit | None:
        level = speech.body.loudness_dbfs
        is_counted = counts(memory, level)
        if level is not None:
            memory.known += 1
            memory.total += level
        return memory.newest.add(speech, condition.needed, condition.window, counts=is_counted)

    return _Watch(cue, condition.leg, _Level, hear)


_WATCHES: Final[dict[type, Callable[[Cue, Any], _Watch[Any]]]] = {
    EmotionCondition: _watch_emotion,
    ShiftCondition: _watch_shift,
    TrendCondition: _watch_trend,
    SpeechRateCondition: _watch_speech_rate,
    LoudnessCondition: _watch_loudness,
}


# --- the book, and the ear ----------------------------------------------------------------------------


class CueBook:
    """The conditions about utterances of one rule set, compiled; the same condition has one number."""

    def __init__(self, conditions: Iterable[LegCondition]) -> None:
        self.numbers: dict[LegCondition, Cue] = {}
        for condition in conditions:
            self.numbers.setdefault(condition, len(self.numbers))
        self._phrases: dict[str, int] = {}
        self._patterns: dict[str, int] = {}
        self.said: dict[Cue, _Said] = {}
        self.near: list[_Near] = []
        self.watches: list[_Watch[Any]] = []
        for condition, cue in self.numbers.items():
            self._add(cue, condition)
        self._index = PhraseIndex(tuple(self._phrases))
        self._pattern_set = PatternSet(tuple(self._patterns))
        self._said_by_phrase = _group(
            (number, said) for said in self.said.values() for number in said.any_of or said.all_of[:1]
        )
        self._said_by_pattern = _group(
            (number, said)
            for said in self.said.values()
            if not said.any_of and not said.all_of
            for number in said.regex
        )
        self._near_by_phrase = _group((number, near) for near in self.near for number in {*near.a, *near.b})

    def read(self, words: Words, text: str) -> _Texts:
        """Find the phrases and patterns in an utterance."""
        return _Texts(self._index.find(words), self._pattern_set.find(text))

    def find_said(self, found: _Texts) -> Iterable[_Said]:
        """Return the ``said`` that may be meant by what was found."""
        if not found.spans and not found.patterns:
            return ()
        touched = [said for number in found.spans for said in self._said_by_phrase.get(number, ())]
        touched += [said for number in found.patterns for said in self._said_by_pattern.get(number, ())]
        return dict.fromkeys(touched)

    def find_near(self, found: _Texts) -> Iterable[_Near]:
        """Return the ``near`` of which something was found."""
        if not self._near_by_phrase:
            return ()
        return dict.fromkeys(near for number in found.spans for near in self._near_by_phrase.get(number, ()))

    def _add(self, cue: Cue, condition: LegCondition) -> None:
        if isinstance(condition, SaidCondition):
            self.said[cue] = _Said(
                cue,
                condition.leg,
                self._number(condition.phrases),
                self._number(condition.all_of),
                self._number(condition.none_of),
                self._number_patterns(condition.regex),
                self._number_patterns(condition.excluding),
                condition.languages,
            )
        elif isinstance(condition, NearCondition):
            others = self._number(condition.b or condition.without)
            self.near.append(_Near(cue, condition, self._number(condition.a), others))
        else:
            self.watches.append(_WATCHES[type(condition)](cue, condition))

    def _number(self, phrases: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._phrases.setdefault(phrase, len(self._phrases)) for phrase in phrases)

    def _number_patterns(self, patterns: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._patterns.setdefault(pattern, len(self._patterns)) for pattern in patterns)


Grouped = TypeVar("Grouped")


def _group(pairs: Iterable[tuple[int, Grouped]]) -> dict[int, tuple[Grouped, ...]]:
    grouped: dict[int, tuple[Grouped, ...]] = {}
    for key, value in pairs:
        grouped[key] = (*grouped.get(key, ()), value)
    return grouped


class LegEar:
    """Hears one leg: which conditions each of its utterances fulfils, and those that time fulfils."""

    __slots__ = ("_book", "_memories", "_near", "_words_heard")

    def __init__(self, book: CueBook) -> None:
        self._book = book
        self._memories: dict[Cue, Any] = {}
        self._near: dict[Cue, _NearMemory] = {}
        self._words_heard = 0

    def hear(self, speech: Speech) -> Hits:
        """Take the leg's next utterance."""
        book, hits, body = self._book, Hits(), speech.body
        words = read_words(body.text, body.redactions)
        found = book.read(words, body.text)
        for said in book.find_said(found):
            place = said.find(speech.role, body.language, found)
            if place is not None:
                hits[said.cue] = speech.hit(first=place[0], last=place[1])
        if book.near:
            self._hear_near(speech, found, len(words), hits)
        for watch in book.watches:
            if concerns(watch.speaker, speech.role):
                memory = self._memories.get(watch.cue)
                if memory is None:
                    memory = self._memories[watch.cue] = watch.begin()
                hit = watch.hear(memory, speech)
                if hit is not None:
                    hits[watch.cue] = hit
        return hits

    def match(self, text: str, role: Role, language: str | None) -> Iterator[Cue]:
        """Tell which ``said`` an utterance fulfils of which so much is known."""
        found = self._book.read(read_words(text), text)
        for said in self._book.find_said(found):
            if said.find(role, language, found) is not None:
                yield said.cue

    def lose(self) -> None:
        """Take note of a gap: what waited for words that did not come may have missed them."""
        for memory in self._near.values():
            memory.awaited.clear()

    def pass_time(self, until_ms: int | None) -> list[tuple[int, Hits]]:
        """Return what has been decided by nothing being said up to a time; None: the leg has ended."""
        decided: dict[int, Hits] = {}
        for cue, memory in self._near.items():
            while memory.awaited and (until_ms is None or memory.awaited[0].deadline_ms <= until_ms):
                awaited = memory.awaited.pop(0)
                at_ms = 0 if until_ms is None else awaited.deadline_ms
                hits = decided.setdefault(at_ms, {})
                hits[cue] = _join_awaited(hits.get(cue), awaited, at_ms)
        return sorted(decided.items())

    @property
    def waits(self) -> bool:
        """Whether something waits for words that must not come."""
        return any(memory.awaited for memory in self._near.values())

    # --- words near others ----------------------------------------------------------------------------

    def _hear_near(self, speech: Speech, found: _Texts, words: int, hits: Hits) -> None:
        offset = self._words_heard
        self._words_heard += words
        touched = dict.fromkeys(self._book.find_near(found)) if found.spans else {}
        if self.waits:
            touched |= {near: None for near in self._book.near if near.cue in self._near}
        for near in touched:
            if not concerns(near.condition.leg, speech.role):
                continue
            memory = self._near.setdefault(near.cue, _NearMemory())
            a, b = _locate(near.a, found, offset), _locate(near.b, found, offset)
            hear = _hear_without if near.condition.without else _hear_with
            hit = hear(near.condition, memory, speech, a, b, offset, self._words_heard)
            if hit is not None:
                hits[near.cue] = hit
            _remember(memory, speech, a, b)


def _join_awaited(before: Hit | None, awaited: _Awaited, at_ms: int) -> Hit:
    """Make one hit of what is decided in one moment."""
    hit = awaited.hit._replace(start_ms=at_ms)
    return hit if before is None else hit._replace(pieces=join_pieces(before, hit), floor=before.floor)


def _locate(numbers: Iterable[int], found: _Texts, offset: int) -> list[Span]:
    """Place phrases among the words of the leg, in order."""
    spans = (span for number in numbers for span in found.spans.get(number, ()))
    return sorted({Span(span.start + offset, span.end + offset) for span in spans})


def _remember(memory: _NearMemory, speech: Speech, a: list[Span], b: list[Span]) -> None:
    if a:
        memory.a = (max(span.end for span in a), speech.hit())
    if b:
        memory.b = (max(span.end for span in b), speech.hit())


def _are_near(condition: NearCondition, a: Span, b: Span) -> bool:
    if b.start >= a.end:
        return b.start - a.end < condition.within_words
    if condition.ordered:
        return False
    return a.start - b.end < condition.within_words


def _reaches(before: tuple[int, Hit] | None, span: Span, speech: Speech, within_words: int) -> Hit | None:
    """Return what was said in an earlier utterance, if it is near enough."""
    if before is None:
        return None
    end, hit = before
    is_near = span.start - end < within_words and speech.start_ms - hit.end_ms <= NEAR_MS
    return hit if is_near else None


def _hear_with(  # noqa: PLR0917 - called by one name with the next
    condition: NearCondition,
    memory: _NearMemory,
    speech: Speech,
    a: list[Span],
    b: list[Span],
    offset: int,
    heard: int,  # noqa: ARG001 - the two are called alike
) -> Hit | None:
    within = condition.within_words
    inside = [one for one in a if any(_are_near(condition, one, other) for other in b)]
    if inside:
        return speech.hit(first=inside[0].start - offset, last=inside[-1].start - offset)
    before = [(span, _reaches(memory.a, span, speech, within)) for span in b]
    if not condition.ordered:
        before += [(span, _reaches(memory.b, span, speech, within)) for span in a]
    across = [(span, hit) for span, hit in before if hit is not None]
    if not across:
        return None
    span, hit = min(across, key=lambda each: each[0])
    own = speech.hit()
    return own._replace(pieces=join_pieces(hit, own), first=span.start - offset, last=span.start - offset)


def _hear_without(  # noqa: PLR0917 - called by one name with the other
    condition: NearCondition,
    memory: _NearMemory,
    speech: Speech,
    a: list[Span],
    b: list[Span],
    offset: int,
    heard: int,
) -> Hit | None:
    within = condition.within_words
    decided = [
        waiting.hit
        for waiting in memory.awaited
        if heard - waiting.end >= within and not any(span.start - waiting.end < within for span in b)
    ]
    memory.awaited = [
        waiting
        for waiting in memory.awaited
        if heard - waiting.end < within and not any(span.start - waiting.end < within for span in b)
    ]
    for span in a:
        if any(_are_near(condition, span, other) for other in b):
            continue
        if not condition.ordered and _reaches(memory.b, span, speech, within) is not None:
            continue
        hit = speech.hit(first=span.start - offset, last=span.start - offset)
        if heard - span.end >= within:
            decided.append(hit)
        elif not any(waiting.hit.place == speech.place for waiting in memory.awaited):
            memory.awaited.append(_Awaited(span.end, hit, speech.end_ms + NEAR_MS))
    if not decided:
        return None
    last = decided[-1]
    return last._replace(start_ms=speech.start_ms, pieces=join_pieces(*decided), floor=decided[0].place)
