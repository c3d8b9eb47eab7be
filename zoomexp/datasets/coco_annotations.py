"""COCO's annotation files: parsed once into arrays, which are kept beside them and read from then on.

    images{id, file_name, width, height}   annotations{id, image_id, category_id, bbox[x, y, w, h], area, iscrowd}
    categories{id, name}

The text of COCO's training split, 450 MB, takes many seconds and gigabytes; the arrays are some 30 MB. Category ids are
the labels as they are (COCO: 1 to 90), so K is one more than the largest. A box that reaches more than a pixel beyond
its image is cut at its edges; within a pixel, as some of COCO's own, it stays as given: so COCO's measure scores it.
"""

import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from zoomexp.atomic_file import atomic_file
from zoomexp.datasets.coco_entries import each, read_annotation, read_category, read_image
from zoomexp.errors import InputError

SUFFIX = ".arrays.npz"  # of the file that the arrays are kept in
ROUNDING = 1  # pixels that a box may reach beyond its image
LARGE, PACE = 50_000_000, 20_000_000  # bytes of a file that takes seconds, and about how many a second


@dataclass(frozen=True, eq=False)
class Annotated:
    """N images with T objects in all, those of the first image first.

    Attributes:
        names: (N,) bytes, the files' names as `os.fsencode` makes them.
        ids: (N,) int64.
        sizes: (N, 2) int64, height and width in pixels.
        counts: (N,) int64, objects of each image.
        boxes: (T, 4) float32, x0, y0, x1, y1 in pixel edges, within `ROUNDING` of the image.
        labels: (T,) int64.
        crowd: (T,) bool, regions of many objects.
        area: (T,) float32, pixels of the object itself, which sorts it among small, medium and large.
        classes: (K,) str, names by label; "" where no category has that id.
        skipped: (1,) int64, boxes without width or height, which are left out.
        cut: (1,) int64, boxes that reached further beyond their image, cut at its edges.
        unmeasured: (1,) int64, objects whose area is not said: that of the box is taken.
    """

    names: np.ndarray
    ids: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    classes: np.ndarray
    skipped: np.ndarray
    cut: np.ndarray
    unmeasured: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def objects(self, position: int) -> slice:
        """The rows of an image's objects."""
        return slice(int(self._first[position]), int(self._first[position] + self.counts[position]))

    @property
    def changes(self) -> tuple[str, ...]:
        """How these objects differ from the file's, a few words each."""
        told = {"boxes without area left out": self.skipped, "boxes cut at their images' edges": self.cut,
                "areas not said, taken of the boxes": self.unmeasured}  # fmt: skip
        return tuple(f"{int(count[0]):,} {what}" for what, count in told.items() if count[0])

    @cached_property
    def _first(self) -> np.ndarray:
        first: np.ndarray = np.cumsum(self.counts) - self.counts
        return first


def annotated(path: Path) -> Annotated:
    """The content of an annotation file.

    Raises:
        InputError: it is missing, is no such file, or an annotation in it cannot be right; names file and id.
    """
    try:
        stamp = path.stat()
    except OSError as error:
        raise InputError(f"{path} is missing: unpack COCO's annotations there") from error
    mark = np.array([stamp.st_size, stamp.st_mtime_ns])
    kept = path.with_name(path.name + SUFFIX)
    found = _kept(kept, mark)
    if found is None:
        if stamp.st_size > LARGE:
            size, seconds = (f"{stamp.st_size / one:,.0f}" for one in (1e6, PACE))
            print(f"reads {path.name}, {size} MB, and keeps its arrays: about {seconds} s", flush=True)  # noqa: T201
        found = parsed(path)
        _keep(kept, found, mark)
    return found


