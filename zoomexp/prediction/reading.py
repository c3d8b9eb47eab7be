"""Images given one by one, shown to a network in batches; files that cannot be read do not stop it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from zoomexp.arguments import integer
from zoomexp.errors import InputError

ImageLike = str | Path | Image.Image
Read = TypeVar("Read")
Said = TypeVar("Said")
Given = TypeVar("Given")


@dataclass(frozen=True)
class LeftOut:
    """A file that could not be read.

    Args:
        name: The file.
        reason: One line.
    """

    name: str
    reason: str


def one_by_one(
    images: Iterable[ImageLike],
    batch_size: int,
    read: Callable[[ImageLike], Read],
    answer: Callable[[Sequence[Read]], Iterable[Said]],
) -> Iterator[tuple[str, Said] | LeftOut]:
    """What is said of each image, in order, beside its name: the file, or "image" for one that was given as such.

    Args:
        images: Files and PIL images.
        batch_size: How many are shown at a time, at least 1.
        read: Makes an input of one; its `InputError` leaves the image out.
        answer: What is said of each input of a batch.
    """
    integer("batch_size", batch_size)
    rest = iter(images)
    while some := list(islice(rest, batch_size)):
        seen = [(_name(image), _read(image, read)) for image in some]
        inputs = [one for _, one in seen if not isinstance(one, InputError)]
        found = iter(answer(inputs) if inputs else ())
        for name, one in seen:
            yield LeftOut(name, str(one)) if isinstance(one, InputError) else (name, next(found))


def all_of(answers: Iterable[Given | LeftOut]) -> list[Given]:
    """Every answer.

    Raises:
        InputError: An image cannot be read.
    """
    found: list[Given] = []
    for one in answers:
        if isinstance(one, LeftOut):
            raise InputError(one.reason)
        found.append(one)
    return found


def chosen_device(device: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        InputError: There is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device={device}: there is no such device here; allowed: auto, cpu, cuda ...") from error
    return chosen


def _name(image: ImageLike) -> str:
    return "image" if isinstance(image, Image.Image) else str(image)


def _read(image: ImageLike, read: Callable[[ImageLike], Read]) -> Read | InputError:
    try:
        return read(image)
    except InputError as error:
        if isinstance(image, Image.Image):
            raise
        return error
