"""Export the network of a finished run, checked against it on real images, with a model card; or a detector's boxes.

    python scripts/export.py run=FOLDER format=safetensors
    python scripts/export.py run=FOLDER format=onnx images=FOLDER out=FOLDER
    python scripts/export.py run=FOLDER format=coco

    run=FOLDER     the folder of a finished run
    format=...     safetensors: the tensors | pt2: PyTorch's program | onnx: needs onnx, onnxscript, onnxruntime |
                   coco: of task=detection, the boxes of the test images in COCO's result format
    images=...     images to check it on: a folder, a pattern or files; left out: the run's own test images
    count=8        how many of them, at least 2
    out=FOLDER     where the files go; left out: export/ in the run's folder
    data_dir=DIR   where the run's data set lies; left out: where the run found it

model.<format>   takes batches of any size
config.json      what the network is made of (host, modules, their sites), its classes, how an image becomes the input
MODEL_CARD.md    choices, data, metrics with their interval, commit, intended use; of all formats in the folder

With format=coco:

detections.json    every box: image_id, category_id, bbox, score; read back, its AP must be the run's
annotations.json   the objects, of data sets that have no annotation file of their own; an image's id is its index
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.status import Status

from zoomexp.atomic_file import atomic_file, write_text, writing
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.errors import InputError
from zoomexp.run.explain import building

if TYPE_CHECKING:
    from torch import Tensor  # takes a while to import

OPTIONS = {"run": "", "format": "safetensors", "images": "", "count": "8", "out": "", "data_dir": ""}
COCO = "coco"  # a format of boxes, not of networks
console = Console(stderr=True)


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options = parse(arguments)
    out = Path(options["out"]) if options["out"] else Path(options["run"]) / "export"
    if options["format"] == COCO:
        with console.status("writing boxes"), building(), writing("out", out):
            print(boxes_told(options, out))
        return
    with console.status("building the network") as status, building(), writing("out", out):
        file, difference = exported(options, out, status)
    print(f"{file}: logits differ by at most {difference:.2g} from the network's")


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options.

    Raises:
        InputError: For an unknown one, or a value that cannot be.
    """
    from zoomexp.export.formats import FORMATS

    options, _ = split(arguments, OPTIONS)
    if not options["run"]:
        raise InputError("run: must be given, the folder of a finished run")
    check_choice(options, "format", (*FORMATS, COCO))
    if whole_numbers(options, "count")[0] < 2:
        raise InputError(f"count={options['count']} must be at least 2: batches of one and of several are compared")
    return options


def exported(options: dict[str, str], out: Path, status: Status) -> tuple[Path, float]:
    """Export, compare, and only then keep the file; returns it and the largest difference of a logit."""
    from zoomexp.export.card import model_card
    from zoomexp.export.formats import check_equal, check_exportable, read, write
    from zoomexp.export.made_of import parts_of, told
    from zoomexp.results.classifying import check_classifies
    from zoomexp.results.stored import finished_facts
    from zoomexp.run.stored_run import restored

    run, kind = Path(options["run"]), options["format"]
    facts = finished_facts(run, "run")
    check_classifies(facts, run)
    net = restored(run)
    check_exportable(net, kind)
    status.update("reading images")
    images = real_images(run, options)
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"model.{kind}"
    with atomic_file(file) as partial:
        status.update(f"writing {file.name}")
        whole = partial.with_name(f"partial.{file.name}")  # PyTorch looks at how a name ends
        write(net, kind, whole, images)
        status.update("comparing it with the network")
        difference = check_equal(net, read(whole, kind, net), images)
        shutil.move(whole, partial)
    parts = parts_of(run, net)
    files = earlier(out, run, facts) | {file.name: {"difference": difference, "images": len(images)}}
    known = parts | {"classes": facts.get("classes"), "seeing": facts.get("seeing"), "shape": facts["shape"]}
    write_text(out / "config.json", json.dumps(known | {"run": facts["run"], "files": files}, indent=2) + "\n")
    write_text(out / "MODEL_CARD.md", model_card(facts, told(parts), files, run))
    return file, difference


def earlier(out: Path, run: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What has been exported of the run into the folder before, and is there, as `config.json` has it."""
    try:
        known = json.loads((out / "config.json").read_text())
        files = dict(known["files"]) if known["run"] == facts["run"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    finished = (run / "metrics.json").stat().st_mtime
    return {name: file for name, file in files.items()
            if (out / name).is_file() and (out / name).stat().st_mtime >= finished}  # fmt: skip


def boxes_told(options: dict[str, str], out: Path) -> str:
    """Export the boxes of a detector's run; returns the line that says so."""
    from zoomexp.export.boxes import export_boxes
    from zoomexp.results.stored import finished_facts

    run = Path(options["run"])
    facts = finished_facts(run, "run")
    out.mkdir(parents=True, exist_ok=True)
    made = export_boxes(run, facts, out, options["data_dir"] or None)
    checked = f"AP read back {made.checked:.2f}" if made.checked is not None else "not read back"
    return f"{made.file}: {made.count:,} boxes, to be scored against {made.truth}; {checked}"


def real_images(run: Path, options: dict[str, str]) -> "Tensor":
    """Images as the network gets them: (B, C, S, S)."""
    import numpy as np
    import torch

    from zoomexp.prediction.finding import image_files
    from zoomexp.prediction.loading import load
    from zoomexp.run.stored_run import data_of

    count = int(options["count"])
    if options["images"]:
        seeing: Any = load(run, "cpu", options["data_dir"] or None).seeing  # of a classifier
        images = [seeing.file(path) for path in image_files(options["images"])[:count]]
        if len(images) < 2:
            raise InputError(f"images={options['images']}: at least 2 images are needed")
        return torch.stack(images)
    data = data_of(run, options["data_dir"] or None)
    spread = np.linspace(0, len(data.part("test")) - 1, count).astype(int)
    return next(iter(data.plain_batches("test", spread, count)))["image"].contiguous()
