"""What `scripts/visualize.py` draws of a segmenter's run: the class of every pixel, true and said, and the maps."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.status import Status

from zoomexp.atomic_file import writing
from zoomexp.cli.shown_images import asked_for, refuse, told

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
    refuse(options, OF_CLASSES)


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
    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        return [mask_sheet(run.network, told(shown, status), run.data.classes, out / "contact_sheet.png")]


def masked_images(data: Any, options: Mapping[str, str]) -> list[Any]:
    """The images that are asked for, as a segmenter sees them; what cannot be read is said and left out.

    Args:
        data: Its data module, set up for the test.
        options: `images` and `count`.

    Raises:
        InputError: None of them can be drawn.
    """
    from zoomexp.analysis.mask_sheet import mask_of_file, masks_of_test, numbers_of
    from zoomexp.datasets.square_seeing import SquareSeeing

    seeing = SquareSeeing.of_data(data)
    return asked_for(options, numbers_of(data), partial(masks_of_test, data), partial(mask_of_file, seeing=seeing))