def parsed(path: Path) -> Annotated:
    """Parse the text; see `annotated`."""
    try:
        with _not_collected():
            text = json.loads(path.read_bytes())
            images, annotations, categories = (text[name] for name in ("images", "annotations", "categories"))
            names = dict(each(path, "category", categories, read_category))
            listed = each(path, "image", images, read_image)
            rows = each(path, "annotation", annotations, read_annotation)
    except InputError:  # an entry's own
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no annotation file of COCO's kind ({type(error).__name__}: {error})") from error
    if not listed or not names:
        raise InputError(f"{path} lists no {'images' if names else 'categories'}")
    ids, sizes = np.array([one[0] for one in listed], np.int64), np.array([one[2:] for one in listed], np.int64)
    places = {number: place for place, number in enumerate(ids.tolist())}
    if len(places) < len(images):
        twice = next(number for number, times in Counter(ids.tolist()).items() if times > 1)
        raise InputError(f"{path}: image {twice} is listed twice")
    values = np.array(rows, np.float64).reshape(-1, 9)
    image = np.array([places.get(int(one), -1) for one in values[:, 0]], np.int64)
    _check(path, values, image, sizes, names)
    found = _arrays(values, image, np.array([one[1] for one in listed]), ids, sizes, names)
    if found.crowd.all():  # of none, too
        raise InputError(f"{path}: none of its {len(found):,} images has an object{_left_out(found)}")
    return found


@contextmanager
def _not_collected() -> Iterator[None]:
    """No search for reference cycles: text has none, and looking through millions of objects takes half the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _left_out(found: Annotated) -> str:
    """What there is beside objects."""
    told = {"crowds": int(found.crowd.sum()), "boxes without area": int(found.skipped[0])}
    said = ", ".join(f"{count:,} {name}" for name, count in told.items() if count)
    return f"; {said} are none" if said else ""


def _check(path: Path, values: np.ndarray, image: np.ndarray, sizes: np.ndarray, names: dict[int, str]) -> None:
    x, y, width, height = values[:, 5:].T
    own = sizes[image] if len(image) else np.zeros((0, 2))
    outside = (x >= own[:, 1]) | (y >= own[:, 0]) | (x + width <= 0) | (y + height <= 0)
    finite = np.isfinite(values[:, 5:]).all(1)
    unknown = ~np.isin(values[:, 2], list(names))
    for bad, why in (
        (image < 0, "is of an image that the file does not list"),
        (~finite | (width < 0) | (height < 0), "has a box that is no box"),
        (unknown, "has a category that the file does not list"),
        (outside & (width > 0) & (height > 0), "has a box outside of its image"),
    ):
        if bad.any():
            raise InputError(f"{path}: annotation {int(values[bad][0, 1])} {why}")
    if min(names) < 0:
        raise InputError(f"{path}: category {min(names)} is below 0")


def _arrays(
    values: np.ndarray,
    image: np.ndarray,
    files: np.ndarray,
    ids: np.ndarray,
    sizes: np.ndarray,
    names: dict[int, str],
) -> Annotated:
    has_area = (values[:, 7] > 0) & (values[:, 8] > 0)
    order = np.argsort(image[has_area], kind="stable")
    values, image = values[has_area][order], image[has_area][order]
    boxes = values[:, 5:].copy()
    boxes[:, 2:] += boxes[:, :2]
    edges = np.tile(sizes[image][:, ::-1], 2)
    inside = boxes.clip(0, edges)
    beyond = (abs(boxes - inside) > ROUNDING).any(1)
    boxes[beyond] = inside[beyond]
    area, unmeasured = values[:, 4].copy(), np.isnan(values[:, 4])
    area[unmeasured] = (boxes[:, 2:] - boxes[:, :2]).prod(1)[unmeasured]
    classes = np.array([names.get(label, "") for label in range(max(names) + 1)])
    return Annotated(
        files, ids, sizes, np.bincount(image, minlength=len(ids)), boxes.astype(np.float32),
        values[:, 2].astype(np.int64), values[:, 3] > 0, area.astype(np.float32), classes,
        *(np.array([int(which.sum())]) for which in (~has_area, beyond, unmeasured)),
    )  # fmt: skip


def _kept(path: Path, mark: np.ndarray) -> Annotated | None:
    """What was kept of a file of this size and time; None where there is nothing that can be read, or of another."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if not np.array_equal(stored["mark"], mark):
                return None
            return Annotated(**{field.name: stored[field.name] for field in fields(Annotated)})
    except Exception:  # zipfile, zlib and NumPy have many errors for a damaged file; it is made anew whatever it is
        return None


def _keep(path: Path, found: Annotated, mark: np.ndarray) -> None:
    """Keep the arrays, where the folder may be written to."""
    try:
        with atomic_file(path) as partial, partial.open("wb") as file:
            np.savez(file, mark=mark, **{field.name: getattr(found, field.name) for field in fields(Annotated)})
    except OSError:
        return
