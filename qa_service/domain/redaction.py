"""What counts as a card number or a security code in speech, and how it leaves a text.

PCI DSS 3.3.1 forbids storing the security code after authorisation, and 3.4 showing more of a card
number than its first six and last four digits, so both go before a text is stored, published or logged.
Recognition loses and doubles digits, hence no check digit is asked for, and whenever it is uncertain
whether a number belongs to a card, it goes:

* Digits, number words and ideographs form a *run* if nothing but punctuation and up to three fillers
  (*um*, *okay*, *dash*) stands between them. A run of 12 digits or more is a card number; one of 7 or
  more (a telephone number, say) goes as a possible part of one.
* A run of 4 or more at the end of an utterance goes, since the number may continue in the next: also a
  year, if the sentence ends with it. What continues a number at the start of the same speaker's next
  utterance, within 10 s, goes too. So at most the first six digits of a split number stay.
* Within 30 s of anyone's asking for or giving a card number, every run of 4 or more goes (a read-back).
* Within 15 s of a word such as *CVV*, by anyone, runs of 3 or 4 digits go, as do utterances that hold
  nothing but digits.

Years and prices inside a sentence stay. The value removed is kept nowhere: a :class:`Redactor` remembers
times and counts only, all of which follow from the redacted utterances, so that a successor restores it
with :meth:`Redactor.observe`. An utterance is judged by what was heard when it arrived: a cue of the
other leg that is recognised later than the answer to it comes too late.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from qa_service.domain.entries import LogEntry, Redaction, RedactionKind, Utterance
from qa_service.domain.folding import fold
from qa_service.domain.spoken_numbers import IDEOGRAPHIC_MAGNITUDES, IDEOGRAPHS, NumberWord, number_word

CARD_DIGITS = 12
"""Digits that make a card number: the shortest has 13 (ISO/IEC 7812-1), and recognition may lose one."""
PART_DIGITS = 7
"""Digits that go wherever they stand; what stays is no more than the six that PCI DSS lets be shown."""
OPEN_END_DIGITS = 4
"""Digits that go at an end that may be continued, and near a mention of a card number."""
PARTIAL_DIGITS = 3
"""Digits that go from a partial: with less context than a final, even a security code must not pass."""
SECURITY_CODE_DIGITS = range(3, 5)

CONTINUATION_MS = 10_000
"""How long after an utterance's end its number may be continued by the same speaker."""
SECURITY_CODE_WINDOW_MS = 15_000
"""How long after a word such as *CVV* digits are taken for the code."""
CARD_WINDOW_MS = 30_000
"""How long after a card number or its mention digits are taken for parts of one."""

_MAX_FILLERS = 3  # in a row, before a run is over

