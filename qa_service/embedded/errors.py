"""What can go wrong with an embedded part, and whose turn it is then."""

from __future__ import annotations


class EmbeddedError(Exception):
    """An embedded part cannot be had; the message is one line with the remedy in it."""


class ProgramMissingError(EmbeddedError):
    """The program of this part cannot be had here: no build for this machine, or no way to fetch it."""


class StartError(EmbeddedError):
    """The program was there but did not come up: the message ends with what its log said last."""
