"""What is played to a recogniser: the project's samples, a corpus folder, and sounds that nobody spoke.

Decided here: every recording goes through a telephone line (8 kHz, 300 to 3400 Hz, µ-law), with idle line
noise before and after it. Speech is where a 20-ms frame has at least the energy of the 98th percentile less
32 dB: the last sample of the last such frame is the reference that the *excess* of a final is counted from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile

from qa_service.audio.line import LINE_RATE_HZ, through_line
from qa_service.samples import load_samples

APPEND_MS: Final = 20
_FRAME: Final = LINE_RATE_HZ * APPEND_MS // 1000
_LOUD_PERCENTILE: Final = 98.0
_RANGE_DB: Final = 32.0
_IDLE_LEVEL: Final = 5e-4  # RMS of an idle line, -66 dBFS: one or two steps of G.711
_LEAD_S: Final = 0.5
_SEED: Final = 7

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]


class CorpusError(Exception):
    """A corpus folder cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording as it comes over the line, and what is known of it; ``text`` None: not written down."""

    name: str
    group: str
    language: str
    text: str | None
    samples: Int16

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / LINE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Track:
    """A recording with the idle line around it; times in milliseconds from its first sample."""

    recording: Recording
    pcm: bytes
    speech_start_ms: float
    speech_end_ms: float


def sample_recordings() -> list[Recording]:
    """Each line of the project's sample calls as a recording of its own."""
    return [recording for call in load_samples() for recording in _lines(call.id)]


def corpus_recordings(folder: Path) -> list[Recording]:
    """The recordings of a folder with a ``manifest.jsonl`` (``file``, ``language``, ``text``).

    Raises:
        CorpusError: there is no such manifest, or a file is not there.
    """
    manifest = folder / "manifest.jsonl"
    try:
        entries = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line]
        return [_read(folder, entry) for entry in entries if entry["language"]]
    except (OSError, ValueError, KeyError, soundfile.SoundFileError) as error:
        raise CorpusError(f"cannot use {manifest}: {error!r}") from error


def on_the_line(recording: Recording, tail_s: float) -> Track:
    """A recording with half a second of idle line before it and ``tail_s`` after it."""
    lead = idle_line(_LEAD_S)
    start, end = speech_span(recording.samples)
    pcm = np.concatenate((lead, recording.samples, idle_line(tail_s))).tobytes()
    return Track(recording, pcm, _ms(len(lead) + start), _ms(len(lead) + end))


def first_speech(recording: Recording, seconds: float) -> Recording:
    """The first ``seconds`` from the beginning of speech."""
    start, _ = speech_span(recording.samples)
    cut = recording.samples[start : start + round(seconds * LINE_RATE_HZ)]
    return Recording(recording.name, recording.group, recording.language, None, cut)


def speech_span(samples: Int16) -> tuple[int, int]:
    """The first sample of speech and the end of the last, by energy."""
    frames = audible_frames(samples)
    if not frames:
        return 0, len(samples)
    return frames[0] * _FRAME, min(len(samples), (frames[-1] + 1) * _FRAME)


def audible_frames(samples: Int16) -> list[int]:
    """Numbers of the 20-ms frames in which speech can be heard."""
    levels = frame_levels_db(samples)
    if not len(levels):
        return []
    (loud,) = np.nonzero(levels >= np.percentile(levels, _LOUD_PERCENTILE) - _RANGE_DB)
    return [int(frame) for frame in loud]


def frame_levels_db(samples: Int16) -> npt.NDArray[np.float64]:
    """The level of each 20-ms frame in dB."""
    whole = samples[: len(samples) // _FRAME * _FRAME].astype(np.float64).reshape(-1, _FRAME)
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.mean(whole**2, axis=1) + 1e-3)
    return levels


