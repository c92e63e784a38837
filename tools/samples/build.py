"""Build the sample calls in qa_service/samples from calls.yaml.

    python tools/samples/build.py --recordings emodb=DIR --recordings speech=DIR [--out DIR]

Needs the speech synthesisers of Debian's packages flite, festival, festvox-us-slt-hts and libttspico-utils
(section non-free), and the recordings named in calls.yaml; qa_service/samples/README.md says where they come
from. The result does not depend on when or how often it is built. Using the samples needs none of this.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import yaml

from qa_service.audio.line import LINE_RATE_HZ, band_pass, through_line

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "qa_service" / "samples"

SPEECH_DBFS = -23.0  # active speech level that ITU-T P.56 users aim at (-26) plus a lively speaker
NOISE_DBFS = -60.0  # a quiet office behind either speaker
TAIL_S = 1.0  # what is left on the line after the last word
FADE_S = 0.01  # keeps cut clips from clicking
FRAME_S = 0.02
TRIM_DB = 35.0  # below the loud frames of a clip: pauses before and after the words
PEAK_LIMIT = 0.89  # -1 dBFS

Float32 = npt.NDArray[np.float32]

SOURCES: dict[str, dict[str, str]] = {
    "slt": {
        "what": "synthetic voice slt_arctic_hts of Festival 2.5 (Carnegie Mellon University)",
        "licence": "free software (Festvox licence, BSD style); its output is unrestricted",
    },
    "rms": {
        "what": "synthetic voice rms of Flite 2.2 (Carnegie Mellon University)",
        "licence": "free software (Flite licence, BSD style); its output is unrestricted",
    },
    "pico-de": {
        "what": "synthetic voice de-DE of SVOX Pico",
        "licence": "Apache-2.0",
    },
    "pico-de-low": {
        "what": "synthetic voice de-DE of SVOX Pico, pitch 85 %",
        "licence": "Apache-2.0",
    },
    "emodb": {
        "what": "EmoDB, Berlin Database of Emotional Speech (Burkhardt et al. 2005): acted speech, "
        "full-length originals",
        "licence": "CC0-1.0 (audeering/emodb data card)",
    },
    "speech": {
        "what": "The LJ Speech Dataset (Keith Ito, Linda Johnson): a LibriVox volunteer reading",
        "licence": "public domain",
    },
}


@dataclass(frozen=True)
class Segment:
    """The speech of one turn at 8 kHz, at its level."""

    samples: Float32
    source: str


@dataclass(frozen=True)
class Recordings:
    """Where recordings are found, by the first part of a clip's name."""

    folders: dict[str, Path]

    def read(self, clip: str) -> tuple[Float32, int]:
        """The samples of a clip and their rate in Hz."""
        corpus, _, name = clip.partition("/")
        if corpus not in self.folders:
            sys.exit(f"clip {clip} needs --recordings {corpus}=DIR")
        samples, rate = soundfile.read(self.folders[corpus] / f"{name}.flac", dtype="float32")
        return samples, rate


