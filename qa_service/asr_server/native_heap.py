"""How the C library keeps the memory that speech models free.

Decided here: how many heaps there are, how much free memory each may keep at its end, and from which size on
blocks come from the system and go back to it. glibc gives each thread a heap of its own, and raises the other
two bounds whenever a large block is freed, up to 64 and 32 MiB. A speech model frees blocks of megabytes on
several threads, so all those heaps grew: the memory of a server with 12 live legs rose by 5 MB a minute, for
as long as anybody watched (docs/performance-asr.md). Bounds that were set once stay.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_MIB: Final = 1024 * 1024
HEAPS: Final = 2
"""What one thread leaves free another can use. Few threads allocate, and seldom at the same moment."""
KEPT_AT_END_BYTES: Final = 16 * _MIB
MAPPED_FROM_BYTES: Final = 32 * _MIB
"""What a recognition asks for again and again is smaller. With 4 MiB here and 1 MiB kept, each one touched
30,000 new pages, and took a tenth to a quarter more processor time."""

# mallopt(3), <malloc.h>: the numbers of its parameters, and the variables by which a user may have chosen.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_CHOSEN_BY_USER: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX")


def bound_kept_memory() -> bool:
    """Fix the bounds for this process; False where there is nothing to fix.

    That is: another C library than glibc, which has no such bounds, or a user who has set any of them.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc." in tunables or any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no handle for the process itself
        return False
    done = [
        mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
        mallopt(_M_TRIM_THRESHOLD, KEPT_AT_END_BYTES),
        mallopt(_M_ARENA_MAX, HEAPS),
    ]
    return all(done)
