"""How likely each 32-ms frame of a session's audio is speech, and how loud it is.

Decided here: the audio is judged at 8 kHz, the telephone's own rate, in frames of 256 samples; what does not
fill a frame waits for more. A `VoiceDetector` is shared by all sessions and holds the model; each session
opens a `VoiceStream` of its own, which holds the session's state. Streams compute: call them off the event
loop.
"""

from __future__ import annotations

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
_STATE_SHAPE: Final = (2, 1, 128)

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
        return SileroStream(self._model)


class SileroStream:
    """The recurrent state of Silero for one session."""

    def __init__(self, model: ort.InferenceSession) -> None:
        self._model = model
        self._framer = _Framer()
        self._state = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)
        self._rate = np.array(SAMPLE_RATE_HZ, dtype=np.int64)

    def push(self, samples: Float32) -> list[VoiceFrame]:
        """Take the next 8 kHz samples; give the frames they complete."""
        return [VoiceFrame(self._judge(frame), levels_db(frame)) for frame in self._framer.push(samples)]

    def _judge(self, frame: Float32) -> float:
        window = np.concatenate((self._context, frame))[np.newaxis]
        feed = {"input": window, "state": self._state, "sr": self._rate}
        probability, state = self._model.run(None, feed)
        self._state = np.asarray(state)
        self._context = frame[-_CONTEXT_SAMPLES:]
        return float(np.asarray(probability).item())


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
