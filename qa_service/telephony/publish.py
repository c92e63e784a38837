"""Recordings played into Kafka as a telephony platform would send them live.

Decided here: a stereo file is a call of two legs (left customer, right agent), a mono file one leg; audio
comes in equal frames, the last one filled up with silence; a frame is sent when its last sample has been
spoken, on a schedule counted from the start, so that lateness never adds up. All calls share one timer.
Opus alone is encoded while it is played, for its encoder is what cuts it into frames.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import soundfile
import soxr

from qa_service.audio.g711 import encode_alaw, encode_ulaw
from qa_service.audio.line import to_int16
from qa_service.contract import (
    DEFAULT_CODEC,
    DEFAULT_RATE,
    RATES,
    AudioFrame,
    CallEnd,
    Codec,
    LegInfo,
    LegStart,
    LegStop,
    Record,
    Role,
    UnsupportedCodec,
    bytes_per_sample,
    count_samples,
)
from qa_service.telephony.producer import Publisher, connect_publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from qa_service.kafka import KafkaConfig

    Float32 = npt.NDArray[np.float32]

FRAME_MS: Final = 20
"""The usual packet time of RTP (RFC 3551, section 4.2)."""
_PROGRESS_EVERY_MS: Final = 1000
_STEREO: Final = 2
# Headerless files, told by their names; (subtype of libsndfile).
_RAW_SUBTYPES: Final = {
    ".ulaw": "ULAW",
    ".ul": "ULAW",
    ".alaw": "ALAW",
    ".al": "ALAW",
    ".raw": "PCM_16",
    ".pcm": "PCM_16",
}


class UnplayableFile(Exception):  # noqa: N818 - named after what was met
    """A file that cannot be played as a call; the message names the file, the cause and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegAudio:
    """The whole audio of one leg, encoded; that of a leg of Opus as 16-bit PCM."""

    leg: str
    info: LegInfo
    audio: bytes = field(repr=False)
    codec: Codec = DEFAULT_CODEC
    """In which it is sent."""
    rate: int = DEFAULT_RATE

    @property
    def duration_ms(self) -> int:
        """Length of the audio, rounded down."""
        return count_samples(self.kept_as, self.audio) * 1000 // self.rate

    @property
    def kept_as(self) -> Codec:
        """What ``audio`` is."""
        return _kept_as(self.codec)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAudio:
    """A call to be played."""

    call_id: str
    legs: tuple[LegAudio, ...]

    @property
    def duration_ms(self) -> int:
        """Length of the longest leg."""
        return max((leg.duration_ms for leg in self.legs), default=0)


