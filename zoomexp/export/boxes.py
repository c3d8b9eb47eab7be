"""A detector's boxes of its test images in COCO's formats, read back and scored by COCO's own measure."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from zoomexp.atomic_file import atomic_file
from zoomexp.datasets.coco_annotations import Annotated, annotated
from zoomexp.errors import InputError
from zoomexp.export.coco import ANNOTATIONS, RESULTS, annotations, average_precision, results, write_json
from zoomexp.results.predictions import FILE, Predictions
from zoomexp.run.build import make
from zoomexp.run.stored_run import data_of, stored_config
from zoomexp.tasks.scene_batches import objects_in, scored_sizes

NEAR = 0.01  # percent that AP read back may differ by


@dataclass(frozen=True)
class ExportedBoxes:
    """What was written.

    Args:
        file: The results.
        count: How many boxes.
        truth: The annotations that they are of.
        checked: AP as it was read back, in percent; None where it could not be.
    """

    file: Path
    count: int
    truth: Path
    checked: float | None


def export_boxes(run: Path, facts: Mapping[str, Any], out: Path, data_dir: str | None) -> ExportedBoxes:
    """Write what a run said of its test images, and the objects themselves where no annotation file has them.

    Args:
        run: Its folder.
        facts: Its record.
        out: A folder, which is there.
        data_dir: Where the data set lies; None: where the run found it.

    Raises:
        InputError: It kept no boxes, or AP read back is not the run's; the results are not kept then.
    """
    kept = Predictions(run / FILE)
    if not {"boxes", "scores", "labels"} <= kept.keys():
        raise InputError(f"run={run}: has no boxes in {FILE}; format=coco is for runs of task=detection")
    ids = kept["image_id" if "image_id" in kept else "index"].tolist()
    found = results(ids, *(list(kept[name]) for name in ("boxes", "scores", "labels")))
    truth = truth_of(run, None if "image_id" in kept else set(ids), out, data_dir)
    with atomic_file(out / RESULTS) as partial:
        written = partial.with_name(f"partial.{RESULTS}")  # the library goes by how a name ends
        write_json(written, found)
        try:
            checked = read_back(truth, written, ids, facts)
            shutil.move(written, partial)
        finally:
            written.unlink(missing_ok=True)
    return ExportedBoxes(out / RESULTS, len(found), truth, checked)


def read_back(truth: Path, found: Path, ids: list[int], facts: Mapping[str, Any]) -> float | None:
    """AP of a file, if there is what it takes.

    Raises:
        InputError: It is not the run's.
    """
    wanted = facts["metrics"].get("test/ap")
    if wanted is None or not truth.is_file() or find_spec("faster_coco_eval") is None:
        return None
    ap = average_precision(truth, found, ids)
    if abs(ap - wanted) > NEAR:
        raise InputError(
            f"export: AP read back is {ap:.2f}, the run's {wanted:.2f}; was it tested on {truth}? Not kept"
        )
    return ap


def truth_of(run: Path, wanted: set[int] | None, out: Path, data_dir: str | None) -> Path:
    """The annotations of a run's test images: the data set's own file, or one that is written.

    It is written where there is none, and where objects were read otherwise than they stand there (boxes cut or left
    out, areas that are not said): what was scored is in it.

    Args:
        run: Its folder.
        wanted: The index of its images; None where they have ids of an annotation file.
        out: Where to write.
        data_dir: As above.
    """
    if wanted is None:
        node = stored_config(run, "run").dataset
        if data_dir is not None:
            node.data_dir = data_dir
        own: Path = make(node).annotation_file("test")
        if not own.is_file() or not (found := annotated(own)).changes:
            return own
        write_json(out / ANNOTATIONS, as_read(found))
        return out / ANNOTATIONS
    data = data_of(run, data_dir)
    images, objects = [], []
    for batch in data.test_dataloader():
        size, index = scored_sizes(batch), batch["index"].tolist()
        images += [{"id": i, "file_name": str(i), "width": w, "height": h}
                   for i, (h, w) in zip(index, size.tolist(), strict=True) if i in wanted]  # fmt: skip
        objects += [one for one in _objects(objects_in(batch, size), index) if one["image_id"] in wanted]
    write_json(out / ANNOTATIONS, annotations(images, objects, data.classes))
    return out / ANNOTATIONS


def as_read(found: Annotated) -> dict[str, Any]:
    """An annotation file's content as a run reads it, ids of images and categories as they are."""
    images = [{"id": number, "file_name": name.decode(errors="surrogateescape"), "width": width, "height": height}
              for number, name, (height, width) in zip(found.ids.tolist(), found.names.tolist(), found.sizes.tolist(),
                                                       strict=True)]  # fmt: skip
    columns = (np.repeat(found.ids, found.counts), found.boxes, found.labels, found.crowd, found.area)
    objects = [dict(zip(("image_id", "box", "label", "crowd", "area"), one, strict=True))
               for one in zip(*columns, strict=True)]  # fmt: skip
    return annotations(images, objects, found.classes.tolist())


def _objects(there: Any, index: list[int]) -> Iterator[dict[str, Any]]:
    image = np.repeat(index, there.counts)
    columns = (values.cpu().numpy() for values in (there.boxes, there.labels, there.crowd, there.area))
    for number, box, label, crowd, area in zip(image, *columns, strict=True):
        yield {"image_id": number, "box": box, "label": label, "crowd": crowd, "area": area}
