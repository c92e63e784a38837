"""The faults of the protocol package: who causes each, and what the caller can do."""

from __future__ import annotations


class ProtocolError(Exception):
    """Anything that goes wrong between the two sides of a realtime session."""


class MalformedMessage(ProtocolError):  # noqa: N818 - named for what arrived
    """The peer sent something that is no event: not JSON, no object, no ``type``, a member of a wrong type.

    Caused by the peer. A client's `receive_text` raises it: the stream itself stays readable, so the caller
    may count it and go on, or give the session up. A server session answers with an ``error`` event instead.
    """


class OutOfOrder(ProtocolError):  # noqa: N818 - named for what was tried
    """Our own caller asked for something that the protocol does not allow at this point.

    Caused by a fault in the calling shell, never by the peer; nothing may be sent for the refused call.
    """


class InvalidValue(ProtocolError, ValueError):  # noqa: N818 - the protocol's own name for it
    """A value is outside what the protocol allows.

    ``param`` is the path of the value as it stands in the protocol (``session.sample_rate``); a server
    answers with it, a caller who built the value corrects it. ``missing``: it is absent, not bad.
    """

    def __init__(self, param: str, requirement: str, *, missing: bool = False) -> None:
        super().__init__(f"{param} {requirement}.")
        self.param = param
        self.missing = missing
