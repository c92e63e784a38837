"""When a decoded text must not be believed: loops, echoes of the prompt, words out of silence.

Decided here: evidence, not lists of phrases. A text is a loop if it says the same thing over and over; an
echo if it stands in the background text that the decoder was given; it comes out of silence if the model
itself hears no speech and is unsure of its words, or says more words than the voiced time can hold.
"""

from __future__ import annotations

from typing import Final

from qa_service.asr_server.agreement import units
from qa_service.asr_server.engines import Segment

_LOOP_UNITS_MAX: Final = 12  # longest phrase, in words, that is looked for in a loop
_LOOP_REPEATS: Final = 4  # a phrase this often in a row is no speech; people do say things three times
_WORD_REPEATS: Final = 7  # a single word may come more often: "no no no no"

_NO_SPEECH: Final = (
    0.6  # with _UNSURE: the decoder's usual rule for silence (Radford et al. 2022, section 4.5)
)
_UNSURE: Final = -1.0  # mean log probability of the tokens
_DOUBTFUL_NO_SPEECH: Final = 0.3  # enough, where the text does not fit into the voiced time
_CHARACTERS_PER_S: Final = 30.0  # fast English has about 20
_CHARACTERS_FREE: Final = 10.0  # allowed on top, since the detector's frames are coarse
_ECHO_MIN_LETTERS: Final = 6  # a word or two of the background may well have been said
_HAN_LETTERS: Final = 2  # that a Chinese character, or a syllable of kana or Hangul, counts for
_FIRST_HAN: Final = "\u3040"  # kana, Han and Hangul come after it, scripts with shorter letters before


def loop_start(text: str) -> int | None:
    """Where in a text a loop's first repetition begins, in characters; None if it has no loop."""
    words = units(text)
    plain = [_plain(word) for word in words]
    for size in range(1, _LOOP_UNITS_MAX + 1):
        repeats = _WORD_REPEATS if size == 1 else _LOOP_REPEATS
        for start in range(len(words) - size * repeats + 1):
            phrase = plain[start : start + size]
            if all(plain[start + n * size : start + (n + 1) * size] == phrase for n in range(1, repeats)):
                return len("".join(words[: start + size]))
    return None


def without_loop(text: str) -> str:
    """A text up to where it begins to repeat itself, the phrase said once."""
    start = loop_start(text)
    return text if start is None else text[:start]


def is_echo(text: str, corpus: str) -> bool:
    """Whether a text may have been read out of the background text instead of heard."""
    plain = _plain(text)
    letters = sum(_HAN_LETTERS if character >= _FIRST_HAN else 1 for character in plain)
    return letters >= _ECHO_MIN_LETTERS and plain in _plain(corpus)


def comes_out_of_silence(
    text: str, segment: Segment, *, no_speech: float, mean_log_probability: float
) -> bool:
    """Whether the evidence is that nobody said this text."""
    if no_speech > _NO_SPEECH and mean_log_probability < _UNSURE:
        return True
    if segment.voiced_s is None:
        return False
    room = _CHARACTERS_FREE + _CHARACTERS_PER_S * segment.voiced_s
    return no_speech > _DOUBTFUL_NO_SPEECH and len(text) > room


def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())
