"""Which words are numbers, and how many digits of a dictated number each stands for.

Languages: English, German, French, Spanish, Italian; single ideographs for Chinese and Japanese. The
words of all of them are known at once, since a caller may mix them and the recognised language may be
wrong. A compound written as one word (``einundzwanzig``, ``ventitre``, ``veinticinco``) is a number of
two digits.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

NumberKind: TypeAlias = Literal["digit", "pair", "tens", "magnitude", "multiplier"]


class NumberWord(NamedTuple):
    """What a number word contributes to a dictated number.

    ``digit``: 0 to 9. ``pair``: 10 to 19 and compounds. ``tens``: 20, 30 ... 90, which a following digit
    completes (*forty* is two digits, so is *forty one*). ``magnitude``: *hundred*; spoken inside numbers,
    adds no digit of its own. ``multiplier``: *double*, *triple*; adds to the digit after it.
    """

    kind: NumberKind
    digits: int


def _words(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


# All words are folded (qa_service.domain.folding).
_DIGITS = _words("""
zero oh nought nil one two three four five six seven eight nine niner
null eins ein zwei zwo drei vier funf fuenf sechs sieben acht neun
un une deux trois quatre cinq sept huit neuf
cero uno dos tres cuatro cinco seis siete ocho nueve
due tre quattro cinque sei sette otto nove
""")

_PAIRS = _words("""
ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
zehn elf zwolf zwoelf dreizehn vierzehn funfzehn fuenfzehn sechzehn siebzehn achtzehn neunzehn
dix onze douze treize quatorze quinze seize
diez once doce trece catorce quince dieciseis diecisiete dieciocho diecinueve
dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove
""")

_TENS = _words("""
twenty thirty forty fourty fifty sixty seventy eighty ninety
zwanzig dreissig vierzig funfzig fuenfzig sechzig siebzig achtzig neunzig
vingt vingts trente quarante cinquante soixante septante huitante octante nonante
veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa
venti trenta quaranta cinquanta sessanta settanta ottanta novanta
""")

_MAGNITUDES = _words("hundred thousand hundert tausend cent cents cien ciento mil mille mila cento")

_MULTIPLIERS = {
    **dict.fromkeys(("double", "doppel", "doppelt", "zweimal", "doble", "doppio", "doppia"), 1),
    **dict.fromkeys(("triple", "treble", "dreimal", "dreifach", "triplo", "tripla"), 2),
    **dict.fromkeys(("quadruple", "viermal", "vierfach"), 3),
}

IDEOGRAPHS = "〇零一二三四五六七八九两兩幺壹贰叁肆伍陆柒捌玖"
"""Ideographs that stand for one digit each; *yao* (幺) is the telephone's *one*."""

IDEOGRAPHIC_MAGNITUDES = "十百千万萬"

_COMPOUND = re.compile(
    r"(?:ein|zwei|drei|vier|funf|fuenf|sechs|sieben|acht|neun)und"
    r"(?:zwanzig|dreissig|vierzig|funfzig|fuenfzig|sechzig|siebzig|achtzig|neunzig)"
    r"|veinti(?:un|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve)"
    r"|(?:vent|trent|quarant|cinquant|sessant|settant|ottant|novant)"
    r"(?:uno|[ia]due|[ia]tre|[ia]quattro|[ia]cinque|[ia]sei|[ia]sette|otto|[ia]nove)"
)

_WORDS: dict[str, NumberWord] = {
    **{word: NumberWord("digit", 1) for word in _DIGITS},
    **{word: NumberWord("pair", 2) for word in _PAIRS},
    **{word: NumberWord("tens", 2) for word in _TENS},
    **{word: NumberWord("magnitude", 0) for word in _MAGNITUDES},
    **{word: NumberWord("multiplier", extra) for word, extra in _MULTIPLIERS.items()},
    **{sign: NumberWord("digit", 1) for sign in IDEOGRAPHS},
    **{sign: NumberWord("magnitude", 0) for sign in IDEOGRAPHIC_MAGNITUDES},
    "ゼロ": NumberWord("digit", 1),
}


def number_word(folded: str) -> NumberWord | None:
    """Look up a folded word or ideograph; None if it is no number."""
    known = _WORDS.get(folded)
    if known is None and _COMPOUND.fullmatch(folded):
        return NumberWord("pair", 2)
    return known
