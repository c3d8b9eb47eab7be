"""Memory that malloc keeps: page faults of a process that asks for the same large block again and again."""

import os
import subprocess
import sys

import pytest

from zoomexp.upstream import allocator

PAGES = 64 * 2**20 // os.sysconf("SC_PAGE_SIZE")
FAULTS = """
import resource
from zoomexp.upstream.allocator import keep_memory
done = keep_memory() if {keep} else None
bytearray(64 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    bytearray(64 * 2**20)
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep, **environment):
    code = FAULTS.format(keep=keep)
    clean = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    done = subprocess.run([sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True)
    kept, count = done.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(os.confstr_names.get("CS_GNU_LIBC_VERSION") is None, reason="glibc's malloc only")
def test_a_large_block_is_touched_for_the_first_time_once():
    assert faults(False)[1] > PAGES
    kept, count = faults(True)
    assert (kept, count < PAGES // 10) == ("True", True)


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.mmap_max=0")
    assert allocator.keep_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert allocator.keep_memory() is False
