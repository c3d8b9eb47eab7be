"""Memory that malloc keeps instead of giving it back to the system and asking for it again.

A network allocates the same large blocks in every step. From 32 MiB up glibc maps each one anew, and the system fills
its pages with zeros at the first touch: page faults, a sixth of the time of DeiT-S in bf16 at batch 64. Two settings go
together: no block is mapped on its own (M_MMAP_MAX = 0), and the end of the heap is kept (M_TRIM_THRESHOLD as large as
it goes). The second alone is a trap: setting it switches off malloc's own adaptation, every block above 128 KiB is
mapped, and a training step takes twice as long or more. What is given up: the process keeps its peak memory to its end.

Library: glibc (2.36 was measured). Can go when `tests/upstream/test_allocator.py` passes without it: when a block that
was freed and is asked for again comes without page faults.
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST = 2**31 - 1  # mallopt takes an int


def keep_memory() -> bool:
    """Let malloc keep what is freed, from now on; no numbers change.

    Returns:
        Whether it was done: not with a C library other than glibc, nor where GLIBC_TUNABLES sets malloc already.
    """
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, LARGEST) == 1
