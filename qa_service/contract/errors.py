"""What can be wrong with a record, and which of it is poison."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a record was refused: one code per kind, for counters and the dead-letter topic.

    The last four are seen where the call is known, not by the decoder.
    """

    MISSING_KEY = "missing_key"
    BAD_KEY = "bad_key"
    MISSING_HEADER = "missing_header"
    BAD_HEADER = "bad_header"
    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_CODEC = "unknown_codec"
    UNSUPPORTED_CODEC = "unsupported_codec"
    UNKNOWN_RATE = "unknown_rate"
    EMPTY_AUDIO = "empty_audio"
    ODD_BYTES = "odd_bytes"
    BAD_OPUS_PACKET = "bad_opus_packet"
    OVERSIZE = "oversize"
    BAD_JSON = "bad_json"
    POSITION_RUNS_BACKWARDS = "position_runs_backwards"
    POSITION_JUMPS_AHEAD = "position_jumps_ahead"
    RATE_CHANGED = "rate_changed"
    CALL_ON_OTHER_PARTITION = "call_on_other_partition"


class ContractError(Exception):
    """A record that this version of the contract cannot take."""


class ContractViolation(ContractError):  # noqa: N818 - the word of the design; "error" says less
    """The record is poison: it will never decode, so it belongs on the dead-letter topic.

    Caused by the platform that produced it; the message names the part, what it held and the remedy.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class UnsupportedCodec(ContractViolation):
    """The contract knows this codec but this program can neither cut nor write it."""

    def __init__(self, codec: str) -> None:
        super().__init__(
            Reason.UNSUPPORTED_CODEC,
            f"codec {codec!r} comes in packets that only an encoder can make: "
            "use pcmu, pcma or pcm_s16le, or send the encoder's packets as they are",
        )
        self.codec = codec


class UnknownVersion(ContractError):  # noqa: N818 - named after what was met
    """The record follows another version of the contract: not poison, pause its partition and say so.

    The remedy is the operator's: deploy a worker that knows the version.
    """

    def __init__(self, version: int) -> None:
        super().__init__(
            f"header 'v' is {version}, this worker knows contract version 1 only: "
            f"deploy a version that knows {version}, or stop the producer that writes it"
        )
        self.version = version


def shorten(value: object, limit: int = 60) -> str:
    """Return a value as a message may show it: its repr, cut to ``limit`` characters."""
    # Slicing first keeps the repr of a megabyte of audio from being built.
    text = repr(value[: limit + 1] if isinstance(value, (bytes, str)) else value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
