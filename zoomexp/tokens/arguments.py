"""Checks of the tokenizers' constructor arguments: each failure is one line naming the field and what is allowed."""

import math
from collections.abc import Sequence

from zoomexp.errors import InputError


def one_of(field: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a `value` that is not among those `allowed`."""
    if value not in allowed or isinstance(value, bool):
        raise InputError(f"tokens.{field} must be one of {', '.join(map(str, allowed))}, got {value!r}")


def whole_number(field: str, value: object, low: int = 1, high: int | None = None) -> None:
    """Refuse anything but an integer in [low, high]."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        allowed = f"of at least {low}" if high is None else f"in {low}..{high}"
        raise InputError(f"tokens.{field} must be a whole number {allowed}, got {value!r}")


def multiple(field: str, value: object, of: int) -> None:
    """Refuse anything but a positive multiple of a number."""
    if not isinstance(value, int) or value < of or value % of:
        raise InputError(f"tokens.{field} must be a multiple of {of}, got {value!r}")


def number(field: str, value: object, low: float = 0.0, high: float = 1.0) -> None:
    """Refuse anything but a finite number in [low, high]."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        allowed = f"a finite number of at least {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        raise InputError(f"tokens.{field} must be {allowed}, got {value!r}")