REPLACEMENTS: dict[RedactionKind, str] = {
    "card_number": "[card number]",
    "card_fragment": "[number]",
    "cvv": "[security code]",
}
"""What stands in a text in place of what was removed."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_FILLERS = _words(
    """
    um uh uhm er erm hm mm mhm and then next okay ok yes yeah yep right got it dash hyphen space slash
    dot point comma plus
    ah aeh ahm aehm ehm und dann ja genau gut strich bindestrich leerzeichen punkt komma
    euh et puis oui tiret espace virgule
    eh este luego si vale guion espacio coma
    poi trattino spazio virgola
    嗯 呃 啊 对 好 杠 横杠 空格 然后 の えー えっと えーと はい ハイフン
    """
)
# A single letter is a slip of recognition ("4111 a 1111"), save those that spell "CVC" and "CSC".
_STRAY_LETTER = re.compile(r"[abd-rt-uw-z]")
_LONE_ZEROS = frozenset({"oh", "o"})  # zero inside a number, an exclamation elsewhere

_DIGIT = r"[\d²³¹⁰⁴-⁹₀-₉①-⑨⓪]"
_IDEOGRAPH = f"[{IDEOGRAPHS}{IDEOGRAPHIC_MAGNITUDES}]|ゼロ"
_LETTER = rf"(?!{_DIGIT}|{_IDEOGRAPH})[^\W\d_]"
_PLACEHOLDER = "|".join(map(re.escape, REPLACEMENTS.values()))
_ITEM = re.compile(
    rf"(?P<opaque>{_PLACEHOLDER}|\b[cC][vV][vVcC]2\b)"
    rf"|(?P<digits>{_DIGIT}+)"
    rf"|(?P<sign>{_IDEOGRAPH})"
    rf"|(?P<word>{_LETTER}(?:{_LETTER}|[\u0300-\u036f])*)"
)
_PLACEHOLDERS = re.compile(_PLACEHOLDER)


def _cue_pattern(*, abbreviations: str, phrases: str) -> re.Pattern[str]:
    # Phrases may stand inside compounds and without blanks around them, abbreviations may not.
    spaced = "|".join(r"\W+".join(phrase.split("_")) for phrase in phrases.split())
    return re.compile(rf"(?<![a-z])(?:{abbreviations})(?![a-z])|{spaced}")


# Folded text; a blank is written as an underscore.
_SECURITY_CODE_CUE = _cue_pattern(
    abbreviations=r"c\W{0,2}[vs]\W{0,2}[vc]",
    phrases="""
    security_code security_number card_verification verification_code verification_value
    digits_on_the_back number_on_the_back code_on_the_back
    prufziffer pruefziffer prufnummer pruefnummer sicherheitscode sicherheitsnummer ziffern_auf_der_ruckseite
    cryptogramme code_de_securite code_de_verification chiffres_au_dos
    codigo_de_seguridad codigo_de_verificacion cifras_al_dorso
    codice_di_sicurezza codice_di_verifica cifre_sul_retro codigo_de_seguranca
    安全码 安全碼 校验码 校驗碼 验证码 驗證碼 背面三位 背面的三位 セキュリティコード 確認コード
    """,
)
_CARD_CUE = _cue_pattern(
    abbreviations="long number",
    phrases="""
    card_number number_of_the_card number_of_your_card number_on_the_card number_on_your_card
    kartennummer nummer_der_karte nummer_ihrer_karte nummer_auf_der_karte
    numero_de_carte numero_de_la_carte numero_de_votre_carte
    numero_de_tarjeta numero_de_la_tarjeta numero_de_su_tarjeta
    numero_di_carta numero_della_carta 卡号 卡號 カード番号
    """,
)


class _Item(Struct, frozen=True, gc=False):
    """A word or a group of digits in the text."""

    kind: Literal["number", "filler", "break"]
    start: int
    end: int
    number: NumberWord | None = None
    is_lone_zero: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    """Digits that belong together, and whether anything but fillers stands before and after them."""

    start: int
    end: int
    digits: int
    leads: bool
    trails: bool


@dataclass(frozen=True, slots=True)
class _Tail:
    """What a leg's next utterance may continue: the last run of an utterance; ``None``: masked digits."""

    digits: int | None
    trails: bool
    end_ms: int

    def is_continued_by(self, run: _Run) -> bool:
        if self.digits is None:
            return True
        return self.digits + run.digits >= (OPEN_END_DIGITS if self.trails else PART_DIGITS)


@dataclass(frozen=True, slots=True)
class _Mention:
    """When something was last mentioned, in call time."""

    start_ms: int
    end_ms: int

    def covers(self, start_ms: int, end_ms: int, window_ms: int) -> bool:
        return self.start_ms <= end_ms and start_ms <= self.end_ms + window_ms


