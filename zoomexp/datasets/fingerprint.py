"""Which images a run has seen, in a few hexadecimal digits: the same command can tell whether it would see others now.

Covered are the order of the images, their names, labels, boxes, parts, masks and groups, the sizes of the files, and
the bytes themselves: all of them up to BYTES a split, and of more so many, of images evenly spread. Where the data lie
and when they were written does not count: a copy is the same data.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

BYTES = 2**26  # a split; a second or less
FILES = 100_000  # a split, whose sizes are asked for
KNOWN = ("paths", "labels", "boxes", "parts", "groups", "index", "counts", "positions", "masks")


def data_fingerprint(data: Any) -> dict[str, str] | None:
    """By split of a data module that has been set up, and of its classes; None where it lists no images.

    Beside them stands the `kind`: "files" or "arrays".

    Args:
        data: a data module with `part` or, where images have several objects or pixels classes,
            `scenes` or `masked` (see `data_protocols`).
    """
    split_of = next((getattr(data, name) for name in ("part", "scenes", "masked") if hasattr(data, name)), None)
    if split_of is None:
        return None
    parts = {split: split_of(split) for split in ("train", "val", "test")}
    found = {split: of_split(part) for split, part in parts.items() if part is not None}
    kind = "files" if any(hasattr(part, "path") for part in parts.values()) else "arrays"
    return found | {
        "kind": kind,
        "classes": _hexadecimal("\0".join(map(str, data.classes)).encode(errors="surrogateescape")),
    }


def of_split(part: Any) -> str:
    """16 hexadecimal digits of the images of a split.

    Args:
        part: `ImageFiles`, `ImageArrays`, `SceneFiles`, `Scenes`, or anything with some of their attributes.
    """
    return _hexadecimal(*_known(part), *_content(part))


def _known(part: Any) -> Iterator[bytes]:
    annotated = getattr(part, "annotated", None)
    found = {name: getattr(part, name, None) for name in KNOWN} | (vars(annotated) if annotated else {})
    for name, values in found.items():
        if values is not None:
            values = np.asarray(values)
            yield f"{name}{values.dtype.str}{values.shape}".encode()
            yield values.tobytes()


def _content(part: Any) -> Iterator[bytes]:
    if hasattr(part, "path"):
        asked = _spread(len(part), FILES)
        sizes = np.array([part.path(position).stat().st_size for position in asked], np.int64)
        yield sizes.tobytes()
        for position in asked[_spread(len(asked), _as_many(len(asked), int(sizes.sum())))]:
            yield part.path(position).read_bytes()
            if getattr(part, "masks", None) is not None and (mask := part.mask_path(position)) is not None:
                yield mask.read_bytes()
    elif getattr(part, "images", None) is not None:
        images = part.images
        yield f"{images.dtype.str}{images.shape}".encode()
        for position in _spread(len(images), _as_many(len(images), images.nbytes)):
            yield np.ascontiguousarray(images[position]).tobytes()


def _as_many(images: int, size: int) -> int:
    """How many of images that have `size` bytes together have BYTES; one at least."""
    return images if size <= BYTES else max(1, images * BYTES // size)


def _spread(count: int, most: int) -> np.ndarray:
    """At most `most` positions of `count`, evenly spread, the first and the last among them."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(int)


def _hexadecimal(*pieces: bytes) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()
