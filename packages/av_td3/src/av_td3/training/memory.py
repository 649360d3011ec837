"""Settings of the C library's memory allocator that suit training on a CPU."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def tune_allocator() -> bool:
    """Let glibc keep freed blocks instead of returning them to the kernel after each update.

    An update on the CPU takes and frees a few hundred megabytes; by default each block is
    mapped, zeroed by the kernel, and unmapped again.  True when the settings were taken;
    False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    wanted = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 512 << 20}
    return all(bool(mallopt(parameter, value)) for parameter, value in wanted.items())
