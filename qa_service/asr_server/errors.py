"""The faults of the asr-server: who causes each, and what the caller can do."""

from __future__ import annotations


class AsrServerError(Exception):
    """Anything that keeps the server from starting or an utterance from being recognised; one line."""


class EngineError(AsrServerError):
    """An engine cannot be loaded, or failed on a segment. Caused by the model files or by the engine itself.

    While serving, the turn concerned gets a failed event and the session goes on.
    """


class StartError(AsrServerError):
    """The server cannot serve as configured: no keys, an address in use. Caused by the operator."""
