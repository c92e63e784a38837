"""One Kafka record of ``telephony.audio`` to one typed record and back (contract version 1).

Metadata travels in ASCII headers with decimal numbers, audio as raw bytes in the value. Decided here:

- the version is looked at before anything else, since another version may change the meaning of the rest;
- frames of 10 to 200 ms are what a platform should send; others are taken as well, as nothing is lost by
  it, up to ``MAX_VALUE_BYTES``;
- a header that occurs twice counts as its last value; unknown headers are ignored, and so are the values
  of records that need none;
- whether the bytes of a frame fit a codec that only the leg's ``start`` named is seen where the leg is
  known, by :func:`~qa_service.contract.codecs.count_samples`.

This is the hot path: 1.0 to 1.5 µs of CPU a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn, TypeAlias

from msgspec import Struct

from qa_service.contract.codecs import Codec, count_samples, parse_codec, parse_rate
from qa_service.contract.errors import ContractViolation, Reason, UnknownVersion, shorten
from qa_service.contract.info import LegChange, LegInfo, decode_change, decode_info, encode_info

VERSION = 1

MAX_VALUE_BYTES = 1024 * 1024
"""Kafka's own default bound of a record batch (``message.max.bytes``, about 1 MiB)."""
MAX_CALL_ID_BYTES = 255
MAX_LEG_BYTES = 64
_MAX_DIGITS = 18
"""Every number of so many digits fits a signed 64-bit integer."""

_Headers: TypeAlias = dict[str, bytes | None]
Header: TypeAlias = tuple[str, bytes]
ReceivedHeader: TypeAlias = tuple[str, bytes | None]
"""Kafka lets a header have no value at all; that is malformed here, or absent where optional."""


class AudioFrame(Struct, frozen=True, gc=False):
    """A stretch of audio of one leg."""

    leg: str
    pos: int
    """Position of the first sample, in samples since the leg began; counts what was lost or never sent."""
    seq: int
    """Frame number, +1 each frame."""
    ts: int
    """Capture time, Unix ms."""
    audio: bytes
    codec: Codec | None = None
    """None: what the leg's ``start`` said."""
    rate: int | None = None
    """Hz; None: what the leg's ``start`` said."""


class LegStart(Struct, frozen=True, gc=False):
    """A leg begins: its audio format, and who is on it."""

    leg: str
    ts: int
    codec: Codec
    rate: int
    info: LegInfo


class LegUpdate(Struct, frozen=True, gc=False):
    """What is known of a leg changed during the call (agent assigned, transfer)."""

    leg: str
    ts: int
    change: LegChange


class LegPause(Struct, frozen=True, gc=False):
    """From here on the leg's audio must neither be transcribed nor stored (card entry)."""

    leg: str
    ts: int


class LegResume(Struct, frozen=True, gc=False):
    """The leg's audio may be transcribed again."""

    leg: str
    ts: int


class LegStop(Struct, frozen=True, gc=False):
    """The leg has ended."""

    leg: str
    ts: int


class CallEnd(Struct, frozen=True, gc=False):
    """The call and all its legs have ended."""

    ts: int


Record: TypeAlias = AudioFrame | LegStart | LegUpdate | LegPause | LegResume | LegStop | CallEnd


class CallRecord(Struct, frozen=True, gc=False):
    """A decoded record and the call that it belongs to."""

    call_id: str
    record: Record


class EncodedRecord(NamedTuple):
    """What a producer hands to Kafka."""

    key: bytes
    headers: tuple[Header, ...]
    value: bytes


def decode_record(key: bytes | None, headers: Sequence[ReceivedHeader], value: bytes | None) -> CallRecord:
    """Decode one Kafka record.

    Raises ContractViolation if it is poison, UnknownVersion if it follows another version.
    """
    if len(headers) == _PLAIN_HEADERS and value and key is not None:
        frame = _decode_plain_frame(headers, value)
        if frame is not None:
            return CallRecord(_parse_call_id(key), frame)
    found = dict(headers)
    if found.get("v") != b"1":
        _refuse_version(found)
    if key is None:
        raise ContractViolation(Reason.MISSING_KEY, "the record has no key: send the call id as the key")
    call_id = _parse_call_id(key)
    if value is not None and len(value) > MAX_VALUE_BYTES:
        raise ContractViolation(
            Reason.OVERSIZE,
            f"the value has {len(value)} bytes, the limit is {MAX_VALUE_BYTES}: send frames of 10 to 200 ms",
        )
    try:
        decode = _DECODERS.get(found["type"])
        if decode is None:
            _refuse_type(found["type"])
        return CallRecord(call_id, decode(found, value))
    except KeyError as error:
        raise ContractViolation(
            Reason.MISSING_HEADER, f"header {error.args[0]!r} is missing: {_PURPOSES[error.args[0]]}"
        ) from None


