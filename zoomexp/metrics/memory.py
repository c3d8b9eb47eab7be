"""How much memory work takes at its peak, counted where tensors are allocated.

On a GPU torch's allocator knows. On a CPU torch's profiler reports every allocation and release; what kernels take for
themselves without torch's allocator is not in it. The process's resident memory would not do: it holds the libraries
(about 500 MiB), whatever malloc has kept, and the peak of everything that ran before.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

CPU = 0  # as the profiler numbers devices
LARGEST = 2**20


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes that are allocated at once while `work` runs, on top of what was allocated before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == CPU]
    if not found:
        return 0
    first = min(found, key=lambda event: event["ts"])["args"]
    before = first["Total Allocated"] - first["Bytes"]  # the total runs on from what was profiled earlier
    return max(0, max(event["args"]["Total Allocated"] for event in found) - before)


def largest_batch(work: Callable[[int], object]) -> int:
    """Largest power of two that `work` can be given, at most 2^20; 0: not even 1.

    The end is where memory does not suffice, or a kernel's 32-bit index: both are RuntimeErrors.
    """
    batch = 1
    with contextlib.suppress(RuntimeError):
        while batch <= LARGEST:
            work(batch)
            batch *= 2
    torch.cuda.empty_cache()  # once the error and what it held are gone; does nothing without a GPU
    return batch // 2
