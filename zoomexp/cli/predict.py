"""Name what is in images, with the network of a finished run; of a detector also where, of a segmenter every pixel.

    python scripts/predict.py run=FOLDER images=FOLDER
    python scripts/predict.py run=FOLDER images=new/*.jpg top=3 maps=true out=FOLDER
    python scripts/predict.py run=FOLDER images=val2017 score=0.5 coco=instances_val2017.json

    run=FOLDER      the folder of a finished run
    images=...      a folder (all image files below it), a pattern, or files with commas between them
    out=FOLDER      where the files go; left out: predictions/ in the run's folder
    batch_size=32   images that the network sees at a time; of a detector or segmenter 8
    device=auto     auto: a GPU where there is one; cpu; cuda ...
    data_dir=DIR    where the run's data set lies; only for runs whose records do not name their classes yet

Of a classifier:

    top=5           how many classes to name
    maps=false      true: the module's maps over the images, as PNG files

predictions.csv    file, class_1, probability_1, class_2 ..., and of each map mean, max, peak_x, peak_y and entropy
predictions.json   the same, and the files that could not be read, with the reason
maps/              with maps=true

Of a detector (task=detection):

    score=0.3       how sure a box must be to be told, 0 to 1; 0: all of them
    coco=FILE       an annotation file that lists the images: all boxes in COCO's result format, with its ids

predictions.csv    file, label, score, x0, y0, x1, y1: a row a box, in pixels of the upright image
predictions.json   the same by image, with its size, and the files that could not be read, with the reason
detections.json    with coco=FILE

Of a segmenter (task=segmentation):

masks/             a PNG for each image, of its own size: the number of the class of each pixel, with a palette
overlays/          the same over the image
predictions.csv    file, class, share: a row for each image and class in it
predictions.json   the same by image, with its size, and the files that could not be read, with the reason

In a notebook: predictor = zoomexp.load(FOLDER); predictor("bird.jpg").label, of a detector .boxes, .classes, .scores,
of a segmenter .labels, .shares()
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from zoomexp.atomic_file import writing
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.errors import InputError
from zoomexp.run.explain import building

if TYPE_CHECKING:
    from zoomexp.prediction.detector import Detector
    from zoomexp.prediction.predictor import Predictor
    from zoomexp.prediction.segmenter import SegmentingPredictor

SHARED = {"run": "", "images": "", "out": "", "batch_size": "", "device": "auto", "data_dir": ""}
OF_CLASSIFIERS = {"top": "5", "maps": "false", "batch_size": "32"}
OF_SEGMENTERS = {"batch_size": "8"}
OF_DETECTORS = {"score": "0.3", "coco": "", "batch_size": "8"}


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options = parse(arguments)
    with building():
        from zoomexp.prediction.detector import Detector
        from zoomexp.prediction.finding import image_files
        from zoomexp.prediction.loading import load
        from zoomexp.prediction.segmenter import SegmentingPredictor

        files = image_files(options["images"])
        predictor = load(options["run"], options["device"], options["data_dir"] or None)
        if isinstance(predictor, Detector):
            say: Callable[..., str] = partial(say_boxes, with_defaults(options, OF_DETECTORS, "boxes"))
        elif isinstance(predictor, SegmentingPredictor):
            say = partial(say_pixels, with_defaults(options, OF_SEGMENTERS, "pixels"))
        else:
            say = partial(say_classes, with_defaults(options, OF_CLASSIFIERS, "classes"))
    out = Path(options["out"]) if options["out"] else Path(options["run"]) / "predictions"
    print(say(predictor, files, out))


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options as they were typed; "" for those that were not and whose default depends on the run.

    Raises:
        InputError: For an unknown one, or a value that cannot be.
    """
    own = {name: "" for name in (*OF_CLASSIFIERS, *OF_DETECTORS)}
    options, _ = split(arguments, SHARED | own)
    for name in ("run", "images"):
        if not options[name]:
            raise InputError(f"{name}: must be given, for example {name}=FOLDER")
    whole_numbers(options, *(name for name in ("top", "batch_size") if options[name]))
    if options["maps"]:
        check_choice(options, "maps", ("true", "false"))
    if options["score"]:
        share("score", options["score"])
    return options


def with_defaults(options: dict[str, str], own: dict[str, str], said: str) -> dict[str, str]:
    """The options of a run that says classes or boxes, with its defaults.

    Raises:
        InputError: One that only the other kind of run has was typed.
    """
    others = (OF_CLASSIFIERS.keys() | OF_DETECTORS.keys()) - own.keys()
    for name in sorted(others):
        if options[name]:
            allowed = ", ".join(f"{option}=" for option in own)
            raise InputError(f"{name}={options[name]}: this run says {said}; options of its own: {allowed}")
    return options | {name: options[name] or default for name, default in own.items()}


