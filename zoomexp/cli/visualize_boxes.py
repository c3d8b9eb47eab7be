"""What `scripts/visualize.py` draws of a detector's run: boxes, objects and the patches beneath."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from rich.status import Status

from zoomexp.cli.shown_images import asked_for, refuse, told

NEITHER = "an image of several objects is neither right nor wrong; name images by number"
OF_CLASSES = {
    "baseline": "a detector's picture has no second run beside it",
    "parts": "the accuracy that a head is worth is a classifier's",
    "images=changed": NEITHER,
    "images=worst": NEITHER,
}


def check_boxes(options: Mapping[str, str]) -> None:
    """Refuse what only a classifier's run has.

    Raises:
        InputError: Such an option.
    """
    refuse(options, OF_CLASSES)


def draw_boxes(network: Any, classes: Sequence[str], shown: Sequence[Any], out: Path, status: Status) -> list[Path]:
    """Draw the pictures; returns the files.

    Args:
        network: A detector.
        classes: Names by label.
        shown: Images as it sees them.
        out: The folder, which is there.
        status: Shows how far it is.
    """
    from zoomexp.analysis.scene_sheet import scene_sheet

    return [scene_sheet(network, told(shown, status), classes, out / "contact_sheet.png")]


def scenes(network: Any, data: Any, options: Mapping[str, str]) -> list[Any]:
    """The images that are asked for, as a detector sees them; what cannot be read is said and left out.

    Args:
        network: The detector.
        data: Its data module, set up for the test.
        options: `images` and `count`.

    Raises:
        InputError: None of them can be drawn.
    """
    from zoomexp.analysis.scenes import numbers_of, scene_of_file, scenes_of_test
    from zoomexp.datasets.scene_seeing import SceneSeeing, fitting, seeing_of_data
    from zoomexp.datasets.seeing import Seeing

    seeing = fitting(cast(Seeing | SceneSeeing, seeing_of_data(data)), network.multiple)
    return asked_for(options, numbers_of(data), partial(scenes_of_test, data), partial(scene_of_file, seeing=seeing))
