"""Speech that needs no model: each word is a stretch of samples of one value, which names it.

A recogniser that reads words out of the samples, wherever it cuts them, makes it possible to tell a word
that was lost or doubled from one that merely came in another utterance.
"""

from __future__ import annotations

from typing import Final

import numpy as np

RATE_HZ: Final = 8000
LOUDNESS: Final = 4000
"""Sample value of word zero: loud enough for any voice gate."""
MOST_WORDS: Final = 28_000
"""Words have to be told apart by a 16-bit sample value above :data:`LOUDNESS`."""

_TO_LETTERS: Final = str.maketrans("0123456789", "bcdfghjklm")
_TO_DIGITS: Final = str.maketrans("bcdfghjklm", "0123456789")
ALARM: Final = "alarm"
"""A word that rules listen for; it follows the one that names its place."""
ALARM_EVERY: Final = 1000
"""Words whose number is divisible by this carry an alarm."""


def say(number: int, samples: int) -> bytes:
    """Audio of a word, 16-bit PCM."""
    return np.full(samples, LOUDNESS + number, dtype="<i2").tobytes()


def hush(samples: int) -> bytes:
    """Audio of nothing."""
    return bytes(2 * samples)


def runs_of(pcm: bytes) -> list[tuple[int | None, int]]:
    """Words (None: silence) and their lengths in samples, in order."""
    if pcm == pcm[:2] * (len(pcm) // 2):  # one run, as most of what is sent at a time
        value = int.from_bytes(pcm[:2], "little", signed=True)
        return [(value - LOUDNESS if value else None, len(pcm) // 2)] if pcm else []
    samples = np.frombuffer(pcm, dtype="<i2")
    borders = np.flatnonzero(np.diff(samples)) + 1
    starts = [0, *borders.tolist(), samples.size]
    values = samples[starts[:-1]].tolist()
    return [
        (value - LOUDNESS if value else None, end - start)
        for value, start, end in zip(values, starts, starts[1:], strict=False)
    ]


def name_of(number: int) -> str:
    """What names a word in a text; letters, since digits would be redacted."""
    return f"z{number}".translate(_TO_LETTERS)


def spell(number: int) -> str:
    """A word's text: its name, and the alarm if it carries one."""
    return name_of(number) if number % ALARM_EVERY else f"{name_of(number)} {ALARM}"


def read_words(text: str) -> list[int]:
    """The words of a text."""
    return [int(spelt[1:].translate(_TO_DIGITS)) for spelt in text.split() if spelt != ALARM]