class Due(NamedTuple):
    """A record and when it is due, in milliseconds since the call began."""

    at_ms: float
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishProgress:
    """How far a call has been played."""

    call_id: str
    position_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCall:
    """A call that was played, and when its first sample was captured (Unix ms)."""

    call_id: str
    legs: tuple[str, ...]
    started_ts: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What was played, and how well its schedule was kept."""

    calls: tuple[PublishedCall, ...]
    records: int
    elapsed_s: float
    worst_lateness_ms: float


async def publish_files(
    paths: Sequence[Path],
    *,
    kafka: KafkaConfig,
    topic: str,
    codec: Codec = DEFAULT_CODEC,
    rate: int = DEFAULT_RATE,
    frame_ms: int = FRAME_MS,
    speed: float = 1.0,
    swap_legs: bool = False,
    mono_role: Role = "customer",
    language: str | None = None,
    raw_rate: int = DEFAULT_RATE,
    raw_channels: int = 1,
    on_progress: Callable[[PublishProgress], None] | None = None,
) -> PublishReport:
    """Play files into Kafka, all at once, each as a call of its own with a fresh id.

    ``speed`` 2.0 plays twice as fast, infinity as fast as Kafka takes it. Raises UnplayableFile before
    anything is sent; KafkaUnavailable; DeliveryError.
    """
    calls = [
        await asyncio.to_thread(
            read_call,
            path,
            call_id=f"{path.stem}-{uuid.uuid4().hex[:8]}",
            infos=_describe_legs(language),
            codec=codec,
            rate=rate,
            swap_legs=swap_legs,
            mono_leg=mono_role,
            raw_rate=raw_rate,
            raw_channels=raw_channels,
        )
        for path in paths
    ]
    async with connect_publisher(kafka, topic) as publisher:
        return await publish_calls(
            calls, publisher=publisher, frame_ms=frame_ms, speed=speed, on_progress=on_progress
        )


async def publish_calls(
    calls: Sequence[CallAudio],
    *,
    publisher: Publisher,
    frame_ms: int = FRAME_MS,
    speed: float = 1.0,
    stagger_ms: int = 0,
    on_progress: Callable[[PublishProgress], None] | None = None,
) -> PublishReport:
    """Play calls side by side, each starting ``stagger_ms`` of audio time after the one before it.

    ``on_progress`` hears of each call about once a second of its audio and at its end. Raises DeliveryError.
    """
    began_ts = time.time_ns() // 1_000_000
    cues = _schedule(calls, began_ts=began_ts, stagger_ms=stagger_ms, frame_ms=frame_ms)
    timer = _Timer(speed)
    announce = _Announcer(on_progress)
    records = 0
    for cue in cues:
        await timer.wait_until(cue.at_ms)
        await publisher.send(cue.call.call_id, cue.due.record)
        announce.heard(cue.call, cue.due)
        records += 1
    await publisher.flush()
    return PublishReport(
        calls=tuple(_describe_played(call, began_ts + i * stagger_ms) for i, call in enumerate(calls)),
        records=records,
        elapsed_s=timer.elapsed_s(),
        worst_lateness_ms=timer.worst_lateness_s * 1000,
    )


def plan_call(call: CallAudio, *, start_ts: int, frame_ms: int = FRAME_MS) -> Iterator[Due]:
    """All records of a call in the order in which they are due; capture times count from ``start_ts``."""
    legs = [_plan_leg(leg, start_ts, frame_ms) for leg in call.legs]
    end_ms = 0.0
    for due in heapq.merge(*legs, key=lambda due: due.at_ms):
        yield due
        end_ms = due.at_ms
    yield Due(end_ms, CallEnd(start_ts + int(end_ms)))


def read_call(
    path: Path,
    *,
    call_id: str,
    infos: Mapping[str, LegInfo] | None = None,
    codec: Codec = DEFAULT_CODEC,
    rate: int = DEFAULT_RATE,
    swap_legs: bool = False,
    mono_leg: str = "customer",
    raw_rate: int = DEFAULT_RATE,
    raw_channels: int = 1,
) -> CallAudio:
    """Read a recording as a call: stereo is ``customer`` and ``agent`` (``swap_legs``: the other way round).

    ``infos`` says who is on a leg, by leg id; a leg that it does not name has its id as its role. ``raw_…``
    hold for files without a header: .ulaw, .alaw, .raw and .pcm (16-bit). Raises UnplayableFile.
    """
    if rate not in RATES:
        raise ValueError(f"rate {rate} Hz is not in the audio contract: use one of {RATES}")
    samples, file_rate = _read_samples(path, raw_rate, raw_channels)
    if samples.shape[1] > _STEREO:
        raise UnplayableFile(
            f"{path} has {samples.shape[1]} channels: split it into files of one or two, a leg each"
        )
    if not len(samples):
        raise UnplayableFile(f"{path} holds no audio: leave it out")
    at_rate = samples if file_rate == rate else soxr.resample(samples, file_rate, rate)
    names = [mono_leg] if at_rate.shape[1] == 1 else ["customer", "agent"]
    if swap_legs:
        names.reverse()
    described = dict(infos or {})
    return CallAudio(
        call_id=call_id,
        legs=tuple(
            LegAudio(
                leg=name,
                info=described.get(name) or LegInfo(role=_role_of(name)),
                audio=_encode(_kept_as(codec), at_rate[:, channel]),
                codec=codec,
                rate=rate,
            )
            for channel, name in enumerate(names)
        ),
    )


class _Cue(NamedTuple):
    at_ms: float
    call: CallAudio
    due: Due


class _Timer:
    """Waits until audio times, counted from its own making."""

    def __init__(self, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"speed {speed:g} is not above 0: use 1 for real time, more for faster")
        self._speed = speed
        self._began = time.monotonic()
        self.worst_lateness_s = 0.0

    async def wait_until(self, at_ms: float) -> None:
        if math.isinf(self._speed):
            return
        ahead_s = self._began + at_ms / 1000 / self._speed - time.monotonic()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        else:
            self.worst_lateness_s = max(self.worst_lateness_s, -ahead_s)

    def elapsed_s(self) -> float:
        return time.monotonic() - self._began


class _Announcer:
    """Tells of each call's progress about once a second of its audio, and at its end."""

    def __init__(self, tell: Callable[[PublishProgress], None] | None) -> None:
        self._tell = tell
        self._next_ms: dict[str, float] = {}

    def heard(self, call: CallAudio, due: Due) -> None:
        if self._tell is None:
            return
        if due.at_ms < self._next_ms.get(call.call_id, 0.0) and not isinstance(due.record, CallEnd):
            return
        self._next_ms[call.call_id] = due.at_ms + _PROGRESS_EVERY_MS
        self._tell(
            PublishProgress(
                call_id=call.call_id,
                position_ms=min(int(due.at_ms), call.duration_ms),
                duration_ms=call.duration_ms,
            )
        )