def idle_line(seconds: float, seed: int = _SEED) -> Int16:
    """The faint noise of a line on which nobody speaks."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0.0, _IDLE_LEVEL, round(seconds * LINE_RATE_HZ)).astype(np.float32)
    return through_line(noise, LINE_RATE_HZ)


def unspoken_sounds(seconds: float) -> dict[str, Int16]:
    """Sounds that must not be taken for speech, each ``seconds`` long, by name."""
    return {
        "silence": np.zeros(round(seconds * LINE_RATE_HZ), dtype=np.int16),
        "idle line": idle_line(seconds),
        "loud line noise": through_line(_noise(seconds, 0.03), LINE_RATE_HZ),
        "tones": through_line(_tones(seconds), LINE_RATE_HZ),
        "hold music": through_line(_music(seconds), LINE_RATE_HZ),
    }


def _lines(call_id: str) -> Iterator[Recording]:
    (call,) = (call for call in load_samples() if call.id == call_id)
    legs, _ = soundfile.read(call.path, dtype="int16", always_2d=True)
    channels = {leg.leg: legs[:, channel] for channel, leg in enumerate(call.legs)}
    for line in call.lines:
        start, end = (ms * LINE_RATE_HZ // 1000 for ms in (line.start_ms, line.end_ms))
        samples = np.ascontiguousarray(channels[line.leg][start:end], dtype=np.int16)
        yield Recording(
            f"{call_id}@{line.start_ms}", f"samples {call.language}", call.language, line.text, samples
        )


def _read(folder: Path, entry: dict[str, str]) -> Recording:
    samples, rate_hz = soundfile.read(folder / entry["file"], dtype="float32", always_2d=True)
    line = through_line(samples.mean(axis=1).astype(np.float32), rate_hz)
    return Recording(entry["file"], _group(entry), entry["language"], entry["text"], line)


def _group(entry: dict[str, str]) -> str:
    """Prompts and read English apart; single digits, that no bar is about, apart from both."""
    name, language = entry["file"], entry["language"]
    if language != "en":
        return language
    if name.startswith("ast_"):
        return "en prompts"
    return "en digits" if name.startswith("fsdd_") else "en read"


def _noise(seconds: float, level: float) -> Float32:
    return np.random.default_rng(_SEED).normal(0.0, level, round(seconds * LINE_RATE_HZ)).astype(np.float32)


def _tones(seconds: float) -> Float32:
    """Ringing, busy and dialling tones, and keys pressed, ten seconds of each in turn."""
    time_s = np.arange(round(seconds * LINE_RATE_HZ)) / LINE_RATE_HZ
    which = (time_s // 10).astype(int) % 4
    ring = _sines(time_s, 425) * _on(time_s, period_s=5.0, on_s=1.0)
    busy = _sines(time_s, 480, 620) * _on(time_s, period_s=1.0, on_s=0.5)
    dial = _sines(time_s, 350, 440)
    keys = _sines(time_s, 770, 1336) * _on(time_s, period_s=0.4, on_s=0.1)
    return (0.1 * np.choose(which, [ring, busy, dial, keys])).astype(np.float32)


def _on(time_s: npt.NDArray[np.float64], *, period_s: float, on_s: float) -> npt.NDArray[np.bool_]:
    within: npt.NDArray[np.bool_] = time_s % period_s < on_s
    return within


def _music(seconds: float) -> Float32:
    """Chords with overtones, a melody over them and a beat: what a cheap hold tune is made of."""
    generator = np.random.default_rng(_SEED)
    time_s = np.arange(round(seconds * LINE_RATE_HZ)) / LINE_RATE_HZ
    chords = np.array([[262, 330, 392], [220, 262, 330], [175, 220, 262], [196, 247, 294]])
    chord = chords[(time_s // 2).astype(int) % len(chords)]
    melody = generator.choice([523, 587, 659, 784, 880], size=round(seconds / 0.5) + 1)[
        (time_s // 0.5).astype(int)
    ]
    decay = np.exp(-3 * (time_s % 0.5))
    pad = sum(_sines(time_s, chord[:, voice] * k) / k for voice in range(3) for k in (1, 2, 3))
    tune = sum(np.sin(2 * np.pi * np.cumsum(melody * k) / LINE_RATE_HZ) / k for k in (1, 2)) * decay
    beat = generator.normal(0.0, 1.0, len(time_s)) * np.exp(-60 * (time_s % 0.5))
    return (0.03 * pad + 0.1 * tune + 0.05 * beat).astype(np.float32)


def _sines(
    time_s: npt.NDArray[np.float64], *frequencies_hz: float | npt.NDArray[np.int_]
) -> npt.NDArray[np.float64]:
    waves = np.array([np.sin(2 * np.pi * frequency * time_s) for frequency in frequencies_hz])
    mean: npt.NDArray[np.float64] = waves.mean(axis=0)
    return mean


def _ms(samples: int) -> float:
    return samples * 1000 / LINE_RATE_HZ
