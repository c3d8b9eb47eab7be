"""Tokens of a threshold in a fixed number of rows: shapes that do not depend on the images.

A batch with F fine and C coarse tokens gets rows for a few more of both, rounded up so that few such numbers occur.
What is left over is filled with tokens of a dummy patch, in dummy sequences behind those of the images. Attention sees
only its own sequence and everything else single tokens, so an image's logits are what they are without them. Where each
sequence begins is worked out on the device; nobody reads it.
"""

from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from zoomexp.tokens.layout import Group, Rows
from zoomexp.tokens.selection import Selection


class Slots(NamedTuple):
    """Rows for fine and for coarse tokens, and dummy sequences, of at least one token each."""

    fine: int
    coarse: int
    dummies: int


def slots_of(fine: int, coarse: int, step: int, longest: int) -> Slots:
    """The least slots, in steps, that hold so many tokens.

    Args:
        fine: fine tokens of the batch.
        coarse: its coarse tokens.
        step: of the coarse tokens, at least 1; four times that of the fine ones.
        longest: no dummy sequence may be longer, at least 2.

    >>> slots_of(100, 60, 16, 50)
    Slots(fine=128, coarse=64, dummies=2)
    """
    dummies = ceil(5 * step / (longest - 1))
    return Slots(4 * step * ceil((fine + dummies) / (4 * step)), step * ceil(coarse / step), dummies)


def in_slots(selection: Selection, slots: Slots, prefix: int) -> tuple[Group, Group, Rows]:
    """Fine and coarse tokens with the dummies, and the rows of all of them.

    Args:
        selection: with both counts on the device.
        slots: for at least as many tokens as it has.
        prefix: tokens before the patches.

    Returns:
        The groups, and rows whose `lengths` (B + dummies,) are on the device.
    """
    order, zoomed = selection.order, selection.zoomed
    unzoomed, cells = selection.lengths - zoomed, order.shape[1] // 5
    fine, no_fine = _slotted(order, torch.zeros_like(zoomed), zoomed, zoomed, slots.fine, 0)
    coarse, no_coarse = _slotted(order, zoomed, unzoomed, zoomed, slots.coarse, 4 * cells)
    lengths = selection.lengths + prefix
    starts, end = lengths.cumsum(0) - lengths, lengths.sum()
    spare_fine = no_fine.cumsum(0) - 1
    spare_coarse = no_coarse.cumsum(0) - 1 + no_fine.sum()
    of_fine = torch.where(no_fine, end + spare_fine, starts[fine.image] + prefix + fine.rank)
    of_coarse = torch.where(no_coarse, end + spare_coarse, starts[coarse.image] + prefix + coarse.rank)
    filling = len(order) * prefix + slots.fine + slots.coarse - end
    dummies = (filling + torch.arange(slots.dummies, device=order.device)) // slots.dummies
    heads = (starts[:, None] + torch.arange(prefix, device=order.device)).flatten()
    return fine, coarse, Rows(heads, of_fine, of_coarse, torch.cat([lengths, dummies]))


def _slotted(
    order: Tensor, first: Tensor, count: Tensor, zoomed: Tensor, slots: int, dummy: int
) -> tuple[Group, Tensor]:
    """Per image the entries first .. first + count - 1 of its order, then the candidate `dummy`; which are that."""
    images = len(order)
    counts = torch.cat([count, (slots - count.sum())[None]])
    image = torch.arange(images + 1, device=order.device).repeat_interleave(counts, output_size=slots)
    shift = torch.nn.functional.pad(first, (0, 1)) - (counts.cumsum(0) - counts)
    rank = (torch.arange(slots, device=order.device) + shift[image]).clamp(max=order.shape[1] - 1)
    filling, image = image == images, image.clamp(max=images - 1)
    candidate = torch.where(filling, dummy, order[image, rank])
    return Group(image, rank, candidate, zoomed[image]), filling
