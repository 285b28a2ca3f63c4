"""Memory that was freed, given back to the system: glibc keeps it, an arena for every thread.

A freed tensor stays in the heap of the thread that made it, as room for that thread's next ones. A
page that is served by many threads, or measures in a thread per press, keeps each one's most. So
whoever has ended a large piece of work gives it back. Without glibc nothing happens.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _glibc() -> Any:
    """The C library if it can trim, else None (macOS, Windows, musl)."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
        library.malloc_trim.argtypes, library.malloc_trim.restype = [ctypes.c_size_t], ctypes.c_int
    except (OSError, AttributeError):
        return None
    return library


def give_back() -> None:
    """Drop what only circles hold, then hand freed memory to the system; some milliseconds."""
    gc.collect()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)  # walks every arena, without the interpreter's lock


def lacks_room(needed: int) -> bool:
    """Is this process held (`ulimit -v`) to fewer bytes of address space in all? Not on Windows."""
    try:
        import resource
    except ImportError:
        return False
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return most != resource.RLIM_INFINITY and most < needed


class Tide:
    """Gives freed memory back whenever so much more is held than after the last time.

    For long work of many small steps, each of which leaves holes in the heap.
    """

    def __init__(self, step: int = 2**26) -> None:
        """Start from what is held now."""
        self._step, self._mark = step, resident_bytes()

    def ebb(self) -> None:
        """Called after a step; nearly free where little was added."""
        if resident_bytes() > self._mark + self._step:
            give_back()
            self._mark = resident_bytes()


def resident_bytes() -> int:
    """What this process holds of the machine's memory now; 0 off Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * mmap.PAGESIZE
