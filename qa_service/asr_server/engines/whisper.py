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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import ctranslate2
import numpy as np
import tokenizers

from qa_service.asr_server.agreement import continued
from qa_service.asr_server.engines import Capabilities, Hints, Segment, Transcript
from qa_service.asr_server.engines.doubt import comes_out_of_silence, is_echo, loop_start, without_loop
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.language_belief import apply_prior
from qa_service.audio.mel import log_mel
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
_AUDIBLE: Final = 1e-4  # peak; below one step of 8-bit G.711 there is nothing to recognise

# Names of languages that differ between the protocol and the model. Base knows no Cantonese of its own.
_TO_WHISPER: Final = {"fil": "tl", "yue": "zh"}
_FROM_WHISPER: Final = {"tl": "fil"}


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    no_speech: float
    mean_log_probability: float


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
        )

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        """Recognise one segment of at most 29 s.

        Raises:
            EngineError: ctranslate2 failed.
        """
        if not len(segment.samples) or float(np.abs(segment.samples).max()) < _AUDIBLE:
            return Transcript(text=hints.prefix, language=hints.language or "en", no_speech=1.0)
        try:
            return self._transcribe(segment, hints)
        except RuntimeError as error:
            raise EngineError(
                f"{self._name} failed on {segment.duration_s:.1f} s of audio: {error}"
            ) from error

    def _transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        window_s = min(max(_MIN_WINDOW_S, segment.duration_s + _WINDOW_MARGIN_S), _MAX_WINDOW_S)
        features = log_mel(segment.samples, window_s, self._model.n_mels)[np.newaxis]
        encoded = self._model.encode(ctranslate2.StorageView.from_array(features))
        probabilities: Mapping[str, float] = {}
        language = hints.language if self._is_multilingual else "en"
        if language is None:
            probabilities = hints.language_heard or self._detect(encoded)
            language = apply_prior(probabilities, hints.language_prior, segment.duration_s)
        decoded = self._decode_with_doubt(encoded, segment, language, hints)
        return Transcript(
            text=decoded.text,
            language=language,
            language_probabilities=probabilities,
            no_speech=decoded.no_speech,
            mean_log_probability=decoded.mean_log_probability,
        )

    def _detect(self, encoded: ctranslate2.StorageView) -> dict[str, float]:
        """The probability of each language that the protocol has a code for."""
        named = ((token.strip("<|>"), p) for token, p in self._model.detect_language(encoded)[0])
        coded = {_FROM_WHISPER.get(name, name): p for name, p in named}
        known = {code: p for code, p in coded.items() if code in LANGUAGES}
        total = sum(known.values())
        return {code: p / total for code, p in known.items()}

    def _decode_with_doubt(
        self, encoded: ctranslate2.StorageView, segment: Segment, language: str, hints: Hints
    ) -> _Decoded:
        limit = round(_TOKENS_FREE + _TOKENS_PER_S * segment.duration_s)
        decode = partial(self._decode, encoded, language, limit, beams=_FINAL_BEAMS if hints.final else 1)
        background = f"{hints.corpus or ''} {hints.before}".strip()
        decoded = decode(background=self._background(hints))
        if background and (is_echo(decoded.text, background) or loop_start(decoded.text) is not None):
            decoded = decode()
        if loop_start(decoded.text) is not None:
            decoded = decode(no_repeats=True)
        silent = comes_out_of_silence(
            decoded.text,
            segment,
            no_speech=decoded.no_speech,
            mean_log_probability=decoded.mean_log_probability,
        )
        text = hints.prefix if silent else continued(hints.prefix, without_loop(decoded.text))
        return _Decoded(text, decoded.no_speech, decoded.mean_log_probability)

    def _decode(
        self,
        encoded: ctranslate2.StorageView,
        language: str,
        limit: int,
        *,
        beams: int,
        background: Sequence[int] = (),
        no_repeats: bool = False,
    ) -> _Decoded:
        spoken = [self._language_token(language)] if self._is_multilingual else []
        prompt = [*background, self._start, *spoken, *self._task]
        result = self._model.generate(
            encoded,
            [prompt],
            beam_size=beams,
            max_length=min(len(prompt) + limit, _MAX_TOKENS),
            no_repeat_ngram_size=_NO_REPEAT_TOKENS if no_repeats else 0,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens: Sequence[int] = result.sequences_ids[0]
        # The end token is scored and not among the tokens.
        mean = result.scores[0] * len(tokens) / (len(tokens) + 1)
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return _Decoded(text.strip(), float(result.no_speech_prob), float(mean))

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
        return self._token(f"<|{_TO_WHISPER.get(language, language)}|>")

    def _token(self, text: str) -> int:
        found: int | None = self._tokenizer.token_to_id(text)
        if found is None:
            raise EngineError(f"{self._name} is no Whisper model: its vocabulary lacks {text}")
        return found
