"""The pictures of run folders as data URIs, small enough for one page."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from zoomexp.results.report.runs import RecordedRun

MAX_SIDE = 1200  # pixels; larger pictures are scaled down
SMALL = 50_000  # bytes; a file up to this size is embedded as it is
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow says of a broken file


@dataclass(frozen=True)
class Picture:
    """A picture: its file name, its size in pixels, and itself."""

    name: str
    width: int
    height: int
    uri: str


def pictures(run: RecordedRun, skipped: list[str]) -> tuple[Picture, ...]:
    """The figures of a run; one line more in `skipped` for each that could not be read."""
    return tuple(_figures(run, skipped))


def _figures(run: RecordedRun, skipped: list[str]) -> Iterator[Picture]:
    for path in sorted((run.folder / "figures").glob("*.png")):
        try:
            yield embedded(path)
        except UNREADABLE as error:
            skipped.append(f"{run.path}/figures/{path.name}: {' '.join(str(error).split())}")


def embedded(path: Path) -> Picture:
    """A PNG file as a data URI: as it is if it is small, else as WebP of at most `MAX_SIDE` pixels a side.

    Raises:
        OSError, SyntaxError: If the file is no picture.
    """
    with Image.open(path) as picture:
        scaled = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    scaled.thumbnail((MAX_SIDE, MAX_SIDE))
    if scaled.size == picture.size and path.stat().st_size <= SMALL:
        return Picture(path.name, *scaled.size, _uri("png", path.read_bytes()))
    encoded = io.BytesIO()
    scaled.save(encoded, "WEBP", quality=85)
    return Picture(path.name, *scaled.size, _uri("webp", encoded.getvalue()))


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
