"""The ways in which fetching a pinned file can fail."""

from __future__ import annotations


class FetchError(Exception):
    """A file that is needed could not be had; the message is one line naming the file and the remedy."""


class UnavailableError(FetchError):
    """A source could not be reached or does not hold the file; another source may."""


class DigestMismatchError(FetchError):
    """What a source delivered is not what was pinned; it was thrown away."""
