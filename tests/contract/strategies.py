"""Hypothesis strategies for everything that a record can hold."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from qa_service.contract import (
    CODECS,
    RATES,
    AudioFrame,
    CallEnd,
    Consent,
    ConsentChange,
    LegChange,
    LegInfo,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
)

_printable = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
call_ids = st.text(_printable, min_size=1, max_size=60)
legs = st.text(string.ascii_letters + string.digits + "-_.:#", min_size=1, max_size=64)
numbers = st.integers(0, 10**18 - 1)
codecs = st.sampled_from(CODECS)
rates = st.sampled_from(RATES)

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
_roles = st.sampled_from(["customer", "agent", "other"])
_directions = st.sampled_from(["inbound", "outbound", "internal"])
_languages = st.sampled_from(["en", "de-DE", "zh-Hant-TW"])
_unix_ms = st.integers(0, 2**63 - 1)
_values = (
    _texts
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)
_maybe_bool = st.none() | st.booleans()

infos = st.builds(
    LegInfo,
    role=_roles,
    tenant=st.none() | _texts,
    agent_id=st.none() | _texts,
    queue=st.none() | _texts,
    direction=st.none() | _directions,
    call_start=st.none() | _unix_ms,
    language=st.none() | _languages,
    consent=st.builds(Consent, recording=_maybe_bool, emotion=_maybe_bool),
    subject=st.none() | _texts,
    attributes=st.dictionaries(_texts, _values, max_size=4),
)


@st.composite
def changes(draw: st.DrawFn) -> LegChange:
    fields = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "role": _roles,
                "agent_id": st.none() | _texts,
                "queue": st.none() | _texts,
                "direction": st.none() | _directions,
                "call_start": st.none() | _unix_ms,
                "language": st.none() | _languages,
                "consent": st.fixed_dictionaries(
                    {}, optional={"recording": _maybe_bool, "emotion": _maybe_bool}
                ).map(lambda fields: ConsentChange(**fields)),
                "subject": st.none() | _texts,
                "attributes": st.dictionaries(_texts, st.none() | _values, max_size=4),
            },
        )
    )
    return LegChange(**fields)


frames = st.builds(
    AudioFrame,
    leg=legs,
    pos=numbers,
    seq=numbers,
    ts=numbers,
    # Whole samples, and the beginning of an Opus packet of 20 ms: right for each codec.
    audio=st.binary(max_size=80).map(lambda audio: b"\x48\x48" + audio * 2),
    codec=st.none() | codecs,
    rate=st.none() | rates,
)
records = st.one_of(
    frames,
    st.builds(LegStart, leg=legs, ts=numbers, codec=codecs, rate=rates, info=infos),
    st.builds(LegUpdate, leg=legs, ts=numbers, change=changes()),
    st.builds(LegPause, leg=legs, ts=numbers),
    st.builds(LegResume, leg=legs, ts=numbers),
    st.builds(LegStop, leg=legs, ts=numbers),
    st.builds(CallEnd, ts=numbers),
)
