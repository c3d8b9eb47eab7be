"""Draw what a run's model looks at: Grad-CAM, the module's maps, contours, warps; PNG files in the run's folder.

    python scripts/visualize.py run=outputs/runs/cluttered_digits/resnet20-loupe-default/seed0-6d64da99
    python scripts/visualize.py run=FOLDER baseline=FOLDER images=changed

    run=FOLDER           the folder of a run that has a checkpoint; run=latest: the last one finished under outputs/
    baseline=FOLDER      another run on the same data, drawn beside it
    images=0,5,7         numbers in the test split | image files, or folders of them | changed: those that only one of
                         the two runs gets right | worst: the wrong ones, the surest first; left out: evenly spread
    count=8              how many, where images are not named one by one
    parts=1000           what single heads and channel gates do over so many test images, or all; left out: not measured
    beside=FOLDER,...    with parts: further runs, whose channel gates are drawn over this one's (of another reduction)
    data_dir=DIR         where the data sets lie; left out: where the run found them
    out=FOLDER           where the pictures go; left out: figures/ in the run's folder

contact_sheet.png         image, Grad-CAM of the baseline and of the run, the module's maps
worst_mistakes.png        the same of images=worst, with file, class and confidence
contours_and_warps.png    the highest 5 % of each map outlined on the whole image; the image warped by the map
attention_distance.png    how far each head looks, where the model has self-attention
head_ablation.png, .csv   the drop of accuracy without each attention head, one at a time (parts=)
gate_spectra.png, .csv    CBAM's gate of each channel: mean and spread over images, and in how many directions (parts=)
patch_map.png             scores and patches, where the model is a Zoomer or has tokens=zoomvit

Of a detector (task=detection) contact_sheet.png alone: objects and boxes with their scores over the image, the Zoomer's
scores, and the boxes over the patches that became tokens.

Of a segmenter (task=segmentation) contact_sheet.png alone: image, true and said class of each pixel, the modules' maps.

Grad-CAM explains the true class, or the class that the run predicts where the true one is not known.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.status import Status

from zoomexp.atomic_file import writing
from zoomexp.cli.script_options import split, whole_numbers
from zoomexp.errors import InputError
from zoomexp.run.explain import building

OPTIONS = {
    "run": "", "baseline": "", "images": "", "count": "8", "parts": "", "beside": "", "data_dir": "", "out": "",
}  # fmt: skip
console = Console(width=None if sys.stdout.isatty() else 200)


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run's network as it was tested, its data, its folder and the option that named it."""

    option: str
    folder: Path
    network: Any
    data: Any

    def predictions(self) -> Mapping[str, Any]:
        """The arrays of `predictions.npz`.

        Raises:
            InputError: If there is none.
        """
        from zoomexp.results.predictions import FILE, Predictions

        path = self.folder / FILE
        if not path.is_file():
            raise InputError(f"{self.option}={self.folder}: not tested yet (no {FILE}); name images by number")
        return Predictions(path)

    def main(self) -> str:
        """Key of the run's main quantity; of a folder without a readable record that of most tasks."""
        from zoomexp.results.recorded_quantities import main_of
        from zoomexp.results.stored import RecordError, read_facts

        with suppress(RecordError):
            return main_of(read_facts(self.folder))
        return main_of({})


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options = parse(arguments)
    if options["run"] == "latest":
        options["run"] = str(latest(Path("outputs")))
    from zoomexp.cli.visualize_masks import draw_masks_of
    from zoomexp.protocols import gives_boxes, gives_pixels  # torch, which takes a while

    with console.status("building the model") as status, building():
        run = load("run", options["run"], options["data_dir"])
        out = Path(options["out"]) if options["out"] else run.folder / "figures"
        draw_all = draw_boxes_of if gives_boxes(run.network) else draw_classes_of
        if gives_pixels(run.network):
            draw_all = draw_masks_of
        files = draw_all(run, options, out, status)
    for file in files:
        print(file)


