"""What `scripts/visualize.py` draws of a detector's run: boxes, objects and the patches beneath."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.status import Status

from zoomexp.errors import InputError
from zoomexp.prediction.finding import image_files

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
    for name, reason in OF_CLASSES.items():
        option, _, value = name.partition("=")
        if options[option] == value if value else options[option]:
            raise InputError(f"{option}={options[option]}: {reason}")


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

    def one_by_one() -> Iterator[Any]:
        for number, scene in enumerate(shown, start=1):
            status.update(f"showing image {number} of {len(shown)} to the run's network")
            yield scene

    return [scene_sheet(network, one_by_one(), classes, out / "contact_sheet.png")]


def scenes(network: Any, data: Any, options: Mapping[str, str]) -> list[Any]:
    """The images that are asked for, as a detector sees them; what cannot be read is said and left out.

    Args:
        network: The detector.
        data: Its data module, set up for the test.
        options: `images` and `count`.

    Raises:
        InputError: None of them can be drawn.
    """
    found = list(_scenes(network, data, options))
    if not found:
        raise InputError("images: none of them can be drawn")
    return found


def _scenes(network: Any, data: Any, options: Mapping[str, str]) -> Iterator[Any]:
    from zoomexp.analysis.changed import spread
    from zoomexp.analysis.scenes import numbers_of, scene_of_file, scenes_of_test
    from zoomexp.datasets.scene_seeing import SceneSeeing, fitting, seeing_of_data
    from zoomexp.datasets.seeing import Seeing

    count, given = int(options["count"]), [name.strip() for name in options["images"].split(",") if name.strip()]
    if not given:
        yield from scenes_of_test(data, spread(numbers_of(data), count))
    seeing = fitting(cast(Seeing | SceneSeeing, seeing_of_data(data)), network.multiple)
    for name in given:
        if name.isdigit():
            yield from scenes_of_test(data, [int(name)])
            continue
        for path in image_files(name)[:count] if Path(name).is_dir() else [Path(name)]:
            try:
                yield scene_of_file(path, seeing)
            except InputError as error:
                sys.stderr.write(f"left out: {error}\n")
