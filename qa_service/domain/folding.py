"""When two spellings count as the same: compatibility form, case and Western accents are dropped.

``Kündigung``, ``KUNDIGUNG`` and the full-width ``ＫÜＮＤＩＧＵＮＧ`` fold alike. Only the combining marks of
Latin, Greek and Cyrillic writing go; the marks that carry the vowels of Thai or the voicing of kana are
spelling, not decoration, and stay.
"""

from __future__ import annotations

import re
import unicodedata

_WESTERN_MARKS = re.compile("[\u0300-\u036f]")  # Unicode block "Combining Diacritical Marks"


def fold(text: str) -> str:
    """Fold a text for comparison; the result may be longer or shorter than the text."""
    if text.isascii():
        return text.lower()
    spread = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _WESTERN_MARKS.sub("", spread))
