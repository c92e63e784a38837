"""The contract with telephony platforms: what one Kafka record of ``telephony.audio`` means.

Version 1. The words for people are in ``schemas/asyncapi.yaml``; the schemas of the JSON values stand
beside it. Everything here is a pure function of bytes.
"""

from __future__ import annotations

from qa_service.contract.codecs import (
    CODECS,
    DEFAULT_CODEC,
    DEFAULT_RATE,
    RATES,
    Codec,
    bytes_per_sample,
    count_samples,
)
from qa_service.contract.dead_letters import (
    DeadLetter,
    DeadLetterCause,
    describe_dead_letter,
    encode_dead_letter,
)
from qa_service.contract.errors import (
    ContractError,
    ContractViolation,
    Reason,
    UnknownVersion,
    UnsupportedCodec,
)
from qa_service.contract.info import Consent, ConsentChange, LegChange, LegInfo, Role, apply_change
from qa_service.contract.records import (
    VERSION,
    AudioFrame,
    CallEnd,
    CallRecord,
    EncodedRecord,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    Record,
    decode_record,
    encode_record,
)

__all__ = [
    "CODECS",
    "DEFAULT_CODEC",
    "DEFAULT_RATE",
    "RATES",
    "VERSION",
    "AudioFrame",
    "CallEnd",
    "CallRecord",
    "Codec",
    "Consent",
    "ConsentChange",
    "ContractError",
    "ContractViolation",
    "DeadLetter",
    "DeadLetterCause",
    "EncodedRecord",
    "LegChange",
    "LegInfo",
    "LegPause",
    "LegResume",
    "LegStart",
    "LegStop",
    "LegUpdate",
    "Reason",
    "Record",
    "Role",
    "UnknownVersion",
    "UnsupportedCodec",
    "apply_change",
    "bytes_per_sample",
    "count_samples",
    "decode_record",
    "describe_dead_letter",
    "encode_dead_letter",
    "encode_record",
]
