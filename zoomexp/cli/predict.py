"""Name what is in images, with the network of a finished run.

    python scripts/predict.py run=FOLDER images=FOLDER
    python scripts/predict.py run=FOLDER images=new/*.jpg top=3 maps=true out=FOLDER

    run=FOLDER      the folder of a finished run
    images=...      a folder (all image files below it), a pattern, or files with commas between them
    top=5           how many classes to name
    maps=false      true: the module's maps over the images, as PNG files
    out=FOLDER      where the files go; left out: predictions/ in the run's folder
    batch_size=32   images that the network sees at a time
    device=auto     auto: a GPU where there is one; cpu; cuda ...
    data_dir=DIR    where the run's data set lies; only for runs whose records do not name their classes yet

predictions.csv    file, class_1, probability_1, class_2 ..., and of each map mean, max, peak_x, peak_y and entropy
predictions.json   the same, and the files that could not be read, with the reason
maps/              with maps=true

In a notebook: predictor = zoomexp.load(FOLDER); predictor("bird.jpg").label
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from zoomexp.atomic_file import writing
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.errors import InputError
from zoomexp.run.explain import building

if TYPE_CHECKING:
    from zoomexp.prediction.predictor import Predictor

OPTIONS = {
    "run": "", "images": "", "top": "5", "maps": "false", "out": "", "batch_size": "32", "device": "auto",
    "data_dir": "",
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options = parse(arguments)
    with building():
        from zoomexp.prediction.finding import image_files
        from zoomexp.prediction.loading import load

        files = image_files(options["images"])
        predictor = load(options["run"], options["device"], options["data_dir"] or None)
    found, left_out = predicted(predictor, files, *whole_numbers(options, "top", "batch_size"))
    for one in left_out:
        sys.stderr.write(f"left out: {one.reason}\n")
    if not found:
        raise InputError(f"images={options['images']}: none of them can be read")
    out = Path(options["out"]) if options["out"] else Path(options["run"]) / "predictions"
    with writing("out", out):
        write(out, options, predictor, found, left_out)
    left = f", {len(left_out)} left out" if left_out else ""
    print(f"{len(found)} images named{left}: {out / 'predictions.csv'}, {out / 'predictions.json'}")


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options.

    Raises:
        InputError: For an unknown one, or a value that cannot be.
    """
    options, _ = split(arguments, OPTIONS)
    for name in ("run", "images"):
        if not options[name]:
            raise InputError(f"{name}: must be given, for example {name}=FOLDER")
    whole_numbers(options, "top", "batch_size")
    check_choice(options, "maps", ("true", "false"))
    return options


def predicted(predictor: "Predictor", files: Sequence[Path], top: int, batch_size: int) -> tuple[list[Any], list[Any]]:
    """The predictions, and the files that could not be read; shows how far it is and how long it still takes."""
    from zoomexp.prediction.predictor import LeftOut

    stream = predictor.predict(files, top, batch_size)
    shown = Console(stderr=True)
    found = list(track(stream, "naming", total=len(files), console=shown, disable=not shown.is_terminal))
    left_out = [one for one in found if isinstance(one, LeftOut)]
    return [one for one in found if not isinstance(one, LeftOut)], left_out


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
