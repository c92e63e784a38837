"""The shape of the ids that a server gives out."""

from __future__ import annotations

import string
from typing import Final

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_LENGTH: Final = 21  # characters after the underscore, as seen from the real service (section 1.5)


def server_id(prefix: str, entropy: int) -> str:
    """``prefix``, an underscore and 21 letters and digits made from ``entropy`` (at least 0; 125 bits count).

    The caller brings the randomness: ``server_id("item", secrets.randbits(128))``.
    """
    characters: list[str] = []
    for _ in range(_LENGTH):
        entropy, digit = divmod(entropy, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(characters)}"
