"""What can go wrong with an embedded part, and whose turn it is then."""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded part cannot be had; the message is one line with the remedy in it."""


class UnsupportedPlatformError(EmbeddedError):
    """No program of this part exists for this machine: the user names an external server instead."""


class StartError(EmbeddedError):
    """The program was there but did not come up: the message ends with what its log said last."""