class Redactor:
    """Redacts the utterances of one call; remembers when and how many, never which digits."""

    __slots__ = ("_card", "_security_code", "_tails")

    def __init__(self) -> None:
        self._tails: dict[str, _Tail] = {}
        self._card: _Mention | None = None
        self._security_code: _Mention | None = None

    def redact(self, leg_id: str, text: str, start_ms: int, end_ms: int) -> tuple[str, tuple[Redaction, ...]]:
        """Redact a leg's next utterance and take note of it; times are call time.

        Returns the text to keep and what was removed from it, in order.
        """
        bare = fold(_PLACEHOLDERS.sub(" ", text))
        context = _Context(
            card=_CARD_CUE.search(bare) is not None or _covers(self._card, start_ms, end_ms, CARD_WINDOW_MS),
            security_code=_SECURITY_CODE_CUE.search(bare) is not None
            or _covers(self._security_code, start_ms, end_ms, SECURITY_CODE_WINDOW_MS),
            tail=self._tail(leg_id, start_ms),
        )
        redacted, redactions = _replace(text, context.judge)
        self._note(leg_id, redacted, redactions, start_ms, end_ms)
        return redacted, redactions

    def observe(self, entry: LogEntry) -> None:
        """Take note of an entry of the call's log, in order, to restore the state of a call taken over."""
        if isinstance(entry.body, Utterance) and entry.leg_id is not None:
            self._note(entry.leg_id, entry.body.text, entry.body.redactions, entry.start_ms, entry.end_ms)

    def _note(
        self, leg_id: str, text: str, redactions: Sequence[Redaction], start_ms: int, end_ms: int
    ) -> None:
        bare = fold(_PLACEHOLDERS.sub(" ", text))
        now = _Mention(start_ms, end_ms)
        if _SECURITY_CODE_CUE.search(bare):
            self._security_code = now
        if _CARD_CUE.search(bare) or any(redaction.kind == "card_number" for redaction in redactions):
            self._card = now
        tail = _last_tail(text, redactions, end_ms, self._tail(leg_id, start_ms))
        if tail is not None:
            self._tails[leg_id] = tail

    def _tail(self, leg_id: str, start_ms: int) -> _Tail | None:
        tail = self._tails.get(leg_id)
        return tail if tail is not None and start_ms - tail.end_ms <= CONTINUATION_MS else None


def redact_partial(text: str) -> str:
    """Mask each run of three digits or more in a partial: what has been said of an utterance so far."""
    return _replace(text, _judge_partial)[0]


def redact_partial_pair(text: str, stash: str) -> tuple[str, str]:
    """Mask a partial that comes in two parts, which follow each other without a blank.

    A number that spans both is judged as one; its placeholder ends the first part.
    """
    runs = [run for run in _find_runs(text + stash) if run.start < len(text) < run.end]
    across = next(filter(_judge_partial, runs), None)
    if across is not None:
        whole = text + stash
        text, stash = whole[: across.end], whole[across.end :]
    return redact_partial(text), redact_partial(stash)


def _judge_partial(run: _Run) -> RedactionKind | None:
    if run.digits >= CARD_DIGITS:
        return "card_number"
    return "card_fragment" if run.digits >= PARTIAL_DIGITS else None


@dataclass(frozen=True, slots=True)
class _Context:
    """What was heard before and around the run in question."""

    card: bool
    security_code: bool
    tail: _Tail | None

    def judge(self, run: _Run) -> RedactionKind | None:
        """Decide what a run is taken for; None: it may stay."""
        if run.digits >= CARD_DIGITS:
            return "card_number"
        if self.security_code and self._is_security_code(run):
            return "cvv"
        return "card_fragment" if self._is_part(run) else None

    def _is_security_code(self, run: _Run) -> bool:
        alone = run.leads and run.trails
        return run.digits in SECURITY_CODE_DIGITS or (alone and run.digits < SECURITY_CODE_DIGITS.stop)

    def _is_part(self, run: _Run) -> bool:
        if run.digits >= PART_DIGITS:
            return True
        if run.digits >= OPEN_END_DIGITS and (run.trails or self.card or self.security_code):
            return True
        return run.leads and self.tail is not None and self.tail.is_continued_by(run)


def _covers(mention: _Mention | None, start_ms: int, end_ms: int, window_ms: int) -> bool:
    return mention is not None and mention.covers(start_ms, end_ms, window_ms)


