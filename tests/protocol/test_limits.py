from __future__ import annotations

from qa_service.protocol.limits import (
    CLOSE_WAIT_S,
    FINISH_TIMEOUT_S,
    MAX_APPEND_BYTES,
    MAX_MESSAGE_BYTES,
    PING_INTERVAL_S,
    CloseCode,
)


def test_a_full_append_fits_into_a_message():
    """Section 1.4: 15 MiB of audio grow by a third in base64, and the envelope has room."""
    assert MAX_MESSAGE_BYTES - MAX_APPEND_BYTES * 4 // 3 > 2**16


def test_the_close_codes_are_those_of_the_list():
    """Section 6.3."""
    assert sorted(CloseCode) == [1000, 1001, 1007, 1009, 1011, 1013]


def test_the_waits_lie_within_what_is_advised():
    """Sections 6.3 and 6.4."""
    assert 5 <= CLOSE_WAIT_S <= 10
    assert 20 <= PING_INTERVAL_S <= 30
    assert FINISH_TIMEOUT_S == 20
