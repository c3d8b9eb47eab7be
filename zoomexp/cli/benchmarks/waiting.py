"""How long the host is busy with a call, and how often it waits for the device in it."""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch


def host_ms(call: Callable[[], Any], device: torch.device) -> float | None:
    """Milliseconds until the host is free again, the least of a few calls, each on an idle device."""
    if device.type != "cuda":
        return None
    found = math.inf
    for _ in range(5):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        found = min(found, time.perf_counter() - started)
    torch.cuda.synchronize()
    return 1e3 * found


def waits(call: Callable[[], Any]) -> int | None:
    """How often one call makes the host wait, by torch's own check; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)