def _last_tail(text: str, redactions: Sequence[Redaction], end_ms: int, before: _Tail | None) -> _Tail | None:
    """Find what the next utterance may continue; None: nothing here, so what came before still may be."""
    runs = list(_find_runs(text))
    parts = [redaction for redaction in redactions if redaction.kind != "cvv"]
    if parts and (not runs or runs[-1].end <= parts[-1].start):
        return _Tail(digits=None, trails=True, end_ms=end_ms)
    if not runs:
        return None
    last = runs[-1]
    carried = before.digits if last.leads and before is not None and before.digits is not None else 0
    return _Tail(digits=carried + last.digits, trails=last.trails, end_ms=end_ms)


def _replace(text: str, judge: Callable[[_Run], RedactionKind | None]) -> tuple[str, tuple[Redaction, ...]]:
    """Put placeholders where a run is judged to be something; offsets refer to the resulting text."""
    pieces: list[str] = []
    redactions: list[Redaction] = []
    length = copied = 0
    for run in _find_runs(text):
        kind = judge(run)
        if kind is None:
            continue
        placeholder = REPLACEMENTS[kind]
        start = length + run.start - copied
        pieces += (text[copied : run.start], placeholder)
        length = start + len(placeholder)
        copied = run.end
        redactions.append(Redaction(kind, start, length))
    return "".join((*pieces, text[copied:])), tuple(redactions)


def _find_runs(text: str) -> Iterator[_Run]:
    """Group the digits of a text into runs, in order."""
    items = list(_read_items(text))
    if all(item.number is None for item in items):
        return
    breaks = [index for index, item in enumerate(items) if item.kind == "break"]
    first_break, last_break = (breaks[0], breaks[-1]) if breaks else (len(items), -1)
    for group in _group_numbers(items):
        telling = [index for index in group if _says_digit(items[index])]
        if all(items[index].is_lone_zero for index in telling):
            continue  # no digit either, as in "hundred"
        yield _Run(
            start=items[telling[0]].start,
            end=items[telling[-1]].end,
            digits=_count_digits([number for index in group if (number := items[index].number) is not None]),
            leads=group[0] < first_break,
            trails=group[-1] > last_break,
        )


def _group_numbers(items: list[_Item]) -> Iterator[list[int]]:
    """Yield the indices of number items that belong together."""
    group: list[int] = []
    for index, item in enumerate(items):
        if item.number is None:
            continue
        if group and not _is_bridged(items[group[-1] + 1 : index]):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _read_items(text: str) -> Iterator[_Item]:
    for match in _ITEM.finditer(text):
        start, end = match.span()
        if match["digits"] is not None:
            yield _Item("number", start, end, NumberWord("digit", end - start))
        elif match["opaque"] is not None:
            yield _Item("break", start, end)
        else:
            kind, number, is_lone_zero = _classify(match[0])
            yield _Item(kind, start, end, number, is_lone_zero)


@lru_cache(maxsize=8192)
def _classify(word: str) -> tuple[Literal["number", "filler", "break"], NumberWord | None, bool]:
    """A word's kind, its number, whether it is a zero only among others; words come again and again."""
    folded = fold(word)
    if folded == "o":
        return "number", NumberWord("digit", 1), True
    number = number_word(folded)
    if number is not None:
        return "number", number, folded == "oh"
    is_filler = folded in _FILLERS or _STRAY_LETTER.fullmatch(folded) is not None
    return "filler" if is_filler else "break", None, False


def _is_bridged(between: list[_Item]) -> bool:
    return len(between) <= _MAX_FILLERS and all(item.kind == "filler" for item in between)


def _says_digit(item: _Item) -> bool:
    return item.number is not None and item.number.kind in {"digit", "pair", "tens"}


def _count_digits(numbers: list[NumberWord]) -> int:
    total = 0
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if number.kind == "multiplier" and following is None:
            continue
        total += number.digits
        if number.kind == "tens" and following is not None and following == ("digit", 1):
            total -= 1  # "forty one" is 41
    return total
