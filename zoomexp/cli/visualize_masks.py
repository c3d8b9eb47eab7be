"""What `scripts/visualize.py` draws of a segmenter's run: the class of every pixel, true and said, and the maps."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.status import Status

from zoomexp.atomic_file import writing
from zoomexp.errors import InputError
from zoomexp.prediction.finding import image_files

NEITHER = "an image of many pixels is neither right nor wrong; name images by number"
OF_CLASSES = {
    "baseline": "a segmenter's picture has no second run beside it",
    "parts": "the accuracy that a head is worth is a classifier's",
    "images=changed": NEITHER,
    "images=worst": NEITHER,
}


def check_masks(options: Mapping[str, str]) -> None:
    """Refuse what only a classifier's run has.

    Raises:
        InputError: Such an option.
    """
    for name, reason in OF_CLASSES.items():
        option, _, value = name.partition("=")
        if options[option] == value if value else options[option]:
            raise InputError(f"{option}={options[option]}: {reason}")


def draw_masks_of(run: Any, options: Mapping[str, str], out: Path, status: Status) -> list[Path]:
    """Draw all pictures of a segmenter's run; returns the files.

    Args:
        run: Its `network`, and its `data`, set up for the test.
        options: What was typed.
        out: The folder they go to.
        status: Shows how far it is.
    """
    from zoomexp.analysis.mask_sheet import mask_sheet

    check_masks(options)
    shown = masked_images(run.data, options)

    def one_by_one() -> Iterator[Any]:
        for number, viewed in enumerate(shown, start=1):
            status.update(f"showing image {number} of {len(shown)} to the run's network")
            yield viewed

    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        return [mask_sheet(run.network, one_by_one(), run.data.classes, out / "contact_sheet.png")]


def masked_images(data: Any, options: Mapping[str, str]) -> list[Any]:
    """The images that are asked for, as a segmenter sees them; what cannot be read is said and left out.

    Args:
        data: Its data module, set up for the test.
        options: `images` and `count`.

    Raises:
        InputError: None of them can be drawn.
    """
    found = list(_images(data, options))
    if not found:
        raise InputError("images: none of them can be drawn")
    return found


def _images(data: Any, options: Mapping[str, str]) -> Iterator[Any]:
    from zoomexp.analysis.changed import spread
    from zoomexp.analysis.mask_sheet import mask_of_file, masks_of_test, numbers_of
    from zoomexp.datasets.square_seeing import SquareSeeing

    count, given = int(options["count"]), [name.strip() for name in options["images"].split(",") if name.strip()]
    if not given:
        yield from masks_of_test(data, spread(numbers_of(data), count))
    for name in given:
        if name.isdigit():
            yield from masks_of_test(data, [int(name)])
            continue
        for path in image_files(name)[:count] if Path(name).is_dir() else [Path(name)]:
            try:
                yield mask_of_file(path, SquareSeeing.of_data(data))
            except InputError as error:
                sys.stderr.write(f"left out: {error}\n")