def encode_record(call_id: str, record: Record) -> EncodedRecord:
    """Encode one record for Kafka; raises ContractViolation where decoding it would."""
    key = call_id.encode("utf-8", errors="surrogatepass")
    _parse_call_id(key)
    match record:
        case AudioFrame():
            headers, value = _audio_headers(record), _checked_audio(record.audio, record.codec)
        case LegStart():
            headers = (*_leg_headers(record), *_format_headers(record.codec, record.rate))
            value = encode_info(record.info)
        case LegUpdate():
            headers, value = _leg_headers(record), encode_info(record.change)
        case LegPause() | LegResume() | LegStop():
            headers, value = _leg_headers(record), b""
        case CallEnd():
            headers, value = (("v", b"1"), ("type", b"call_end"), _number_header("ts", record.ts)), b""
    return EncodedRecord(key, headers, value)


_PURPOSES = {
    "type": "say what the record is (start, update, audio, pause, resume, stop or call_end)",
    "leg": "name the leg, for example 'customer'",
    "pos": "send the position of the frame's first sample since the leg began",
    "seq": "number the leg's frames 0, 1, 2 …",
    "ts": "send the capture time in Unix milliseconds",
    "codec": "a 'start' names the leg's codec (pcmu, pcma, pcm_s16le or opus)",
    "rate": "a 'start' names the leg's sampling rate (8000 or 16000)",
}


_PLAIN_HEADERS: Final = 6
_V: Final = ("v", b"1")
_AUDIO: Final = ("type", b"audio")


def _decode_plain_frame(headers: Sequence[ReceivedHeader], value: bytes) -> AudioFrame | None:
    """Decode a frame whose headers come in the order in which the contract lists them, as nearly all do.

    None, and nothing is said, for any other record and for whatever is not as it should be.
    """
    version, kind, (named_leg, leg), (named_pos, pos), (named_seq, seq), (named_ts, ts) = headers
    if (
        version == _V
        and kind == _AUDIO
        and named_leg == "leg"
        and named_pos == "pos"
        and named_seq == "seq"
        and named_ts == "ts"
        and pos
        and seq
        and ts
        and pos.isdigit()
        and seq.isdigit()
        and ts.isdigit()
        and len(pos) <= _MAX_DIGITS
        and len(seq) <= _MAX_DIGITS
        and len(ts) <= _MAX_DIGITS
        and len(value) <= MAX_VALUE_BYTES
    ):
        return AudioFrame(_parse_leg(leg), int(pos), int(seq), int(ts), value)
    return None


def _decode_audio(found: _Headers, value: bytes | None) -> AudioFrame:
    codec = found.get("codec")
    rate = found.get("rate")
    parsed_codec = None if codec is None else parse_codec(codec)
    return AudioFrame(
        _parse_leg(found["leg"]),
        _parse_number("pos", found["pos"]),
        _parse_number("seq", found["seq"]),
        _parse_number("ts", found["ts"]),
        _checked_audio(value, parsed_codec),
        parsed_codec,
        None if rate is None else parse_rate(rate),
    )


def _decode_start(found: _Headers, value: bytes | None) -> LegStart:
    return LegStart(
        *_decode_leg_and_ts(found), parse_codec(found["codec"]), parse_rate(found["rate"]), decode_info(value)
    )


def _decode_update(found: _Headers, value: bytes | None) -> LegUpdate:
    return LegUpdate(*_decode_leg_and_ts(found), decode_change(value))


def _decode_leg_and_ts(found: _Headers) -> tuple[str, int]:
    return _parse_leg(found["leg"]), _parse_number("ts", found["ts"])


_DECODERS: dict[bytes | None, Callable[[_Headers, bytes | None], Record]] = {
    b"audio": _decode_audio,
    b"start": _decode_start,
    b"update": _decode_update,
    b"pause": lambda found, _: LegPause(*_decode_leg_and_ts(found)),
    b"resume": lambda found, _: LegResume(*_decode_leg_and_ts(found)),
    b"stop": lambda found, _: LegStop(*_decode_leg_and_ts(found)),
    b"call_end": lambda found, _: CallEnd(_parse_number("ts", found["ts"])),
}