def draw_boxes_of(run: LoadedRun, options: dict[str, str], out: Path, status: Status) -> list[Path]:
    """Draw all pictures of a detector's run; returns the files."""
    from zoomexp.cli.visualize_boxes import check_boxes, draw_boxes, scenes

    check_boxes(options)
    shown = scenes(run.network, run.data, options)
    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        return draw_boxes(run.network, run.data.classes, shown, out, status)


def draw_classes_of(run: LoadedRun, options: dict[str, str], out: Path, status: Status) -> list[Path]:
    """Draw all pictures of a classifier's run; returns the files."""
    from zoomexp.cli.visualize_parts import check_parts, draw_parts

    if options["parts"]:
        check_parts(run.network, run.folder)
    beside = [load("beside", folder, options["data_dir"]) for folder in filter(None, options["beside"].split(","))]
    baseline = load("baseline", options["baseline"], options["data_dir"]) if options["baseline"] else None
    names = wanted(run, baseline, options["images"], int(options["count"]))
    pairs = []
    for i, name in enumerate(names, start=1):
        status.update(f"reading image {i} of {len(names)}")
        pairs += read(run, baseline, name)
    if not pairs:
        raise InputError("images: none of them can be drawn")
    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        sheet = "worst_mistakes.png" if options["images"] == "worst" else "contact_sheet.png"
        files = draw(run, baseline, pairs, out / sheet, status)
        return files + (draw_parts([run, *beside], options["parts"], out, status) if options["parts"] else [])


