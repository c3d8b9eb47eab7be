"""Metrics that callbacks are told to watch."""

from collections.abc import Collection

from zoomexp.errors import InputError


def check_monitored(field: str, metric: object, known: Collection[str]) -> None:
    """Refuse a metric that no step has logged.

    >>> check_monitored("callbacks.checkpoints.monitor", "val/acc", ["val/acc1", "val/loss"])
    Traceback (most recent call last):
    zoomexp.errors.InputError: callbacks.checkpoints.monitor=val/acc: no such metric; allowed: val/acc1, val/loss
    """
    if metric not in known:
        raise InputError(f"{field}={metric}: no such metric; allowed: {', '.join(sorted(known))}")