def _schedule(calls: Sequence[CallAudio], *, began_ts: int, stagger_ms: int, frame_ms: int) -> Iterator[_Cue]:
    plans = (
        _cue(call, plan_call(call, start_ts=began_ts + i * stagger_ms, frame_ms=frame_ms), i * stagger_ms)
        for i, call in enumerate(calls)
    )
    return heapq.merge(*plans, key=lambda cue: cue.at_ms)


def _cue(call: CallAudio, plan: Iterator[Due], begins_ms: int) -> Iterator[_Cue]:
    for due in plan:
        yield _Cue(begins_ms + due.at_ms, call, due)


def _plan_leg(leg: LegAudio, start_ts: int, frame_ms: int) -> Iterator[Due]:
    yield Due(0.0, LegStart(leg.leg, start_ts, leg.codec, leg.rate, leg.info))
    samples = leg.rate * frame_ms // 1000
    end_pos = 0
    frames = _cut(leg, samples)
    if leg.codec == "opus":
        frames = _encode_opus(frames, leg.rate, frame_ms)
    for seq, audio in enumerate(frames):
        pos, end_pos = end_pos, end_pos + samples
        frame = AudioFrame(leg.leg, pos, seq, start_ts + pos * 1000 // leg.rate, audio)
        yield Due(end_pos * 1000 / leg.rate, frame)
    yield Due(end_pos * 1000 / leg.rate, LegStop(leg.leg, start_ts + end_pos * 1000 // leg.rate))


def _cut(leg: LegAudio, samples: int) -> Iterator[bytes]:
    """The leg's audio, as it is kept, in equal frames, the last one filled up with silence."""
    size = samples * bytes_per_sample(leg.kept_as)
    filling = _encode(leg.kept_as, np.zeros(samples, dtype=np.float32))
    for begin in range(0, len(leg.audio), size):
        frame = leg.audio[begin : begin + size]
        yield frame + filling[len(frame) :]


def _encode_opus(frames: Iterator[bytes], rate: int, frame_ms: int) -> Iterator[bytes]:
    from qa_service.audio.opus import OpusEncoder  # noqa: PLC0415 - 19 MB, and few platforms send Opus

    return map(OpusEncoder(rate, frame_ms=frame_ms).encode, frames)


def _read_samples(path: Path, raw_rate: int, raw_channels: int) -> tuple[Float32, int]:
    """A file's samples in ±1 (frames x channels) and their rate in Hz."""
    subtype = _RAW_SUBTYPES.get(path.suffix.lower())
    layout: dict[str, Any] = (
        {}
        if subtype is None
        else {"format": "RAW", "subtype": subtype, "samplerate": raw_rate, "channels": raw_channels}
    )
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True, **layout)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UnplayableFile(
            f"cannot read {path}: {error}; give a WAV or FLAC file, or a headerless one called "
            f"{', '.join(f'*{suffix}' for suffix in _RAW_SUBTYPES)}"
        ) from error
    return np.asarray(samples, dtype=np.float32), rate


def _encode(codec: Codec, samples: Float32) -> bytes:
    pcm = to_int16(samples)
    match codec:
        case "pcmu":
            return encode_ulaw(pcm)
        case "pcma":
            return encode_alaw(pcm)
        case "pcm_s16le":
            return pcm.astype("<i2", copy=False).tobytes()
        case _:
            raise UnsupportedCodec(codec)


def _kept_as(codec: Codec) -> Codec:
    return "pcm_s16le" if codec == "opus" else codec


def _role_of(leg: str) -> Role:
    roles: dict[str, Role] = {"customer": "customer", "agent": "agent"}
    return roles.get(leg, "other")


def _describe_legs(language: str | None) -> dict[str, LegInfo]:
    return {leg: LegInfo(role=_role_of(leg), language=language) for leg in ("customer", "agent", "other")}


def _describe_played(call: CallAudio, started_ts: int) -> PublishedCall:
    return PublishedCall(
        call_id=call.call_id,
        legs=tuple(leg.leg for leg in call.legs),
        started_ts=started_ts,
        duration_ms=call.duration_ms,
    )