# Ids recur thousands of times: the caches save the checks and give equal ids one str object, which makes
# the look-ups by id that follow cheaper. Their bounds keep a flood of ids from growing them.
@lru_cache(maxsize=16384)
def _parse_call_id(key: bytes) -> str:
    try:
        call_id = key.decode()
    except UnicodeDecodeError:
        raise ContractViolation(
            Reason.BAD_KEY, f"the key is {shorten(key)}, not UTF-8: send the call id as text"
        ) from None
    if not 0 < len(key) <= MAX_CALL_ID_BYTES or not call_id.isprintable():
        raise ContractViolation(
            Reason.BAD_KEY,
            f"the key is {shorten(call_id)}: a call id has 1 to {MAX_CALL_ID_BYTES} bytes of printable text",
        )
    return call_id


@lru_cache(maxsize=4096)
def _parse_leg(raw: bytes | None) -> str:
    if raw is None or not 0 < len(raw) <= MAX_LEG_BYTES or not raw.isascii():
        _refuse_leg(raw)
    leg = raw.decode("ascii")
    if not leg.isprintable() or " " in leg:
        _refuse_leg(raw)
    return leg


def _parse_number(name: str, raw: bytes | None) -> int:
    # isdigit keeps out what int() would take besides decimal digits: signs, blanks, underscores.
    if raw is not None and raw.isdigit() and len(raw) <= _MAX_DIGITS:
        return int(raw)
    raise ContractViolation(
        Reason.BAD_HEADER,
        f"header {name!r} is {shorten(raw)}: send a decimal number of at most {_MAX_DIGITS} digits",
    )


def _checked_audio(value: bytes | None, codec: Codec | None) -> bytes:
    if not value:
        raise ContractViolation(Reason.EMPTY_AUDIO, "the audio record has no audio: leave such records out")
    if codec in ("pcm_s16le", "opus"):
        count_samples(codec, value)
    return value


def _audio_headers(frame: AudioFrame) -> tuple[Header, ...]:
    return (
        ("v", b"1"),
        ("type", b"audio"),
        ("leg", _encode_leg(frame.leg)),
        _number_header("pos", frame.pos),
        _number_header("seq", frame.seq),
        _number_header("ts", frame.ts),
        *_format_headers(frame.codec, frame.rate),
    )


def _format_headers(codec: Codec | None, rate: int | None) -> tuple[Header, ...]:
    headers: tuple[Header, ...] = ()
    if codec is not None:
        parse_codec(codec.encode())
        headers = (("codec", codec.encode()),)
    if rate is not None:
        parse_rate(b"%d" % rate)
        headers = (*headers, ("rate", b"%d" % rate))
    return headers


def _leg_headers(record: LegStart | LegUpdate | LegPause | LegResume | LegStop) -> tuple[Header, ...]:
    return (
        ("v", b"1"),
        ("type", _TYPES[type(record)]),
        ("leg", _encode_leg(record.leg)),
        _number_header("ts", record.ts),
    )


_TYPES = {
    LegStart: b"start",
    LegUpdate: b"update",
    LegPause: b"pause",
    LegResume: b"resume",
    LegStop: b"stop",
}


def _encode_leg(leg: str) -> bytes:
    raw = leg.encode("utf-8", errors="surrogatepass")
    _parse_leg(raw)
    return raw


def _number_header(name: str, number: int) -> Header:
    raw = b"%d" % number
    _parse_number(name, raw)
    return name, raw


def _refuse_leg(raw: bytes | None) -> NoReturn:
    raise ContractViolation(
        Reason.BAD_HEADER,
        f"header 'leg' is {shorten(raw)}: "
        f"send 1 to {MAX_LEG_BYTES} printable ASCII characters without blanks",
    )


def _refuse_type(raw: bytes | None) -> NoReturn:
    known = ", ".join(kind.decode() for kind in _DECODERS if kind)
    raise ContractViolation(Reason.UNKNOWN_TYPE, f"header 'type' is {shorten(raw)}: use one of {known}")


def _refuse_version(found: _Headers) -> NoReturn:
    raw = found.get("v")
    if raw is None:
        raise ContractViolation(
            Reason.MISSING_HEADER, "header 'v' is missing: send the contract's version, 1"
        )
    raise UnknownVersion(_parse_number("v", raw))
