"""Where each token stands in its image's sequence.

    compact    [prefix] fine coarse                                         as long as the image needs
    paper      [prefix] fine [SEP] (pads) coarse [SEP] (pads)               both groups as long as the batch's longest

SEP and pads are zero tokens that no mask hides: so the released ZoomViT runs, and so an image's logits depend on its
batch mates. Here it is a batch of sequences of one length, of which the host's encoder masks nothing.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from zoomexp.tokens.ragged import placed
from zoomexp.tokens.selection import Selection


class Group(NamedTuple):
    """Fine or coarse tokens of a batch, image after image; all (T,) int64.

    `image` is the number of a token's image, `rank` its place among the image's tokens after the prefix, `candidate`
    which patch it is (see `cells`), and `zoomed` how many fine tokens its image has.
    """

    image: Tensor
    rank: Tensor
    candidate: Tensor
    zoomed: Tensor


class Rows(NamedTuple):
    """Rows of the flattened batch for prefix, fine and coarse tokens (T_i,); sequence lengths (B,), on the CPU."""

    prefix: Tensor
    fine: Tensor
    coarse: Tensor
    lengths: Tensor


def groups(selection: Selection) -> tuple[Group, Group]:
    """The fine and the coarse tokens of a selection `on_host`."""
    zoomed = selection.zoomed
    if (fixed := selection.fixed()) is not None:
        length, count = fixed
        return _fixed_group(selection.order, 0, count, count), _fixed_group(selection.order, count, length, count)
    fine = _group(selection, torch.zeros_like(zoomed), zoomed)
    return fine, _group(selection, zoomed, selection.lengths - zoomed)


def compact_rows(selection: Selection, fine: Group, coarse: Group, prefix: int) -> Rows:
    """Sequences without any filling; `prefix` is the number of tokens before the patches."""
    lengths = selection.lengths + prefix
    there = placed(lengths, fine.image.device)
    starts = there.cumsum(0) - there
    of_fine, of_coarse = (starts[group.image] + prefix + group.rank for group in (fine, coarse))
    return Rows(_heads(starts, prefix), of_fine, of_coarse, lengths)


def paper_rows(selection: Selection, fine: Group, coarse: Group, prefix: int) -> Rows:
    """The released code's sequences."""
    zoomed = selection.zoomed
    border = prefix + int(zoomed.max()) + 1
    length = border + int((selection.lengths - zoomed).max()) + 1
    starts = torch.arange(len(zoomed), device=fine.image.device) * length
    of_fine = starts[fine.image] + prefix + fine.rank
    of_coarse = starts[coarse.image] + border + coarse.rank - coarse.zoomed
    return Rows(_heads(starts, prefix), of_fine, of_coarse, torch.full((len(zoomed),), length))


def _fixed_group(order: Tensor, first: int, end: int, zoomed: int) -> Group:
    """The entries first .. end - 1 of every image's order."""
    image = torch.arange(len(order), device=order.device)[:, None].expand(-1, end - first)
    rank = torch.arange(first, end, device=order.device).expand(len(order), -1)
    image, rank, candidate = (x.reshape(-1) for x in (image, rank, order[:, first:end]))
    return Group(image, rank, candidate, torch.full_like(rank, zoomed))


def _group(selection: Selection, first: Tensor, count: Tensor) -> Group:
    """Per image, the entries first .. first + count - 1 of its order; both counts (B,) on the CPU."""
    order, total = selection.order, int(count.sum())
    shift = first - (count.cumsum(0) - count)
    shift, count, zoomed = placed(torch.stack([shift, count, selection.zoomed]), order.device)
    image = torch.arange(len(order), device=order.device).repeat_interleave(count, output_size=total)
    rank = torch.arange(total, device=order.device) + shift[image]
    return Group(image, rank, order[image, rank], zoomed[image])


def _heads(starts: Tensor, prefix: int) -> Tensor:
    return (starts[:, None] + torch.arange(prefix, device=starts.device)).flatten()
