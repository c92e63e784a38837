"""Whisper models through ctranslate2: one encoder pass, language, greedy decoding, and doubt.

Decided here: the encoder sees a window of max(10 s, segment + 1 s) instead of the 30 s that the model was
trained on: a fifth of the time for short segments at the same error rate, while below about 7.5 s it breaks.
int8, one core per call, no time stamps; greedy, but for finals, which get a second beam. The decoder is told
what was said just before: numbers read out with pauses become right by it. What is confirmed already is put
before the text afterwards: given to the decoder as its beginning it saves no time (a token of a prompt costs
as much as one decoded), and at times it is said twice. A text that loops is decoded again without repeats,
one that echoes the background again without it; what comes out of silence is no text.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import ctranslate2
import numpy as np
import tokenizers

from qa_service.asr_server.agreement import continued
from qa_service.asr_server.engines import Capabilities, Hints, Segment, Transcript, Word
from qa_service.asr_server.engines.doubt import comes_out_of_silence, is_echo, loop_start, without_loop
from qa_service.asr_server.engines.word_times import words_of
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.language_belief import apply_prior
from qa_service.audio.mel import FRAMES_PER_SECOND, log_mel
from qa_service.protocol import LANGUAGES

_MIN_WINDOW_S: Final = 10.0
_WINDOW_MARGIN_S: Final = 1.0  # silence after the segment, without which the last word suffers
_MAX_WINDOW_S: Final = 30.0  # the encoder has positions for no more

_TOKENS_FREE: Final = 24  # tokens that any segment may take
_TOKENS_PER_S: Final = 20.0  # more than any language needs (English 4, Hindi 15); bounds runaway decoding
_MAX_TOKENS: Final = 448  # the decoder has positions for no more
_CORPUS_TOKENS: Final = 120  # of the background text that the decoder is given, the first ones
_BEFORE_TOKENS: Final = 60  # of what was said just before, the last ones: some sentences
_FINAL_BEAMS: Final = 2  # a twentieth more time than one, and a tenth fewer errors in Russian and German
_NO_REPEAT_TOKENS: Final = 3  # n-gram size forbidden to repeat in the second decoding of a loop
_BATCH: Final = 4  # eight take no less time each, and hold their thread for longer
_AUDIBLE: Final = 1e-4  # peak; below one step of 8-bit G.711 there is nothing to recognise

# What stands for a language of the protocol that a model has no token for: another name of it, or, for
# Cantonese, which only large-v3 and its kin know, the language that it is written like.
_TO_WHISPER: Final = {"fil": "tl", "yue": "zh"}
_FROM_WHISPER: Final = {"tl": "fil"}


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    tokens: list[int]
    no_speech: float
    mean_log_probability: float


@dataclass(slots=True, eq=False)
class _Asked:
    """One segment of a call and what is found out about it on the way."""

    segment: Segment
    hints: Hints
    background: Sequence[int] = ()
    language: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    transcript: Transcript = field(init=False)

    def __post_init__(self) -> None:
        # What stands if there is nothing to hear.
        self.transcript = Transcript(
            text=self.hints.prefix, language=self.hints.language or "en", no_speech=1.0
        )


class WhisperEngine:
    """A Whisper model in ctranslate2's format, of any size; one for English alone takes all for English.

    ``threads`` calls run side by side, each on one core. Raises `EngineError` if the folder holds no such
    model.
    """

    def __init__(self, folder: Path, *, model: str, threads: int) -> None:
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="int8", inter_threads=threads, intra_threads=1
            )
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # neither library has a public base class of its errors
            raise EngineError(f"cannot load the speech model in {folder}: {error}") from error
        self._name = model
        self._previous = self._token("<|startofprev|>")
        self._start = self._token("<|startoftranscript|>")
        self._is_multilingual: bool = self._model.is_multilingual
        # A model that knows one language and one task is told neither.
        task = ("<|transcribe|>", "<|notimestamps|>") if self._is_multilingual else ("<|notimestamps|>",)
        self._task = [self._token(token) for token in task]

    @property
    def capabilities(self) -> Capabilities:
        """Whisper detects languages, if it knows several, and can be biased by a background text."""
        return Capabilities(
            engine="whisper",
            model=self._name,
            max_segment_s=_MAX_WINDOW_S - _WINDOW_MARGIN_S,
            detects_language=self._is_multilingual,
            takes_corpus=True,
            times_words=True,
            max_batch=_BATCH,
            encodes=True,
        )

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        """Recognise one segment of at most 29 s.

        Costs, with the base model on one core (docs/performance-asr.md has the machine): 120 ms to encode up
        to 9 s of sound (15 s: 230, 25 s: 610) and 8 ms for each token, of which English has 3 to 4 a second;
        30 to 60 ms more for word times.

        Raises:
            EngineError: ctranslate2 failed.
        """
        return self.transcribe_batch([segment], [hints])[0]

    def transcribe_batch(self, segments: Sequence[Segment], hints: Sequence[Hints]) -> list[Transcript]:
        """Recognise segments side by side in one thread: four cost a quarter to a third less.

        The encoder gains nothing by it, the decoder two to three times, since it waits for its weights. Only
        segments of one window and with backgrounds of one length are decoded together; up to 9 s and without
        a background, that is all.

        Raises:
            EngineError: ctranslate2 failed.
        """
        asked = [_Asked(segment, hint) for segment, hint in zip(segments, hints, strict=True)]
        groups: dict[Hashable, list[_Asked]] = {}
        for one in asked:
            if _is_audible(one.segment):
                one.background = self._background(one.hints)
                alike = (_window_s(one.segment), len(one.background), one.hints.final)
                groups.setdefault(alike if one.segment.encoding is None else id(one), []).append(one)
        for group in groups.values():
            try:
                self._transcribe(group)
            except RuntimeError as error:
                seconds = ", ".join(f"{one.segment.duration_s:.1f} s" for one in group)
                raise EngineError(f"{self._name} failed on {seconds} of audio: {error}") from error
        return [one.transcript for one in asked]

    def encode(self, segment: Segment) -> ctranslate2.StorageView:
        """The encoder's output, shape (1, positions, width): about half the work of a short segment.

        Raises:
            EngineError: ctranslate2 failed.
        """
        try:
            return self._encode([segment])
        except RuntimeError as error:
            raise EngineError(
                f"{self._name} failed on {segment.duration_s:.1f} s of audio: {error}"
            ) from error

    def _encode(self, segments: Sequence[Segment]) -> ctranslate2.StorageView:
        window_s = _window_s(segments[0])
        features = np.stack([log_mel(one.samples, window_s, self._model.n_mels) for one in segments])
        return self._model.encode(ctranslate2.StorageView.from_array(features))

    def _transcribe(self, group: Sequence[_Asked]) -> None:
        """Find the transcripts of segments that can be decoded together."""
        given = group[0].segment.encoding
        encoded = self._encode([one.segment for one in group]) if given is None else given
        self._find_languages(encoded, group)
        first = self._decode(encoded, group, [one.background for one in group])
        for number, (one, decoded) in enumerate(zip(group, first, strict=True)):
            alone = encoded if len(group) == 1 else _row(encoded, number)
            self._settle(alone, one, decoded)

    def _find_languages(self, encoded: ctranslate2.StorageView, group: Sequence[_Asked]) -> None:
        for one in group:
            one.language = (one.hints.language or "") if self._is_multilingual else "en"
            one.probabilities = {} if one.language else one.hints.language_heard
        if any(not one.language and not one.probabilities for one in group):
            for one, found in zip(group, self._detect(encoded), strict=True):
                if not one.language:
                    one.probabilities = one.probabilities or found
        for one in group:
            if not one.language:
                prior, duration_s = one.hints.language_prior, one.segment.duration_s
                one.language = apply_prior(one.probabilities, prior, duration_s)

    def _detect(self, encoded: ctranslate2.StorageView) -> list[dict[str, float]]:
        """For each segment, the probability of each language that the protocol has a code for."""
        return [_in_protocol_codes(found) for found in self._model.detect_language(encoded)]

    def _settle(self, encoded: ctranslate2.StorageView, one: _Asked, decoded: _Decoded) -> None:
        """Doubt what was decoded, and decode again where there is reason to."""
        background = f"{one.hints.corpus or ''} {one.hints.before}".strip()
        if background and (is_echo(decoded.text, background) or loop_start(decoded.text) is not None):
            (decoded,) = self._decode(encoded, [one], [()])
        if loop_start(decoded.text) is not None:
            (decoded,) = self._decode(encoded, [one], [()], no_repeats=True)
        silent = comes_out_of_silence(
            decoded.text,
            one.segment,
            no_speech=decoded.no_speech,
            mean_log_probability=decoded.mean_log_probability,
        )
        text = one.hints.prefix
        words: tuple[Word, ...] = ()
        if not silent:
            heard = without_loop(decoded.text)
            text = continued(text, heard)
            if one.hints.word_times:
                words = self._time_words(encoded, one, decoded, heard, text)
        one.transcript = Transcript(
            text=text,
            language=one.language,
            language_probabilities=one.probabilities,
            no_speech=decoded.no_speech,
            mean_log_probability=decoded.mean_log_probability,
            words=words,
        )

    def _time_words(
        self, encoded: ctranslate2.StorageView, one: _Asked, decoded: _Decoded, heard: str, text: str
    ) -> tuple[Word, ...]:
        """When the words of ``text`` were said, as far as they are those ``heard``: its end is the same."""
        if not decoded.tokens:
            return ()
        frames = round(one.segment.duration_s * FRAMES_PER_SECOND)
        (found,) = self._model.align(encoded, self._opening(one.language)[:-1], [decoded.tokens], [frames])
        starts: dict[int, int] = {}
        for token, position in found.alignments:
            starts.setdefault(token, position)
        return words_of(text, heard, self._token_ends(decoded.tokens), starts)

    def _token_ends(self, tokens: Sequence[int]) -> list[int]:
        """How many characters the text has after each token; a character may take several."""
        texts = [self._text_of(tokens[: count + 1]) for count in range(len(tokens))]
        return [len(text.rstrip("\ufffd")) for text in texts]

    def _text_of(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.strip()

    def _decode(
        self,
        encoded: ctranslate2.StorageView,
        group: Sequence[_Asked],
        backgrounds: Sequence[Sequence[int]],
        *,
        no_repeats: bool = False,
    ) -> list[_Decoded]:
        prompts = [
            [*background, *self._opening(one.language)]
            for one, background in zip(group, backgrounds, strict=True)
        ]
        longest_s = max(one.segment.duration_s for one in group)
        limit = round(_TOKENS_FREE + _TOKENS_PER_S * longest_s)
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=_FINAL_BEAMS if group[0].hints.final else 1,
            max_length=min(len(prompts[0]) + limit, _MAX_TOKENS),
            no_repeat_ngram_size=_NO_REPEAT_TOKENS if no_repeats else 0,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [self._read(result) for result in results]

    def _read(self, result: ctranslate2.models.WhisperGenerationResult) -> _Decoded:
        tokens: list[int] = result.sequences_ids[0]
        # The end token is scored and not among the tokens.
        mean = result.scores[0] * len(tokens) / (len(tokens) + 1)
        return _Decoded(self._text_of(tokens), tokens, float(result.no_speech_prob), float(mean))

    def _opening(self, language: str) -> list[int]:
        """The tokens after which the text begins; a model that knows one language is told none."""
        spoken = [self._language_token(language)] if self._is_multilingual else []
        return [self._start, *spoken, *self._task]

    def _background(self, hints: Hints) -> list[int]:
        """What the decoder is told before the segment: background first, then what was just said."""
        corpus = self._tokens_of(hints.corpus or "")[:_CORPUS_TOKENS]
        before = self._tokens_of(hints.before)[-_BEFORE_TOKENS:]
        return [self._previous, *corpus, *before] if corpus or before else []

    def _tokens_of(self, text: str) -> list[int]:
        if not text.strip():
            return []
        ids: list[int] = self._tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        return ids

    def _language_token(self, language: str) -> int:
        found: int | None = self._tokenizer.token_to_id(f"<|{language}|>")
        return self._token(f"<|{_TO_WHISPER.get(language, language)}|>") if found is None else found

    def _token(self, text: str) -> int:
        found: int | None = self._tokenizer.token_to_id(text)
        if found is None:
            raise EngineError(f"{self._name} is no Whisper model: its vocabulary lacks {text}")
        return found


def _is_audible(segment: Segment) -> bool:
    return len(segment.samples) > 0 and float(np.abs(segment.samples).max()) >= _AUDIBLE


def _window_s(segment: Segment) -> float:
    """The seconds that the encoder is shown of a segment, silence behind it included."""
    return min(max(_MIN_WINDOW_S, segment.duration_s + _WINDOW_MARGIN_S), _MAX_WINDOW_S)


def _row(encoded: ctranslate2.StorageView, number: int) -> ctranslate2.StorageView:
    """One segment's part of what was encoded together."""
    return ctranslate2.StorageView.from_array(np.array(encoded)[number : number + 1])


def _in_protocol_codes(found: Sequence[tuple[str, float]]) -> dict[str, float]:
    named = ((token.strip("<|>"), p) for token, p in found)
    coded = {_FROM_WHISPER.get(name, name): p for name, p in named}
    known = {code: p for code, p in coded.items() if code in LANGUAGES}
    total = sum(known.values())
    return {code: p / total for code, p in known.items()}
