"""The faults of the asr-server: who causes each, and what the caller can do."""

from __future__ import annotations


class AsrServerError(Exception):
    """Anything that keeps the server from starting or an utterance from being recognised; one line."""


class EngineError(AsrServerError):
    """An engine cannot be loaded, or failed on a segment. Caused by the model files or by the engine itself.

    While serving, the turn concerned gets a failed event and the session goes on.
    """


class LegStateRefused(AsrServerError):  # noqa: N818 - nobody's error: a session can begin without a past
    """A leg state is none that this server can go on from: its client is told the ``reason``, in a word.

    Caused by another server, other weights or another version having written it, or by damage on the way.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the leg state is of no use here: {reason}")
        self.reason = reason


class StartError(AsrServerError):
    """The server cannot serve as configured: no keys, an address in use. Caused by the operator."""
