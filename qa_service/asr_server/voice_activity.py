"""How likely each 32-ms frame of a session's audio is speech, and how loud it is.

Decided here: the audio is judged at 8 kHz, the telephone's own rate, in frames of 256 samples; what does not
fill a frame waits for more. A `VoiceDetector` is shared by all sessions and holds the model; each session
opens a `VoiceStream` of its own, which holds the session's state. Frames of several streams are judged in
one call of the model. All of it computes: call it off the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from qa_service.asr_server.audibility import PARTS, SILENT_DB, VoiceFrame
from qa_service.asr_server.errors import EngineError

SAMPLE_RATE_HZ: Final = 8_000
FRAME_SAMPLES: Final = 256  # 32 ms, the only frame that Silero takes at 8 kHz

_CONTEXT_SAMPLES: Final = 32  # samples of the previous frame that Silero wants before each frame at 8 kHz
_STATE_SHAPE: Final = (2, 1, 128)  # layers and values, of one stream
_RATE: Final = np.array(SAMPLE_RATE_HZ, dtype=np.int64)

_SILENT_POWER: Final = 10 ** (SILENT_DB / 10)
_AUDIBLE_RMS: Final = 0.01  # -40 dBFS; the scripted markers are at -12

Float32 = npt.NDArray[np.float32]


class VoiceStream(Protocol):
    """The voice activity of one session's audio."""

    def push(self, samples: Float32) -> list[VoiceFrame]:
        """Take the next 8 kHz samples (float32, ±1); give the frames completed."""
        ...


class VoiceDetector(Protocol):
    """A voice activity model that any number of sessions share."""

    def open(self) -> VoiceStream:
        """A stream in its initial state."""
        ...


def push_all(sounds: Sequence[tuple[VoiceStream, Float32]]) -> list[list[VoiceFrame]]:
    """What `VoiceStream.push` gives for the next samples of each of several streams, at less cost."""
    found: list[list[VoiceFrame]] = [[] for _ in sounds]
    together: dict[SileroDetector, list[tuple[int, SileroStream, Float32]]] = {}
    for place, (stream, samples) in enumerate(sounds):
        if isinstance(stream, SileroStream):
            together.setdefault(stream.detector, []).append((place, stream, samples))
        else:
            found[place] = stream.push(samples)
    for detector, asked in together.items():
        answers = detector.judge([(stream, samples) for _, stream, samples in asked])
        for (place, _, _), frames in zip(asked, answers, strict=True):
            found[place] = frames
    return found


class SileroDetector:
    """Silero's detector at its native 8 kHz, on one thread of onnxruntime.

    Raises `EngineError` if the file cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        # The pool of the server brings the parallelism; a second thread here only costs switches.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._model = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no public base class of its errors
            raise EngineError(f"cannot load the voice activity model {path}: {error}") from error

    def open(self) -> SileroStream:
        """A stream in its initial state."""
        return SileroStream(self)

    def judge(self, sounds: Sequence[tuple[SileroStream, Float32]]) -> list[list[VoiceFrame]]:
        """The frames completed by the next samples of each stream, one of each in a call of the model."""
        cut = [(stream, stream.framer.push(samples)) for stream, samples in sounds]
        probabilities: list[list[float]] = [[] for _ in cut]
        for number in range(max((len(frames) for _, frames in cut), default=0)):
            having = [place for place, (_, frames) in enumerate(cut) if number < len(frames)]
            found = self._judge_frames([(cut[place][0], cut[place][1][number]) for place in having])
            for place, probability in zip(having, found, strict=True):
                probabilities[place].append(probability)
        return [
            [VoiceFrame(p, levels_db(f)) for p, f in zip(found, frames, strict=True)]
            for found, (_, frames) in zip(probabilities, cut, strict=True)
        ]

    def _judge_frames(self, frames: Sequence[tuple[SileroStream, Float32]]) -> list[float]:
        """The probability of speech in one frame of each of several streams, whose states go on by it."""
        streams = [stream for stream, _ in frames]
        windows = np.stack([np.concatenate((stream.context, frame)) for stream, frame in frames])
        states = np.concatenate([stream.state for stream in streams], axis=1)
        found, after = self._model.run(None, {"input": windows, "state": states, "sr": _RATE})
        after = np.asarray(after)
        for place, (stream, frame) in enumerate(frames):
            stream.state = after[:, place : place + 1]
            stream.context = frame[-_CONTEXT_SAMPLES:]
        probabilities: list[float] = np.asarray(found)[:, 0].tolist()
        return probabilities


class SileroStream:
    """The recurrent state of Silero for one session."""

    def __init__(self, detector: SileroDetector) -> None:
        self.detector = detector
        self.framer = _Framer()
        self.state: Float32 = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self.context: Float32 = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def push(self, samples: Float32) -> list[VoiceFrame]:
        """Take the next 8 kHz samples; give the frames they complete."""
        return self.detector.judge([(self, samples)])[0]


class LoudnessDetector:
    """Calls speech what is louder than -40 dBFS: for the scripted engine, whose markers are no voice."""

    def open(self) -> LoudnessStream:
        """A stream in its initial state."""
        return LoudnessStream()


class LoudnessStream:
    """The loudness of one session's frames as a probability of 0 or 1."""

    def __init__(self) -> None:
        self._framer = _Framer()

    def push(self, samples: Float32) -> list[VoiceFrame]:
        """Take the next 8 kHz samples; each frame they complete is speech, at 1.0, if it is loud."""
        frames = self._framer.push(samples)
        return [VoiceFrame(float(np.sqrt(np.mean(f**2)) > _AUDIBLE_RMS), levels_db(f)) for f in frames]


def levels_db(frame: Float32) -> tuple[float, ...]:
    """The levels of the parts of one frame (float32, ±1) in dB, full scale is 0."""
    powers = np.mean(frame.reshape(PARTS, -1) ** 2, axis=1)
    return tuple((10 * np.log10(powers + _SILENT_POWER)).tolist())


class _Framer:
    """Cuts a stream of samples into frames."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, dtype=np.float32)

    def push(self, samples: Float32) -> Float32:
        """The frames completed by ``samples``: shape (frames, 256)."""
        joined = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(joined) - len(joined) % FRAME_SAMPLES
        self._rest = joined[whole:]
        return joined[:whole].reshape(-1, FRAME_SAMPLES)
