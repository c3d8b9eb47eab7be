"""Checks of what a config gave: each failure is one line naming the field, its value and what is allowed.

Values stand there as Python writes them, so that the text '0.1' is told from the number. A bool is never a number.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from zoomexp.errors import InputError


def one_of(field: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a value that is not among those `allowed`."""
    fits = value in allowed and not isinstance(value, bool)  # True would pass for 1
    _refuse_unless(fits, field, value, f"one of {', '.join(map(str, allowed))}")


def integer(field: str, value: Any, low: int = 1, high: int | None = None) -> None:
    """Refuse anything but a whole number in [low, high]."""
    allowed = f"a whole number, at least {low}" if high is None else f"a whole number in {low}..{high}"
    _refuse_unless(_is_a(value, int) and low <= value and (high is None or value <= high), field, value, allowed)


def odd(field: str, value: Any) -> None:
    """Refuse anything but an odd whole number above 0: other kernels have no centre tap."""
    _refuse_unless(_is_a(value, int) and value >= 1 and value % 2 == 1, field, value, "an odd whole number, at least 1")


def multiple_of(field: str, value: Any, of: int) -> None:
    """Refuse anything but a positive multiple of a whole number."""
    _refuse_unless(_is_a(value, int) and value >= of and value % of == 0, field, value, f"a positive multiple of {of}")


def number(field: str, value: Any, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse anything but a finite number in [low, high].

    >>> number("loss.sparsity", "0.1", 0)
    Traceback (most recent call last):
    zoomexp.errors.InputError: loss.sparsity='0.1' must be a finite number, at least 0
    """
    allowed = f"a number in [{low:g}, {high:g}]"
    if math.isinf(high):
        allowed = "a finite number" if math.isinf(low) else f"a finite number, at least {low:g}"
    finite(field, value, lambda given: low <= given <= high, allowed)


def finite(field: str, value: Any, fits: Callable[[float], bool], allowed: str) -> None:
    """Refuse anything but a finite number that `fits`, where a bound is open; `allowed` says which fit."""
    finite = _is_a(value, (int, float)) and abs(value) <= sys.float_info.max  # isfinite() raises for a larger int
    _refuse_unless(finite and fits(value), field, value, allowed)


def fraction(field: str, value: Any) -> Fraction:
    """A share in [0, 1], exactly, of a number or a fraction in words; refuses anything else.

    >>> fraction("tokens.warmup", "2/3") * 300, fraction("tokens.warmup", 0.1)
    (Fraction(200, 1), Fraction(1, 10))
    """
    fits = _is_a(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"\d+/[1-9]\d*", value))
    found = Fraction(str(value)) if fits and str(value) not in ("nan", "inf", "-inf") else Fraction(-1)
    _refuse_unless(0 <= found <= 1, field, value, "a number in [0, 1], or a fraction such as 2/3")
    return found


def boolean(field: str, value: object) -> None:
    """Refuse anything but true and false."""
    _refuse_unless(isinstance(value, bool), field, value, "true or false")


def list_of(field: str, value: Any, of: type | tuple[type, ...], allowed: str) -> None:
    """Refuse anything but a list of `of`; `allowed` says what may stand in it."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    _refuse_unless(is_list and all(_is_a(one, of) for one in value), field, value, f"a list of {allowed}")


def known_options(field: str, make: Callable[..., object]) -> None:
    """Refuse a partial call with arguments that its function does not have; the error lists those it has."""
    function, given = getattr(make, "func", make), getattr(make, "keywords", {})
    known = inspect.signature(function).parameters
    unknown = [] if any(p.kind is p.VAR_KEYWORD for p in known.values()) else [k for k in given if k not in known]
    if unknown:
        allowed = ", ".join(name for name in known if name != "channels")
        raise InputError(f"{field}.{unknown[0]}: {function.__name__} has no such option; allowed: {allowed}")


def _is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _refuse_unless(fits: bool, field: str, value: object, allowed: str) -> None:
    if not fits:
        raise InputError(f"{field}={value!r} must be {allowed}")
