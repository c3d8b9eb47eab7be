"""ZoomViT's tokens of images of any size: the scorer looks at a resized image, its map is brought to the image's grid.

A scorer, the Zoomer above all, is made for one square. An image of H x W pixels is resized to that square (bilinear,
antialiased), scored there, and the S x S scores are interpolated to its own R x C patches (bilinear). At the scorer's
own size nothing is resized. Everything else is `zoomvit`'s; both grids follow the image.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp import protocols
from zoomexp.errors import InputError
from zoomexp.tokens.cells import coarse_place, fine_place
from zoomexp.tokens.layout import compact_rows, groups
from zoomexp.tokens.patches import scattered
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.selection import Selection
from zoomexp.tokens.zoomvit import ZoomViT


class Look(NamedTuple):
    """What was chosen of B images of one size: `scores` (B, R, C), the `selection`; `cells`, their rows and columns."""

    scores: Tensor
    selection: Selection
    cells: tuple[int, int]

    def patches(self, image: int) -> tuple[Tensor, Tensor]:
        """The patches that one of the images became, bool: fine ones (2 r, 2 c) and coarse ones (r, c)."""
        rows, columns = self.cells
        order = self.selection.order[image, : int(self.selection.lengths[image])].cpu()
        is_fine = order < 4 * rows * columns
        fine, coarse = (torch.zeros(by * rows, by * columns, dtype=torch.bool) for by in (2, 1))
        fine[fine_place(order[is_fine], self.cells)] = True
        coarse[coarse_place(order[~is_fine], self.cells)] = True
        return fine, coarse


def check_any_size(net: ZoomViT) -> None:
    """Refuse what images of any size, and without a class label, cannot have.

    Raises:
        InputError: the released model's layout or a mask; a scorer that reads a teacher's maps or learns on its own.
    """
    scorer = type(net.scorer).__name__
    if net.mode != "ragged":
        raise InputError(f"tokens.mode={net.mode}: a detector runs ragged tokens only; mode=ragged")
    if protocols.needs_maps(net.scorer):
        raise InputError(f"tokens.scorer={scorer}: needs a teacher's maps of a class, and a scene has none")
    if hasattr(net.scorer, "auxiliary_loss"):
        raise InputError(f"tokens.scorer={scorer}: learns on its own, image size by image size; take a trained one")


def zoomed_tokens(
    net: ZoomViT, images: Tensor, alpha: float | None, truth: Tensor | None = None
) -> tuple[Ragged, Ragged, Look]:
    """The sequences of images of one size (B, C, H, W), prefix first.

    Args:
        net: chooses them.
        images: sides of whole patches, at eta 0.5 of an even number of them.
        alpha: the threshold; None with a budget.
        truth: the objects' boxes (B, M, 4) in pixels, for a scorer that reads them.

    Returns:
        Tokens (T, D), of each its row (T,) int64 in a table of the prefix and then all candidates, and what was chosen.

    Raises:
        InputError: other images, or fewer cells than the budget.
    """
    prefix, cells = net.vit.num_prefix_tokens, net.cells_of(_checked(net, images))
    if net.budget is not None and net.budget > cells[0] * cells[1]:
        raise InputError(f"tokens.budget={net.budget}: an image of {tuple(images.shape[2:])} has {cells} cells only")
    scores = scores_of(net, images, truth)
    selection = net.select(scores, alpha).on_host()
    fine, coarse = groups(selection)
    rows = compact_rows(selection, fine, coarse, prefix)
    total = int(rows.lengths.sum())
    tokens = Ragged(net.scatter(images, fine, coarse, rows, total), rows.lengths)
    own = torch.arange(prefix, device=images.device).repeat(len(images))
    parts = [(rows.prefix, own), (rows.fine, prefix + fine.candidate), (rows.coarse, prefix + coarse.candidate)]
    places = scattered([(at, row[:, None]) for at, row in parts], total)[:, 0]
    return tokens, tokens.with_values(places), Look(scores, selection, cells)


def scores_of(net: ZoomViT, images: Tensor, truth: Tensor | None = None) -> Tensor:
    """Scores of all patches of images (B, C, H, W), (B, R, C), without gradient; `truth` as above."""
    if protocols.needs_boxes(net.scorer):
        own: Tensor = net.scorer(images, truth=truth)
        return own
    if protocols.rearranges(net.scorer):
        return net.scorer.rearranged(_looked(net, net.scorer.scorer, images))
    return _looked(net, net.scorer, images)


def _looked(net: ZoomViT, scorer: nn.Module, images: Tensor) -> Tensor:
    """A scorer's scores of the resized images, brought to their own grid."""
    side, patch = net.image_size, net.image_size // net.grid
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    scores = scorer(_resized(images, (side, side))).detach()
    return _resized(scores[:, None].float(), grid)[:, 0]


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[2:]) == size:
        return images
    # Antialiasing knows no bf16 on a CPU; and a map that is only interpolated keeps its range.
    resized = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.to(images.dtype)


def _checked(net: ZoomViT, images: Tensor) -> Tensor:
    channels, patch = net.vit.patch_embed.proj.in_channels, net.image_size // net.grid
    of = patch if net.eta == 2 else 2 * patch
    if images.shape[1] != channels or images.shape[2] % of or images.shape[3] % of:
        wanted = f"(B, {channels}, H, W) with sides that are multiples of {of} at eta={net.eta}"
        raise InputError(f"tokens: images must be {wanted}, got {tuple(images.shape)}")
    return images
