"""Checks of the modules' constructor arguments: each failure is one line naming the field and what is allowed."""

import math
from collections.abc import Sequence

from zoomexp.errors import InputError


def one_of(field: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a `value` that is not among the `allowed` words."""
    if value not in allowed:
        raise InputError(f"attention.{field} must be one of {', '.join(allowed)}, got {value!r}")


def whole_number(field: str, value: object, at_least: int = 1) -> None:
    """Refuse anything but an integer of `at_least` this size."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise InputError(f"attention.{field} must be a whole number of at least {at_least}, got {value!r}")


def odd(field: str, value: object) -> None:
    """Refuse a kernel size that has no centre tap: it must be an odd positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1 or value % 2 == 0:
        raise InputError(f"attention.{field} must be an odd whole number of at least 1, got {value!r}")


def number(field: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse anything but a finite number in [low, high]."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        allowed = "a finite number" if math.isinf(low) else f"in [{low:g}, {high:g}]"
        raise InputError(f"attention.{field} must be {allowed}, got {value!r}")