def latest(outputs: Path) -> Path:
    """The folder of the run that was finished last.

    Raises:
        InputError: If there is none.
    """
    finished = [file.parent for file in outputs.glob("runs/*/*/*/predictions.npz")]
    if not finished:
        raise InputError(f"run=latest: no finished run under {outputs}/runs")
    return max(finished, key=lambda folder: (folder / "predictions.npz").stat().st_mtime)


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options.

    Raises:
        InputError: For an unknown one, or a value that cannot be.
    """
    options, _ = split(arguments, OPTIONS)
    if not options["run"]:
        raise InputError("run: must be given, the folder of a run: run=outputs/runs/<data set>/<model>/<seed>")
    whole_numbers(options, "count", *(["parts"] if options["parts"] not in ("", "all") else []))
    if options["beside"] and not options["parts"]:
        raise InputError("beside: needs parts=, how many test images the gates are measured over")
    if options["images"] == "changed" and not options["baseline"]:
        raise InputError("images=changed: needs baseline=FOLDER, the run to compare with")
    return options


def load(option: str, folder: str, data_dir: str) -> LoadedRun:
    """Build a run's network and data as its config says, with the weights that were tested.

    Raises:
        InputError: If there is no such run, or it has no checkpoint.
    """
    from zoomexp.run.build import make
    from zoomexp.run.prepare import prepare, shape_of
    from zoomexp.run.stored_run import rebuilt, stored_config

    path = Path(folder)
    cfg = stored_config(folder, option)
    weights = weights_of(option, path, cfg.evaluate, cfg.checkpoint)
    if data_dir:
        cfg.dataset.data_dir = data_dir
    if "num_workers" in cfg.dataset:
        cfg.dataset.num_workers = 0
    prepare(cfg.seed, cfg.evaluate)
    data = make(cfg.dataset)
    data.prepare_data()
    data.setup("test")
    return LoadedRun(option, path, rebuilt(cfg, shape_of(data), weights), data)


def weights_of(option: str, folder: Path, evaluate: str, start: str | None) -> Path | str | None:
    """The checkpoint that the run tested: the best, the last, or what it started from.

    Raises:
        InputError: If it is not there.
    """
    if evaluate == "start":
        return start
    files = [folder / "checkpoints" / f"{name}.ckpt" for name in dict.fromkeys((evaluate, "last"))]
    for file in files:
        if file.is_file():
            return file
    raise InputError(f"{option}={folder}: has no checkpoint ({' or '.join(f'checkpoints/{f.name}' for f in files)})")


def wanted(run: LoadedRun, baseline: LoadedRun | None, images: str, count: int) -> Sequence[int | Path]:
    """Which images are asked for: numbers in the test split, or paths."""
    from zoomexp.analysis.changed import changed, spread
    from zoomexp.results.prediction_table import worst

    if images == "worst":
        predictions = run.predictions()
        if "confidence" not in predictions:
            raise InputError(f"run={run.folder}: its predictions say not how sure they are; repeat it with rerun=true")
        if not (names := worst(predictions, count)):
            raise InputError("images=worst: the run gets all test images right; name images by number")
        return names
    if images == "changed":
        return changed(cast(LoadedRun, baseline).predictions(), run.predictions(), count, run.main())
    if not images:
        return spread(run.data.part("test").index, count)
    given = [name.strip() for name in images.split(",") if name.strip()]
    return [one for name in given for one in _named(name, count)]


def _named(name: str, count: int) -> Sequence[int | Path]:
    """A number in the test split, an image file, or the first `count` images in a folder and below it, by name."""
    from zoomexp.prediction.finding import image_files

    if name.isdigit():
        return [int(name)]
    return image_files(name)[:count] if Path(name).is_dir() else [Path(name)]


def read(run: LoadedRun, baseline: LoadedRun | None, name: int | Path) -> list[tuple[Any, Any]]:
    """One image as the run sees it and as the baseline does (None without one); empty, and said, if unreadable."""
    from zoomexp.analysis.reading import of_file, of_test_split

    reader: Callable[..., Any] = of_file if isinstance(name, Path) else of_test_split
    try:
        ours = reader(run.data, name)
        theirs = reader(baseline.data, name) if baseline else None
    except InputError as error:
        sys.stderr.write(f"left out: {error}\n")
        return []
    if theirs and theirs.label != ours.label:
        folder = cast(LoadedRun, baseline).folder
        raise InputError(f"baseline={folder}: its test image {name} is another; name a run on the same data")
    return [(ours, theirs)]


def draw(
    run: LoadedRun, baseline: LoadedRun | None, pairs: list[tuple[Any, Any]], sheet: Path, status: Status
) -> list[Path]:
    """Draw all pictures, the main one as `sheet`, the others beside it, and show how far it is; returns the files."""
    import torch

    from zoomexp.analysis.attention_distance import draw_distances, head_distances
    from zoomexp.analysis.sheets import contact, contours_and_warps, seen_by
    from zoomexp.analysis.zoom_sheet import zoom_sheet
    from zoomexp.tokens.zoomer import Zoomer
    from zoomexp.tokens.zoomvit import ZoomViT

    def one_by_one(which: int, name: str) -> Iterator[Any]:
        for i, pair in enumerate(pairs, start=1):
            status.update(f"showing image {i} of {len(pairs)} to the {name}")
            yield pair[which]

    out, zooms = sheet.parent, isinstance(run.network, Zoomer | ZoomViT)
    files: list[Path | None] = (
        [zoom_sheet(run.network, one_by_one(0, "run's network"), out / "patch_map.png")] if zooms else []
    )
    if isinstance(run.network, Zoomer):
        return [file for file in files if file]
    ours = seen_by(run.network, one_by_one(0, "run's network"))
    theirs = seen_by(baseline.network, one_by_one(1, "baseline"), targets=ours.targets) if baseline else None
    status.update("drawing")
    if not ours.maps:
        console.print("this run's model has no module with a map")
    if ours.cams is None:
        console.print("this run's model has no features on a grid for Grad-CAM")
    files.append(contact(ours, theirs, run.data.classes, sheet))
    files.append(contours_and_warps(ours, out / "contours_and_warps.png"))
    distances = head_distances(run.network, torch.stack([viewed.image for viewed in ours.images]))
    files.append(draw_distances(distances, out / "attention_distance.png") if distances else None)
    return [file for file in files if file]
