"""What the server tells the C library about freed memory; the library itself is asked, in its own process."""

from __future__ import annotations

import ctypes
import json
import platform
import subprocess
import sys
from typing import TypedDict

import pytest

from qa_service.asr_server import native_heap

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="glibc 2.33 or newer tells what its heaps keep; this is another C library",
)

# A large block, of its own in memory, comes and goes; then 40 MiB in small ones. After that, eight threads.
_PROGRAM = """
import ctypes, json, runpy, sys, tempfile, threading

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
MIB = 1024 * 1024

done = runpy.run_path(sys.argv[1])["bound_kept_memory"]() if sys.argv[2] == "bounded" else None
libc.free(libc.malloc(31 * MIB))
for block in [libc.malloc(MIB) for _ in range(40)]:
    libc.free(block)
kept_mib = libc.mallinfo2().keepcost // MIB

together = threading.Barrier(8)
def allocate():
    together.wait()
    libc.free(libc.malloc(MIB))
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with tempfile.NamedTemporaryFile() as file:
    stream = libc.fopen(file.name.encode(), b"w")
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    heaps = file.read().count(b"<heap ")
print(json.dumps({"done": done, "kept_mib": kept_mib, "heaps": heaps}))
"""


class _Seen(TypedDict):
    done: bool | None
    kept_mib: int
    heaps: int


def _run(how: str, **variables: str) -> _Seen:
    command = [sys.executable, "-c", _PROGRAM, native_heap.__file__, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    seen: _Seen = json.loads(done.stdout)
    return seen


def test_what_is_freed_goes_back_to_the_system_and_threads_share_heaps() -> None:
    seen = _run("bounded")
    assert seen["done"] is True
    assert seen["kept_mib"] <= native_heap.KEPT_AT_END_BYTES // 1024 // 1024
    assert seen["heaps"] <= native_heap.HEAPS


def test_left_alone_the_c_library_keeps_it_and_gives_threads_heaps_of_their_own() -> None:
    seen = _run("alone")
    assert seen["kept_mib"] > native_heap.KEPT_AT_END_BYTES // 1024 // 1024
    assert seen["heaps"] > native_heap.HEAPS


@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_TRIM_THRESHOLD_": "99999999", "MALLOC_MMAP_THRESHOLD_": "33554432"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=99999999:glibc.malloc.mmap_threshold=33554432"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_what_a_user_chose_stays(variables: dict[str, str]) -> None:
    seen = _run("bounded", **variables)
    assert seen["done"] is False
    assert seen["kept_mib"] > native_heap.KEPT_AT_END_BYTES // 1024 // 1024
