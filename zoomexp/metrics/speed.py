"""How long things take, as ratios that a busy machine does not spoil."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch


def clock(device: torch.device) -> float:
    """Seconds: of this process's CPU time, or, once a GPU is done, of wall time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def interleaved(
    variants: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, least: float = 0.0
) -> dict[str, list[float]]:
    """Time each variant once a round, in turn, after calls that are not counted.

    Args:
        variants: what to run, by name.
        rounds: how often, at least 1.
        device: where it runs; see `clock`.
        least: seconds that a stretch should take at least; what is quicker is called several times in it.

    Returns:
        Seconds of one call in each round, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    calls = {name: _calls(variant, device, least) for name, variant in variants.items()}
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(_stretch(variant, calls[name], device))
    return times


def _calls(variant: Callable[[], object], device: torch.device, least: float) -> int:
    """How many calls make a stretch; the first one, which may compile, says nothing about the others."""
    variant()
    return max(1, math.ceil(least / max(_stretch(variant, 1, device), 1e-9))) if least else 1


def _stretch(variant: Callable[[], object], calls: int, device: torch.device) -> float:
    """Seconds of one call, the mean over a stretch of them."""
    started = clock(device)
    for _ in range(calls):
        variant()
    return (clock(device) - started) / calls


def ratio(times: Sequence[float], baseline: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most over the rounds of `times` in units of the baseline's in the same round.

    >>> ratio([2.0, 3.0, 8.0], [1.0, 1.0, 2.0])
    (3.0, 2.0, 4.0)
    """
    shares = [own / other for own, other in zip(times, baseline, strict=True)]
    return median(shares), min(shares), max(shares)
