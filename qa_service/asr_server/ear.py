"""How a session hears its audio: decoded, kept, and judged for where utterances begin and end.

Decided here: an append is heard in pieces of half a second, so that results come while a long one is worked
on. Opus is decoded to 16 kHz, short appends of it in the event loop and longer ones on the thread for voice
activity, which also resamples and judges.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Final

from qa_service.asr_server.audio_track import AudioTrack
from qa_service.asr_server.recognition import Sound
from qa_service.asr_server.segmenter import Boundary, Endpointing, Segmenter
from qa_service.asr_server.voice_activity import (
    SAMPLE_RATE_HZ as VOICE_RATE_HZ,
    Float32,
    VoiceDetector,
)
from qa_service.asr_server.voice_batches import VoiceBatches
from qa_service.audio.opus_stream import OpusStream
from qa_service.audio.resample import PCM_SAMPLE_BYTES, StreamResampler, samples_of_pcm
from qa_service.protocol import SessionConfig, TurnDetection

_PIECE_MS: Final = 500  # of a long append that is heard at a time
_OPUS_TRACK_HZ: Final = 16_000  # what Opus is decoded to; it has no rate of its own (section 3.2)
# Of Opus that are decoded in the event loop: a second of speech, about 2 ms. To change threads takes longer
# than to decode the packets of 20 ms that most clients send.
_OPUS_AT_ONCE_BYTES: Final = 2048


class Ear:
    """The audio of a session in one format and one mode, from ``base_ms`` of the session on."""

    def __init__(
        self, config: SessionConfig, detector: VoiceDetector, voices: VoiceBatches, base_ms: int
    ) -> None:
        is_opus = config.input_audio_format == "opus"
        rate_hz = _OPUS_TRACK_HZ if is_opus else config.sample_rate
        self.track = AudioTrack(rate_hz, base_ms)
        turn_detection = config.turn_detection or TurnDetection()
        self.padding_ms = 0 if config.manual else turn_detection.prefix_padding_ms
        self.segmenter = Segmenter(_endpointing(turn_detection), base_ms)
        # Manual mode: where the audio that is not committed begins.
        self.turn_start_ms = base_ms
        self._opus = OpusStream(rate_hz) if is_opus else None
        self._resampler = StreamResampler(rate_hz, VOICE_RATE_HZ)
        self._voice = detector.open()
        self._voices = voices

    @property
    def fault(self) -> str | None:
        """Why some of the audio taken last cannot be decoded, if that is so."""
        return None if self._opus is None else self._opus.fault

    async def pieces(self, audio: bytes) -> AsyncIterator[bytes]:
        """An append as PCM, bit by bit."""
        if self._opus is None:
            for piece in _cut(audio, self.track.rate_hz):
                yield piece
            return
        decode_some = partial(next, self._opus.push(audio), None)
        is_short = len(audio) <= _OPUS_AT_ONCE_BYTES
        while (pcm := decode_some() if is_short else await self._voices.run(decode_some)) is not None:
            if pcm:
                yield pcm

    async def listen(self, piece: bytes) -> list[Boundary]:
        """Keep a piece; give the boundaries in it."""
        self.track.append(piece)
        return await self._judge(lambda: self._resampler.push(samples_of_pcm(piece)))

    async def listen_to_rest(self) -> list[Boundary]:
        """The boundaries in what was still held back."""
        return await self._judge(self._resampler.finish)

    def reconfigure(self, turn_detection: TurnDetection | None) -> None:
        """Use other settings of endpointing from here on; None leaves them."""
        if turn_detection is not None:
            self.segmenter.reconfigure(_endpointing(turn_detection))

    def sound(self, start_ms: int, end_ms: int, voiced_ms: int | None = None) -> Sound:
        """What was heard from ``start_ms`` to ``end_ms``, as far as it is there."""
        return Sound(
            pcm=self.track.read(start_ms, end_ms),
            rate_hz=self.track.rate_hz,
            voiced_s=None if voiced_ms is None else voiced_ms / 1000,
        )

    def clear(self) -> None:
        """Forget all that was heard so far."""
        self.segmenter.drop()
        self.forget_turn()

    def forget_turn(self) -> None:
        """Manual mode: what comes next belongs to another turn."""
        self.turn_start_ms = self.track.end_ms
        self.track.forget_before(self.track.end_ms)

    async def _judge(self, samples: Callable[[], Float32]) -> list[Boundary]:
        return self.segmenter.push(await self._voices.judge(self._voice, samples))


def _endpointing(turn_detection: TurnDetection) -> Endpointing:
    return Endpointing(
        speech_probability=turn_detection.speech_probability,
        silence_ms=turn_detection.silence_duration_ms,
        padding_ms=turn_detection.prefix_padding_ms,
    )


def _cut(audio: bytes, rate_hz: int) -> Iterator[bytes]:
    size = _PIECE_MS * rate_hz // 1000 * PCM_SAMPLE_BYTES
    return (audio[start : start + size] for start in range(0, len(audio), size))