def say_classes(options: dict[str, str], predictor: "Predictor", files: Sequence[Path], out: Path) -> str:
    """Name what is in the images, and write it; returns the line that says so."""
    top, batch_size = whole_numbers(options, "top", "batch_size")
    found, left_out = shown(predictor.predict(files, top, batch_size), len(files), options["images"])
    with writing("out", out):
        write(out, options, predictor, found, left_out)
    return f"{told('named', found, left_out)}: {out / 'predictions.csv'}, {out / 'predictions.json'}"


def say_boxes(options: dict[str, str], detector: "Detector", files: Sequence[Path], out: Path) -> str:
    """Say where what is in the images, and write it; returns the line that says so."""
    from zoomexp.export.coco import RESULTS
    from zoomexp.prediction.box_writing import write_boxes_csv, write_boxes_json, write_coco
    from zoomexp.prediction.coco_ids import coco_ids

    least, batch_size = share("score", options["score"]), whole_numbers(options, "batch_size")[0]
    ids = coco_ids(Path(options["coco"])) if options["coco"] else None
    if ids is not None:  # what it does not know shows before the network has seen an image
        ids.of_images(files)
        ids.of_classes(detector.classes)
    stream = detector.predict(files, least if ids is None else 0, batch_size)
    whole, left_out = shown(stream, len(files), options["images"])
    found, names = [one.above(least) for one in whole], ["predictions.csv", "predictions.json"]
    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        write_boxes_csv(out / names[0], found)
        write_boxes_json(out / names[1], options["run"], least, found, left_out)
        if ids is not None:
            names.append(RESULTS)
            write_coco(out / RESULTS, whole, ids, detector.classes)
    boxes = f"{sum(map(len, found)):,} boxes with a score of at least {least:g} in {told('seen', found, left_out)}"
    return f"{boxes}: {', '.join(str(out / name) for name in names)}"


def say_pixels(options: dict[str, str], predictor: "SegmentingPredictor", files: Sequence[Path], out: Path) -> str:
    """Say the class of every pixel of the images, and write it; returns the line that says so."""
    from zoomexp.prediction.mask_writing import write_masks, write_shares_csv, write_shares_json

    stream = predictor.predict(files, whole_numbers(options, "batch_size")[0])
    found, left_out = shown(stream, len(files), options["images"])
    root = Path(os.path.commonpath([Path(one.name).absolute().parent for one in found]))
    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        for one in found:
            write_masks(out, one, root)
        write_shares_csv(out / "predictions.csv", found)
        write_shares_json(out / "predictions.json", options["run"], found, left_out)
    files_told = ", ".join(str(out / name) for name in ("masks", "overlays", "predictions.csv", "predictions.json"))
    return f"{told('seen', found, left_out)}: {files_told}"


def share(name: str, text: str) -> float:
    """An option as a number from 0 to 1.

    Raises:
        InputError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise InputError(f"{name}={text} must be a number from 0 to 1")
    return value


def shown(stream: Iterator[Any], count: int, images: str) -> tuple[list[Any], list[Any]]:
    """What is said of the images, and the files that could not be read; shows how far it is and how long it takes.

    Raises:
        InputError: None could be read.
    """
    from zoomexp.prediction.reading import LeftOut

    console = Console(stderr=True)
    found = list(track(stream, "naming", total=count, console=console, disable=not console.is_terminal))
    left_out = [one for one in found if isinstance(one, LeftOut)]
    for one in left_out:
        sys.stderr.write(f"left out: {one.reason}\n")
    if len(left_out) == len(found):
        raise InputError(f"images={images}: none of them can be read")
    return [one for one in found if not isinstance(one, LeftOut)], left_out


def told(done: str, found: Sequence[Any], left_out: Sequence[Any]) -> str:
    """How many images there were."""
    return f"{len(found)} images {done}{f', {len(left_out)} left out' if left_out else ''}"


def write(out: Path, options: dict[str, str], predictor: "Predictor", found: list[Any], left_out: list[Any]) -> None:
    """Write the files."""
    from zoomexp.prediction.writing import write_csv, write_json, write_maps

    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "predictions.csv", found)
    write_json(out / "predictions.json", options["run"], found, left_out)
    if options["maps"] == "true":
        if not found[0].maps:
            sys.stderr.write("maps=true: this run's network has no module with a map\n")
        root = Path(os.path.commonpath([Path(one.name).absolute().parent for one in found]))
        for one in found:
            write_maps(out / "maps", one, predictor.seeing, root)
