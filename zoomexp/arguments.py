"""Checks of what a config gave: each failure is one line naming the field and what is allowed."""

import math
from collections.abc import Callable, Sequence

from zoomexp.errors import InputError


def real(field: str, value: object, fits: Callable[[float], bool], allowed: str) -> None:
    """Refuse anything but a finite number that `fits`; `allowed` says which do.

    >>> real("loss.sparsity", "much", lambda weight: weight >= 0, "at least 0")
    Traceback (most recent call last):
    zoomexp.errors.InputError: loss.sparsity must be a number, at least 0, got 'much'
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{field} must be a number, {allowed}, got {value!r}")
    if not math.isfinite(value) or not fits(value):
        raise InputError(f"{field} must be {allowed}, got {value!r}")


def whole(field: str, value: object, at_least: int) -> None:
    """Refuse anything but a whole number of at least this size."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(f"{field}={value} must be a whole number, at least {at_least}")


def truth(field: str, value: object) -> None:
    """Refuse anything but true and false."""
    if not isinstance(value, bool):
        raise InputError(f"{field}={value} must be true or false")


def listed(field: str, value: object, of: type | tuple[type, ...], allowed: str) -> None:
    """Refuse anything but a list of `of`; `allowed` says what may stand in it."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(one, of) for one in value):
        raise InputError(f"{field}={value} must be a list of {allowed}")
