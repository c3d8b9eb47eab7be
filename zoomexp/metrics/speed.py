"""How long things take, as ratios that a busy machine does not spoil."""

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
    variants: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Time each variant once a round, in turn, after one round that is not counted.

    Args:
        variants: what to run, by name.
        rounds: how often, at least 1.
        device: where it runs; see `clock`.

    Returns:
        Seconds of each round, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, variant in variants.items():
            started = clock(device)
            variant()
            times[name].append(clock(device) - started)
    return {name: seconds[1:] for name, seconds in times.items()}


def ratio(times: Sequence[float], baseline: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and most over the rounds of `times` in units of the baseline's in the same round.

    >>> ratio([2.0, 3.0, 8.0], [1.0, 1.0, 2.0])
    (3.0, 2.0, 4.0)
    """
    shares = [own / other for own, other in zip(times, baseline, strict=True)]
    return median(shares), min(shares), max(shares)
