"""What can be measured on a voice without a trained model: 28 values of prosody, 98 of timbre and movement.

Decided here: the names and the order of the measurements; weights are trained on exactly these. All are
statistics over frames, so an utterance of any length gives the same number of them, and none depends on
loudness (the level is set before) or, beyond estimation noise, on length. numpy only.

Pitch is found as the strongest peak of the autocorrelation, corrected for the window's own (Boersma, 1993),
which also finds it on the telephone, where the fundamental itself is cut away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.audio.line import LINE_RATE_HZ

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

HOP_SAMPLES: Final = 80  # 10 ms
_FRAMES_PER_SECOND: Final = LINE_RATE_HZ / HOP_SAMPLES
_FRAME_SAMPLES: Final = 320  # 40 ms: three periods of the lowest pitch
_FFT_SAMPLES: Final = 1024
_PITCH_HZ: Final = (75.0, 420.0)
_PITCH_REFERENCE_HZ: Final = 100.0
_VOICED_STRENGTH: Final = 0.5  # of a perfectly periodic frame
_HIGH_PITCH_PREFERENCE: Final = 0.05  # per octave; settles ties between a period and its multiples
_ACTIVE_DB: Final = 25.0  # frames this far under the loud ones still count as speech
_PAUSE_DB: Final = 20.0
_POWER_FLOOR: Final = 1e-9

_BAND_EDGES_HZ: Final = (300, 600, 1000, 1500, 2000, 2700, 3400)
_MODULATION_EDGES_HZ: Final = (1, 2, 4, 8, 16, 32, 50)
_MODULATION_MIN_FRAMES: Final = 100  # shorter envelopes are padded to this: 1 s

_SPREAD: Final = ("mean", "std", "p10", "p50", "p90", "range", "change", "change_std")
_SHORT_SPREAD: Final = ("mean", "std", "p10", "p90", "change")
_TIMBRES: Final = ("tilt", "centroid", "bandwidth", "flux", "alpha", "hammarberg", "flatness")
_BANDS: Final = tuple(f"band{low}" for low in _BAND_EDGES_HZ[:-1])
_ENVELOPES: Final = (*_BANDS, "total")

PROSODY: Final = (
    *(f"pitch_{name}" for name in _SPREAD),
    *(f"energy_{name}" for name in _SPREAD),
    "voiced_share",
    "strength_mean",
    "strength_std",
    "voiced_runs_per_s",
    "voiced_run_mean",
    "voiced_run_std",
    "pitch_trend",
    "energy_trend",
    "pitch_energy_correlation",
    "peaks_per_s",
    "pause_share",
    "peak_height",
)
TIMBRE: Final = (
    *(f"{timbre}_{name}" for timbre in _TIMBRES for name in _SHORT_SPREAD),
    *(f"{timbre}_when_loud" for timbre in _TIMBRES),
    *(f"{band}_{name}" for band in _BANDS for name in ("mean", "std")),
    *(f"{envelope}_mod{low}" for envelope in _ENVELOPES for low in _MODULATION_EDGES_HZ[:-1]),
    "jitter",
    "shimmer",
)
NAMES: Final = (*PROSODY, *TIMBRE)


@dataclass(frozen=True, slots=True)
class Measurements:
    """The measurements of one utterance."""

    values: Float32
    """Shape (126,), in the order of `NAMES`; finite."""
    voiced_share: float
    """Share of the speech frames that have a pitch, 0 to 1."""
    energy_std_db: float
    """How much the level moves within speech frames; a steady tone or noise does not move."""


@dataclass(frozen=True, slots=True)
class _Frames:
    """What each 10-ms frame holds; the first axis of every array is time."""

    power: Float  # (frames, bins)
    energy_db: Float
    pitch_st: Float  # semitones above 100 Hz; of use where voiced
    strength: Float
    active: Bool
    voiced: Bool


def measure(samples: Float32) -> Measurements:
    """Measure speech at 8 kHz, its ends trimmed and its level set (see `speech.find_speech`)."""
    frames = _analyse(samples)
    energy = frames.energy_db[frames.active]
    values = np.concatenate([_prosody(frames), _timbre(frames), _modulation(frames), _perturbation(frames)])
    return Measurements(
        np.nan_to_num(values).astype(np.float32),
        voiced_share=float(np.mean(frames.voiced[frames.active])),
        energy_std_db=float(np.std(energy)),
    )


# Frames


@cache
def _window() -> Float:
    return np.hanning(_FRAME_SAMPLES + 2)[1:-1].astype(np.float64)


@cache
def _window_correlation() -> Float:
    correlation = np.fft.irfft(np.abs(np.fft.rfft(_window(), _FFT_SAMPLES)) ** 2)[:_FRAME_SAMPLES]
    return np.asarray(correlation / correlation[0])


@cache
def _bins_hz() -> Float:
    return np.asarray(np.fft.rfftfreq(_FFT_SAMPLES, 1 / LINE_RATE_HZ), dtype=np.float64)


def _analyse(samples: Float32) -> _Frames:
    padded = np.pad(samples.astype(np.float64), _FRAME_SAMPLES // 2)
    cut = np.lib.stride_tricks.sliding_window_view(padded, _FRAME_SAMPLES)[::HOP_SAMPLES]
    power = np.abs(np.fft.rfft(cut * _window(), _FFT_SAMPLES)) ** 2
    energy_db = 10 * np.log10(power.mean(axis=1) + _POWER_FLOOR)
    pitch_st, strength = _track_pitch(power)
    active = energy_db >= np.percentile(energy_db, 95) - _ACTIVE_DB
    return _Frames(power, energy_db, pitch_st, strength, active, active & (strength >= _VOICED_STRENGTH))


def _track_pitch(power: Float) -> tuple[Float, Float]:
    """Pitch in semitones and its strength (0 to 1) in each frame."""
    correlation = np.fft.irfft(power, axis=1)[:, :_FRAME_SAMPLES]
    correlation = correlation / (correlation[:, :1] + _POWER_FLOOR) / _window_correlation()
    shortest, longest = (int(LINE_RATE_HZ / hz) for hz in reversed(_PITCH_HZ))
    lags = np.arange(shortest, longest + 1)
    candidates = correlation[:, lags] - _HIGH_PITCH_PREFERENCE * np.log2(lags / shortest)
    best = lags[np.argmax(candidates, axis=1)]
    rows = np.arange(len(best))
    before, peak, after = (correlation[rows, best + step] for step in (-1, 0, 1))
    # The vertex of the parabola through three points: finer than one sample of lag.
    curvature = before - 2 * peak + after
    shift = np.where(curvature < 0, 0.5 * (before - after) / np.minimum(curvature, -_POWER_FLOOR), 0.0)
    hz = LINE_RATE_HZ / (best + np.clip(shift, -0.5, 0.5))
    semitones = 12 * np.log2(hz / _PITCH_REFERENCE_HZ)
    return _smooth(semitones), np.clip(peak, 0.0, 1.0)


def _smooth(track: Float) -> Float:
    """The median of three neighbours, which removes single octave jumps."""
    edged = np.pad(track, 1, mode="edge")
    return np.asarray(np.median(np.stack([edged[:-2], edged[1:-1], edged[2:]]), axis=0))


# Statistics


def _changes(track: Float, where: Bool) -> Float:
    """Differences between neighbouring frames that are both in `where`."""
    return np.diff(track)[where[1:] & where[:-1]]


def _mean(values: Float) -> float:
    return float(values.mean()) if values.size else 0.0


def _std(values: Float) -> float:
    return float(values.std()) if values.size else 0.0


def _spread(track: Float, where: Bool) -> list[float]:
    """The statistics named in `_SPREAD`."""
    values, changes = track[where], _changes(track, where)
    low, middle, high = np.percentile(values, (10, 50, 90)) if values.size else (0.0, 0.0, 0.0)
    spread = [_mean(values), _std(values), low, middle, high, high - low]
    return [*map(float, spread), _mean(np.abs(changes)), _std(changes)]


def _trend_per_s(track: Float, where: Bool) -> float:
    """The slope of the straight line that fits best, per second."""
    at = np.flatnonzero(where)
    if len(at) < 2:  # noqa: PLR2004 - a line needs two points
        return 0.0
    time = at - at.mean()
    return float(time @ (track[at] - track[at].mean()) / (time @ time)) * _FRAMES_PER_SECOND


def _correlation(a: Float, b: Float) -> float:
    spread = _std(a) * _std(b)
    return _mean((a - _mean(a)) * (b - _mean(b))) / spread if spread else 0.0


def _run_lengths(where: Bool) -> Float:
    """Lengths in frames of the unbroken runs of `where`."""
    edges = np.flatnonzero(np.diff(np.pad(where.astype(np.int8), 1)))
    return (edges[1::2] - edges[::2]).astype(np.float64)


# Prosody


def _prosody(frames: _Frames) -> list[float]:
    """The values named in `PROSODY`."""
    relative_db = frames.energy_db - np.percentile(frames.energy_db, 95)
    runs = _run_lengths(frames.voiced)
    seconds = len(frames.energy_db) / _FRAMES_PER_SECOND
    peaks = _syllable_peaks(frames.energy_db)
    return [
        *_spread(frames.pitch_st, frames.voiced),
        *_spread(relative_db, frames.active),
        _mean(frames.voiced[frames.active].astype(np.float64)),
        _mean(frames.strength[frames.active]),
        _std(frames.strength[frames.active]),
        len(runs) / seconds,
        _mean(runs),
        _std(runs),
        _trend_per_s(frames.pitch_st, frames.voiced),
        _trend_per_s(frames.energy_db, frames.active),
        _correlation(frames.pitch_st[frames.voiced], frames.energy_db[frames.voiced]),
        len(peaks) / seconds,
        _mean((relative_db < -_PAUSE_DB).astype(np.float64)),
        _mean(relative_db[peaks]),
    ]


def _syllable_peaks(energy_db: Float) -> npt.NDArray[np.intp]:
    """Frames where the smoothed level peaks by 2 dB over both sides within 80 ms: about one a syllable."""
    smooth = np.convolve(np.pad(energy_db, 3, mode="edge"), np.full(7, 1 / 7), mode="valid")
    reach = 8
    around = np.lib.stride_tricks.sliding_window_view(np.pad(smooth, reach, mode="edge"), 2 * reach + 1)
    highest = around.max(axis=1) == smooth
    lower_side = np.maximum(around[:, :reach].min(axis=1), around[:, reach + 1 :].min(axis=1))
    return np.flatnonzero(highest & (smooth - lower_side >= 2.0))  # noqa: PLR2004 - dB, see above


# Timbre


def _timbre(frames: _Frames) -> list[float]:
    """The values of `TIMBRE` up to the bands."""
    tracks = _timbre_tracks(frames.power)
    bands_db = _band_levels(frames.power)
    bands_db = bands_db - bands_db.mean(axis=1, keepdims=True)
    active = frames.active
    loud = frames.energy_db >= np.percentile(frames.energy_db[active], 70)
    values: list[float] = []
    for track in tracks:
        low, high = np.percentile(track[active], (10, 90))
        change = _mean(np.abs(_changes(track, active)))
        values += [_mean(track[active]), _std(track[active]), float(low), float(high), change]
    values += [_mean(track[loud]) - _mean(track[active]) for track in tracks]
    for band in bands_db.T:
        values += [_mean(band[active]), _std(band[active])]
    return values


def _timbre_tracks(power: Float) -> tuple[Float, ...]:
    """A track over time for each of `_TIMBRES`."""
    inside = (_bins_hz() >= _BAND_EDGES_HZ[0]) & (_bins_hz() < _BAND_EDGES_HZ[-1])
    hz, spectrum = _bins_hz()[inside], power[:, inside] + _POWER_FLOOR
    share = spectrum / spectrum.sum(axis=1, keepdims=True)
    centroid = share @ hz
    bandwidth = np.sqrt(np.maximum(share @ hz**2 - centroid**2, 0.0))
    flux = np.concatenate([[0.0], np.abs(np.diff(share, axis=0)).sum(axis=1)])
    level_db = 10 * np.log10(spectrum)
    octaves = np.log2(hz / hz[0])
    octaves = octaves - octaves.mean()
    tilt = level_db @ octaves / (octaves @ octaves)
    alpha = _ratio_db(spectrum[:, hz >= 1000].sum(axis=1), spectrum[:, hz < 1000].sum(axis=1))  # noqa: PLR2004 - Hz
    hammarberg = level_db[:, hz < 2000].max(axis=1) - level_db[:, hz >= 2000].max(axis=1)  # noqa: PLR2004 - Hz
    flatness = level_db.mean(axis=1) - 10 * np.log10(spectrum.mean(axis=1))
    return tilt, centroid, bandwidth, flux, alpha, hammarberg, flatness


def _ratio_db(above: Float, below: Float) -> Float:
    return np.asarray(10 * np.log10(above / below))


def _band_levels(power: Float) -> Float:
    """The level in dB of each of the six bands, shape (frames, 6)."""
    starts = np.searchsorted(_bins_hz(), _BAND_EDGES_HZ)
    sums = np.add.reduceat(power, starts, axis=1)[:, :-1]
    return np.asarray(10 * np.log10(sums + _POWER_FLOOR))


# Movement of the level, band by band


def _modulation(frames: _Frames) -> list[float]:
    """For each envelope, the share (log10) of its movement that lies in each modulation band."""
    envelopes = np.column_stack([_band_levels(frames.power), frames.energy_db])
    envelopes = np.maximum(envelopes, envelopes.max(axis=0) - 40.0)  # depths of silence say nothing
    length = max(len(envelopes), _MODULATION_MIN_FRAMES)
    tapered = (envelopes - envelopes.mean(axis=0)) * np.hanning(len(envelopes) + 2)[1:-1, None]
    power = np.abs(np.fft.rfft(tapered, length, axis=0)) ** 2
    modulation_hz = np.fft.rfftfreq(length, 1 / _FRAMES_PER_SECOND)
    starts = np.searchsorted(modulation_hz, _MODULATION_EDGES_HZ[:-1])
    bands = np.add.reduceat(power, starts, axis=0) + _POWER_FLOOR
    return [float(value) for value in np.log10(bands / bands.sum(axis=0)).T.ravel()]


def _perturbation(frames: _Frames) -> list[float]:
    """Jitter and shimmer as far as 10-ms frames show them: frame-to-frame unrest of pitch and level."""
    bend = np.abs(np.diff(frames.pitch_st, 2))
    sway = np.abs(np.diff(frames.energy_db, 2))
    steady = frames.voiced[2:] & frames.voiced[1:-1] & frames.voiced[:-2]
    return [_mean(bend[steady]), _mean(sway[steady])]