def main() -> None:
    """Build all calls and the manifest."""
    options = argparse.ArgumentParser(description="Build the sample calls.")
    options.add_argument("--recordings", action="append", default=[], metavar="NAME=DIR")
    options.add_argument("--out", type=Path, default=OUT)
    arguments = options.parse_args()
    folders = dict(item.split("=", 1) for item in arguments.recordings)
    recordings = Recordings({name: Path(folder) for name, folder in folders.items()})
    calls = yaml.safe_load((HERE / "calls.yaml").read_text())
    built = [build_call(call, recordings, arguments.out) for call in calls]
    used = {line["source"].partition("/")[0] for call in built for line in call["lines"]}
    manifest = {
        "calls": built,
        "sources": {name: source for name, source in SOURCES.items() if name in used},
    }
    (arguments.out / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def build_call(call: dict[str, Any], recordings: Recordings, out: Path) -> dict[str, Any]:
    """Write one call's audio and return its entry of the manifest."""
    placed, silences, end = place(call["turns"], recordings)
    length = end + int(TAIL_S * LINE_RATE_HZ)
    channels = [mix(call["id"], leg, placed, length) for leg in ("customer", "agent")]
    path = out / f"{call['id']}.flac"
    soundfile.write(path, np.stack(channels, axis=1), LINE_RATE_HZ, subtype="PCM_16", compression_level=1.0)
    print(f"{path.name}: {length / LINE_RATE_HZ:.1f} s, {path.stat().st_size // 1024} KiB")
    return {
        "id": call["id"],
        "title": call["title"],
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rate_hz": LINE_RATE_HZ,
        "duration_ms": to_ms(length),
        "language": call["language"],
        "queue": call["queue"],
        "legs": [
            {"leg": "customer", "role": "customer", "agent_id": None, "subject": call["subject"]},
            {"leg": "agent", "role": "agent", "agent_id": call["agent_id"], "subject": None},
        ],
        "expected_alerts": call["expected_alerts"],
        "silences": [{"start_ms": to_ms(begin), "end_ms": to_ms(end)} for begin, end in silences],
        "lines": [describe(turn, begin, segment) for turn, begin, segment in placed],
    }


Placed = list[tuple[dict[str, Any], int, Segment]]


def place(turns: list[dict[str, Any]], recordings: Recordings) -> tuple[Placed, list[tuple[int, int]], int]:
    """Lay the turns out in time; returns them with their first sample, the holds, and the end."""
    placed: Placed = []
    silences = []
    cursor = 0
    for turn in turns:
        if "hold" in turn:
            begin, cursor = cursor, cursor + int(turn["hold"] * LINE_RATE_HZ)
            silences.append((begin, cursor))
            continue
        segment = speak(turn, recordings)
        begin = cursor + int(turn["gap"] * LINE_RATE_HZ)
        cursor = begin + len(segment.samples)
        placed.append((turn, begin, segment))
    return placed, silences, cursor


def speak(turn: dict[str, Any], recordings: Recordings) -> Segment:
    """The speech of one turn, trimmed and levelled."""
    source = turn.get("clip") or turn["voice"]
    samples, rate = recordings.read(turn["clip"]) if "clip" in turn else synthesise(turn)
    at_line_rate = soxr.resample(samples, rate, LINE_RATE_HZ).astype(np.float32)
    trimmed = fade(trim(at_line_rate))
    gain_db = turn.get("level", SPEECH_DBFS) - active_dbfs(band_pass(trimmed))
    levelled = trimmed * np.float32(10 ** (gain_db / 20))
    if np.abs(band_pass(levelled)).max() > PEAK_LIMIT:
        sys.exit(f"turn {turn} would clip: lower its level")
    return Segment(levelled, source)


def synthesise(turn: dict[str, Any]) -> tuple[Float32, int]:
    """A turn in its synthetic voice, and the rate in Hz."""
    text = turn["say"]
    with tempfile.TemporaryDirectory() as folder:
        wav = str(Path(folder) / "speech.wav")
        commands = {
            "rms": [
                "flite",
                "-voice",
                "rms",
                "--setf",
                f"duration_stretch={turn.get('stretch', 1.0)}",
                "-t",
                text,
                wav,
            ],
            "slt": ["text2wave", "-eval", "(voice_cmu_us_slt_arctic_hts)", "-o", wav],
            "pico-de": ["pico2wave", "-l", "de-DE", "-w", wav, text],
            "pico-de-low": ["pico2wave", "-l", "de-DE", "-w", wav, f'<pitch level="85">{text}</pitch>'],
        }
        subprocess.run(commands[turn["voice"]], input=text, text=True, check=True, capture_output=True)  # noqa: S603
        return soundfile.read(wav, dtype="float32")


def trim(samples: Float32) -> Float32:
    """Cut what comes before the first and after the last word, two frames kept."""
    size = int(FRAME_S * LINE_RATE_HZ)
    levels = frame_dbfs(samples)
    loud = np.flatnonzero(levels > np.percentile(levels, 98) - TRIM_DB)
    return samples[max(0, loud[0] - 2) * size : (loud[-1] + 3) * size]


def fade(samples: Float32) -> Float32:
    """Let a clip come and go softly."""
    ramp = np.linspace(0, 1, int(FADE_S * LINE_RATE_HZ), dtype=np.float32)
    faded = samples.copy()
    faded[: len(ramp)] *= ramp
    faded[-len(ramp) :] *= ramp[::-1]
    return faded


def active_dbfs(samples: Float32) -> float:
    """Level of the frames in which someone speaks."""
    levels = frame_dbfs(samples)
    active = levels[levels > np.percentile(levels, 98) - 20]
    return float(10 * np.log10(np.mean(10 ** (active / 10))))


def frame_dbfs(samples: Float32) -> npt.NDArray[np.float64]:
    """Level of each 20-ms frame."""
    size = int(FRAME_S * LINE_RATE_HZ)
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)


def mix(call_id: str, leg: str, placed: Placed, length: int) -> npt.NDArray[np.int16]:
    """One leg's whole audio, with its room, as it comes out of the telephone line."""
    rng = np.random.default_rng(zlib.crc32(f"{call_id}/{leg}".encode()))
    audio = rng.normal(0, 10 ** (NOISE_DBFS / 20), length).astype(np.float32)
    for turn, begin, segment in placed:
        if turn["leg"] == leg:
            audio[begin : begin + len(segment.samples)] += segment.samples
    return through_line(audio, LINE_RATE_HZ)


def describe(turn: dict[str, Any], begin: int, segment: Segment) -> dict[str, Any]:
    """The manifest's line for a turn."""
    return {
        "leg": turn["leg"],
        "start_ms": to_ms(begin),
        "end_ms": to_ms(begin + len(segment.samples)),
        "text": turn.get("text") or turn["say"],
        "source": segment.source,
        "contains": turn.get("contains"),
    }


def to_ms(samples: int) -> int:
    """Milliseconds of so many samples on the line, rounded down."""
    return samples * 1000 // LINE_RATE_HZ


if __name__ == "__main__":
    main()
