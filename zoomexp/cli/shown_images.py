"""The images that `scripts/visualize.py` shows a detector or a segmenter, and what it does not take of their runs."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.status import Status

from zoomexp.errors import InputError
from zoomexp.prediction.finding import image_files


def refuse(options: Mapping[str, str], reasons: Mapping[str, str]) -> None:
    """Refuse what only a classifier's run has.

    Args:
        options: What was typed.
        reasons: By `option`, where any value is refused, or `option=value`.

    Raises:
        InputError: Such an option.
    """
    for name, reason in reasons.items():
        option, _, value = name.partition("=")
        if options[option] == value if value else options[option]:
            raise InputError(f"{option}={options[option]}: {reason}")


def asked_for(
    options: Mapping[str, str],
    numbers: np.ndarray,
    of_test: Callable[[Sequence[int]], Sequence[Any]],
    of_file: Callable[[Path], Any],
) -> list[Any]:
    """The images that are asked for, as the network sees them; what cannot be read is said and left out.

    Args:
        options: `images` and `count`.
        numbers: Of all test images.
        of_test: Makes them of numbers.
        of_file: Makes one of a file.

    Raises:
        InputError: None of them can be drawn.
    """
    found = list(_images(options, numbers, of_test, of_file))
    if not found:
        raise InputError("images: none of them can be drawn")
    return found


def _images(
    options: Mapping[str, str],
    numbers: np.ndarray,
    of_test: Callable[[Sequence[int]], Sequence[Any]],
    of_file: Callable[[Path], Any],
) -> Iterator[Any]:
    from zoomexp.analysis.changed import spread

    count, given = int(options["count"]), [name.strip() for name in options["images"].split(",") if name.strip()]
    if not given:
        yield from of_test(spread(numbers, count))
    for name in given:
        if name.isdigit():
            yield from of_test([int(name)])
            continue
        for path in image_files(name)[:count] if Path(name).is_dir() else [Path(name)]:
            try:
                yield of_file(path)
            except InputError as error:
                sys.stderr.write(f"left out: {error}\n")


def told(shown: Sequence[Any], status: Status) -> Iterator[Any]:
    """The images one by one, with a line that says how far it is."""
    for number, viewed in enumerate(shown, start=1):
        status.update(f"showing image {number} of {len(shown)} to the run's network")
        yield viewed
