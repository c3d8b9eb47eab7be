"""A batch of images of several sizes: parted by size, and its sequences put together again in order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoomexp.errors import InputError
from zoomexp.tokens.ragged import Ragged

Rows = slice | list[int]  # of a batch: all of them, or those that are named


def same_sizes(images: Tensor, size: Tensor | None) -> list[tuple[tuple[int, int], Rows]]:
    """The images of a batch (B, C, H, W) by their heights and widths: rows of the batch, in order.

    Raises:
        InputError: a size of more than the batch has, or of nothing.
    """
    height, width = images.shape[2:]
    whole = (height, width)
    sizes = [whole] * len(images) if size is None else [(int(h), int(w)) for h, w in size.tolist()]
    if len(sizes) != len(images) or not all(0 < h <= whole[0] and 0 < w <= whole[1] for h, w in sizes):
        raise InputError(f"detector: size must be {len(images)} heights and widths within {whole}, got {sizes}")
    found = dict.fromkeys(sizes)
    if len(found) == 1:
        return [(sizes[0], slice(None))]
    return [(one, [row for row, other in enumerate(sizes) if other == one]) for one in found]


def in_order(parts: Sequence[Ragged], rows: Sequence[Rows]) -> Ragged:
    """The sequences of several batches as one, image by image at their `rows`."""
    if len(parts) == 1:
        return parts[0]
    places = {row: (part, place) for part, own in enumerate(rows) if not isinstance(own, slice)
              for place, row in enumerate(own)}  # fmt: skip
    split = [part.values.split(part.sizes) for part in parts]
    ordered = [split[part][place] for part, place in (places[row] for row in sorted(places))]
    return Ragged(torch.cat(ordered), torch.tensor([len(one) for one in ordered]))


def values_in_order(parts: Sequence[Tensor], rows: Sequence[Rows]) -> Tensor:
    """What there is of each image, (b, ...) of several batches, as one (B, ...), image by image at their `rows`.

    >>> values_in_order([torch.tensor([5, 7]), torch.tensor([6])], [[0, 2], [1]]).tolist()
    [5, 6, 7]
    """
    if len(parts) == 1:
        return parts[0]
    places = torch.tensor([row for own in rows if not isinstance(own, slice) for row in own])
    return torch.cat(list(parts))[places.argsort().to(parts[0].device)]


def joined(parts: Sequence[Ragged]) -> Ragged:
    """The sequences of several batches as one, batch after batch."""
    if len(parts) == 1:
        return parts[0]
    return Ragged(torch.cat([part.values for part in parts]), torch.cat([part.lengths for part in parts]))


def parted(tokens: Ragged, counts: Sequence[int]) -> list[Ragged]:
    """The sequences of a batch as several batches of so many images each, one after the other."""
    if len(counts) == 1:
        return [tokens]
    sizes, parts, image, row = tokens.sizes, [], 0, 0
    for count in counts:
        own = sizes[image : image + count]
        parts.append(Ragged(tokens.values[row : row + sum(own)], torch.tensor(own)))
        image, row = image + count, row + sum(own)
    return parts
