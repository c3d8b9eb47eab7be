"""Where and how much tokens are reduced: checks of what the methods share, and the counts that follow."""

import math
from collections.abc import Sequence
from typing import cast

from zoomexp.arguments import finite, integer
from zoomexp.errors import InputError


def checked_rate(value: object) -> float:
    """The share of patches that stay, once it is known to be in (0, 1]."""
    finite("tokens.keep_rate", value, lambda share: 0 < share <= 1, "a number in (0, 1]")
    return float(cast(float, value))


def blocks(value: object, depth: int) -> tuple[int, ...]:
    """The indices of blocks, counted from 0, once they are known to be different ones of a host of that depth."""
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else None
    fits = listed is not None and all(_is_block(i, depth) for i in listed)
    if listed is None or not fits or len(set(listed)) < len(listed):
        given = value if listed is None else listed
        raise InputError(f"tokens.locations must be different blocks in 0..{depth - 1}, got {given!r}")
    return tuple(listed)


def _is_block(value: object, depth: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < depth


def per_block(field: str, value: object, depth: int) -> tuple[int, ...]:
    """A whole number of at least 0 for every block, from one for all or a list of `depth`.

    >>> per_block("tokens.r", 8, 3)
    (8, 8, 8)
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        value = [value] * depth
    if len(value) != depth:
        raise InputError(f"{field} must be a whole number or a list of {depth}, one per block, got {len(value)}")
    for number in value:
        integer(field, number, 0)
    return tuple(value)


def kept_of(patches: int, rate: float) -> int:
    """How many patches stay: the share, rounded up.

    >>> kept_of(196, 0.7), kept_of(10, 0.7), kept_of(5, 0.01)
    (138, 7, 1)
    """
    return math.ceil(patches * rate - 1e-9)
