"""Denormal numbers are zero in a run, on all its threads, unless it is told otherwise."""

import os
import subprocess
import sys

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.run.denormals import flush_denormals, flushes_denormals

ON_ALL_THREADS = """
import torch
from zoomexp.run.denormals import flush_denormals, flushes_denormals
flush_denormals(True)
many = torch.full((4_000_000,), 1e-42)
print(torch.get_num_threads(), int(((many * 1) != 0).sum()), flushes_denormals())
"""


@pytest.fixture(autouse=True)
def as_before():
    before = flushes_denormals()
    yield
    torch.set_flush_denormal(before)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush denormals")
def test_on_and_off():
    flush_denormals(True)
    assert flushes_denormals()
    flush_denormals(False)
    assert not flushes_denormals()


def test_on_all_threads():
    ended = subprocess.run(
        [sys.executable, "-c", ON_ALL_THREADS], env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert ended.stdout == "2 0 True\n"


def test_bad_input():
    with pytest.raises(InputError, match=r"^trainer\.flush_denormal='yes' must be true or false$"):
        flush_denormals("yes")
