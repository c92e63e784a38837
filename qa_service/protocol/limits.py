"""The fixed numbers of the protocol: sizes, waits and close codes."""

from __future__ import annotations

import enum
from typing import Final

MAX_APPEND_BYTES: Final = 15 * 1024 * 1024
"""Bytes of audio that one append may carry, before base64 (section 6.4)."""

MAX_MESSAGE_BYTES: Final = 21 * 1024 * 1024
"""Bytes of one text message that either side accepts: a full append in base64 (section 1.4)."""

MAX_LEG_STATE_CHARS: Final = 4096
"""Characters of a leg state, our extension (section 10); a longer one is refused unread."""

FINISH_TIMEOUT_S: Final = 20.0
"""Seconds within which ``session.finished`` follows ``session.finish``; SDKs give up then (section 6.4)."""

CLOSE_WAIT_S: Final = 7.0
"""Seconds a server gives the client to close after ``session.finished``; 5 to 10 advised (section 6.3)."""

PING_INTERVAL_S: Final = 25.0
"""Seconds between pings of either side; 20 to 30 are advised (section 6.4)."""

MANUAL_TURN_MAX_S: Final = 60.0
"""Seconds of audio after which a client in manual mode should have committed (section 3.3)."""

MISSING_FINAL_TIMEOUT_S: Final = 30.0
"""Seconds after which a client stops waiting for an item's final result (section 8.2.4)."""


class CloseCode(enum.IntEnum):
    """WebSocket close codes that a server uses (section 6.3)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    BAD_UTF8 = 1007
    MESSAGE_TOO_BIG = 1009
    INTERNAL = 1011
    OVERLOADED = 1013
