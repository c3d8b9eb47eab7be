"""Token fusion: ZoomViT's closer look for hosts that need their own grid of tokens, Swin and LV-ViT for example.

Paper: "Vision Transformers Need Zoomer: Efficient ViT with Visual Intent-Guided Zoom Adapter" (ICLR 2026 submission
6623), appendix G and figure 7, which reports no results. A patch whose cell's score reaches alpha is embedded as four
fine patches, each a quarter of it enlarged 2 x 2 (nearest), and these are fused into one token again:

    t = sum_i s_i t_i / sum_j s_j,    i, j = 1..4                                                              (13)

All others keep their plain token, so the host gets its grid, adds its positions and runs on unchanged.

Deviation: where the four share their cell's score, as in ZoomViT at eta = 2, (13) is their plain mean. Here the scores
are interpolated bilinearly to the fine patches, so that their weights differ wherever neighbouring cells do.
Choices, as the paper says nothing: fusion follows the embedding's norm; a tie is zoomed; four scores of 0, which only
alpha = 0 zooms, weigh alike; the scores carry no gradient.

timm's `PatchEmbed` embeds the zoomed patches alone. An embedding of several convolutions (VOLO, LV-ViT) sees the whole
enlarged image, and in training both images move the statistics of its batch norms.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp import protocols, training_protocols
from zoomexp.arguments import integer, multiple_of
from zoomexp.errors import InputError
from zoomexp.tokens.cells import cell_scores, fine_place
from zoomexp.tokens.patches import embed_patches, patches_at
from zoomexp.tokens.scorers.grid import built, resized
from zoomexp.tokens.threshold import Threshold


class ZoomFusion(nn.Module):
    """A host whose zoomed patches are fused from four fine ones.

    Args:
        net: the host, with a `patch_embed` that turns images into G x G tokens: (B, G^2, D), (B, G, G, D) or
            (B, D, G, G). Its parameters keep their names, below `net.`.
        scorer: (images, maps) to scores (B, S, S) in [0, 1], S = image_size / cell; or what builds it, given
            `image_size=`, `patch_size=` (the cell) and `in_chans=` as far as it knows them (see `scorers`).
        image_size: side of the images, a multiple of the cell.
        cell: side of what has one score, in pixels, a multiple of the host's patch.
        alpha: threshold in [0, 1], "random" or "random_log" (see `threshold`).
        alpha_range: lowest and highest threshold drawn.
        test_alpha: threshold in eval mode, if another.

    After each forward: `scores` (B, S, S), and `zoomed` (B, G, G) bool, the patches that were fused from fine ones.
    Always: `inputs`, what of a batch the forward takes: ("image",) or ("image", "map").

    Shape:
        images `(B, C, image_size, image_size)`, maps for a scorer with `needs_maps`, to what the host gives.

    Raises:
        InputError: an argument outside these ranges, a host without such a patch embedding, or other images.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        scorer: nn.Module | Callable[..., nn.Module],
        image_size: int,
        cell: int = 16,
        alpha: float | str = 0.01,
        alpha_range: Sequence[float] | None = None,
        test_alpha: float | None = None,
    ) -> None:
        super().__init__()
        self.threshold = Threshold(alpha, alpha_range, test_alpha)
        integer("dataset.image_size", image_size)
        self.image_size, self.channels = image_size, _channels(net)
        self.layout, self.grid = _grid(net, self.channels, image_size)
        multiple_of("tokens.cell", cell, image_size // self.grid)
        multiple_of("dataset.image_size", image_size, cell)
        self.side = image_size // cell
        self.net = net
        self.scorer = built(scorer, image_size=image_size, patch_size=cell, in_chans=self.channels)
        self.inputs = ("image", "map") if protocols.needs_maps(self.scorer) else ("image",)
        self._maps: Tensor | None = None
        # First of its hooks: a module inserted after the embedding sees fused tokens. A bound method: copies fuse anew.
        net.get_submodule("patch_embed").register_forward_hook(self._fuse, prepend=True)

    @property
    def auxiliary_loss(self) -> Tensor | Callable[[Any], Tensor] | None:
        """The loss of a scorer that learns on its own, after a forward in training."""
        return training_protocols.own_loss(self.scorer)

    @property
    def auxiliary_logits(self) -> dict[str, tuple[float, Tensor]] | None:
        """Further logits that the host wants trained."""
        return training_protocols.further_logits(self.net) or None

    @property
    def inserted(self) -> nn.ModuleDict:
        """The modules inserted into the host, which fit as before."""
        return protocols.inserted(self.net)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Logits (B, K)."""
        channels, size = self.channels, self.image_size
        if images.shape[1:] != (channels, size, size):
            raise InputError(f"tokens: images must be (B, {channels}, {size}, {size}), got {tuple(images.shape)}")
        self._maps = maps
        logits: Tensor = self.net(images)
        return logits

    def _fuse(self, layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        """Forward hook of the patch embedding: zoomed patches' tokens replaced."""
        images = args[0]
        self.scores = self._score(images)
        times = self.grid // self.side
        zoomed = self.scores >= self.threshold(self.training)
        self.zoomed = zoomed.repeat_interleave(times, 1).repeat_interleave(times, 2)
        image, row, column = self.zoomed.nonzero(as_tuple=True)
        weights = fusion_weights(self.scores, self.grid)[image, row * self.grid + column]
        fused = (weights[:, :, None] * self._fine(layer, images, image, row, column)).sum(1)
        grid = self._as_grid(output, self.grid)
        return self._as_output(grid.index_put((image, row, column), fused.to(grid.dtype)))

    def _score(self, images: Tensor) -> Tensor:
        scores: Tensor = self.scorer(images, self._maps).detach().float()
        if scores.shape != (len(images), self.side, self.side):
            wanted = f"(B, {self.side}, {self.side}), one score per cell"
            raise InputError(f"tokens.scorer: scores must be {wanted}, got {tuple(scores.shape)}")
        return scores

    def _fine(self, layer: nn.Module, images: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The fine tokens (T, 4, D) of patches at image, row and column (T,)."""
        side = self.grid
        if type(layer) is PatchEmbed:
            fine = 4 * (row * side + column)[:, None] + torch.arange(4, device=row.device)
            patches = patches_at(images, 2 * side, image.repeat_interleave(4), *fine_place(fine.flatten(), side))
            fours: Tensor = embed_patches(layer, patches).unflatten(0, (-1, 4))
            return fours
        tokens = layer.forward(_enlarged(images))  # not a call, which would come back here
        by_patch: Tensor = self._as_grid(tokens, 2 * side).unflatten(2, (side, 2)).unflatten(1, (side, 2))
        return by_patch[image, row, :, column].flatten(1, 2)

    def _as_grid(self, output: Tensor, side: int) -> Tensor:
        """The embedding's output as (B, side, side, D)."""
        if self.layout == "tokens":
            grid: Tensor = output.unflatten(1, (side, side))
            return grid
        return output.permute(0, 2, 3, 1) if self.layout == "NCHW" else output

    def _as_output(self, grid: Tensor) -> Tensor:
        """(B, G, G, D) as the embedding gives it."""
        if self.layout == "tokens":
            return grid.flatten(1, 2)
        return grid.permute(0, 3, 1, 2) if self.layout == "NCHW" else grid


def fusion_weights(scores: Tensor, grid: int) -> Tensor:
    """The four weights of eq. 13 for every patch.

    Args:
        scores: (B, S, S) in [0, 1], S at most `grid`.
        grid: patches a side, G.

    Returns:
        (B, G^2, 4), at least 0, with sum 1: patches and their quarters row by row.

    >>> fusion_weights(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), 2)[0, :2]  # fine scores 0, 1/4, 3/4, 1 in every row
    tensor([[0.0000, 0.5000, 0.0000, 0.5000],
            [0.2143, 0.2857, 0.2143, 0.2857]])
    """
    fine = cell_scores(resized(scores, 2 * grid), 0.5).fine
    total = fine.sum(2, keepdim=True)
    return torch.where(total > 0, fine / total.clamp(min=torch.finfo(fine.dtype).tiny), 0.25)


def _channels(net: nn.Module) -> int:
    """The channels of the images that the host's patch embedding takes."""
    layers = getattr(net, "patch_embed", nn.Identity()).modules()
    channels = next((layer.in_channels for layer in layers if isinstance(layer, nn.Conv2d)), None)
    if channels is None:
        raise InputError(
            f"tokens: the host must have a convolutional patch_embed (Swin, ViT), got {type(net).__name__}"
        )
    return channels


def _grid(net: nn.Module, channels: int, image_size: int) -> tuple[str, int]:
    """How the host's patch embedding lays out its tokens, and how many a side has, from a dry run."""
    layer = net.get_submodule("patch_embed")
    training = layer.training
    image = next(layer.parameters()).new_zeros(1, channels, image_size, image_size)
    layer.eval()  # batch statistics stay untouched
    try:
        with torch.no_grad():
            layout, side = _layout(layer, layer.forward(image))
            _check_fine(layer, image, layout, side)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        given = f"images of {image_size} pixels, enlarged too, and give a grid"
        raise InputError(f"tokens: the patch_embed of {type(net).__name__} must take {given}: {reason}") from error
    finally:
        layer.train(training)
    return layout, side


def _layout(layer: nn.Module, output: Tensor) -> tuple[str, int]:
    """The layout of an embedding's output, and its tokens a side."""
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if len(shape) == 3 and math.isqrt(shape[1]) ** 2 == shape[1]:
        return "tokens", math.isqrt(shape[1])
    rows = {"NHWC": shape[1:3], "NCHW": shape[2:]} if len(shape) == 4 else {}
    square = [layout for layout, sides in rows.items() if sides[0] == sides[1]]
    if not square:
        raise ValueError(f"it gives {shape or type(output).__name__}")
    own = getattr(layer, "output_fmt", "NCHW")  # as many channels as tokens a side: both fit
    layout = next((name for name in square if name == own), square[0])
    return layout, rows[layout][0]


def _check_fine(layer: nn.Module, image: Tensor, layout: str, side: int) -> None:
    """Refuse an embedding from which no four fine tokens a patch can be had."""
    patch = image.shape[-1] // side
    if patch * side != image.shape[-1] or patch % 2:
        raise ValueError(f"{side} patches a side, which are not of an even number of pixels")
    if type(layer) is PatchEmbed:
        if tuple(layer.patch_size) != (patch, patch):
            raise ValueError(f"patches of {layer.patch_size[0]} x {layer.patch_size[1]} pixels are not square")
    elif (fine := _layout(layer, layer.forward(_enlarged(image)))) != (layout, 2 * side):
        raise ValueError(f"at twice the size it gives {fine[1]} patches a side instead of {2 * side}")


def _enlarged(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=2, mode="nearest")
