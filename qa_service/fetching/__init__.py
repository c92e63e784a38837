"""Third-party data and binaries fetched as files pinned by digest, never installed as importable packages.

Decided here: where fetched files live (one cache folder, shared by processes), how two processes keep out
of each other's way (a lock file per thing), and that nothing appears in the cache under its final name
before its digest was found right.
"""

from __future__ import annotations

from qa_service.fetching.cache import Report, default_cache_dir, exclusive, is_digest_of, sha256_of
from qa_service.fetching.errors import DigestMismatchError, FetchError, UnavailableError
from qa_service.fetching.wheels import WheelSpec, fetch_wheel, read_member, unpack_wheel

__all__ = [
    "DigestMismatchError",
    "FetchError",
    "Report",
    "UnavailableError",
    "WheelSpec",
    "default_cache_dir",
    "exclusive",
    "fetch_wheel",
    "is_digest_of",
    "read_member",
    "sha256_of",
    "unpack_wheel",
]
