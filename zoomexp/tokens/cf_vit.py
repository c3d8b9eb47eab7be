"""CF-ViT: a coarse look, and a finer one at what it attended to, if it did not suffice.

"CF-ViT: A General Coarse-to-Fine Method for Vision Transformer" (Chen et al., AAAI 2023, arXiv 2203.03821). One host
runs twice. With n = (S/2)^2 cells, each 2 x 2 of the host's S x S patches:

    coarse    the image at half size, one patch a cell, with positions p of its own: tokens x, encoded ones y, logits
    attention A = momentum A + (1 - momentum) a_l over the blocks l = first_block.. (counted from 0), A = 0 before;
              a_l what the class token attends to in block l, averaged over heads
    exit      in tests, where the largest probability reaches the threshold: the coarse logits count
    fine      the ceil(alpha n) cells with the largest A are replaced by their four patches z at full size, with the
              host's positions and what was seen of the cell:  z + MLP(LN(y));  of all other cells x stays
              [prefix, fine patches, x of the others] -> the same blocks, norm and head
    loss      beside the task's on the fine logits:  KL(softmax(fine) || softmax(coarse)), fine held fixed
    warmup    a share w of E epochs, floor(w E) + 1 of them, is trained with all cells fine; w = 2/3 are the 201 of 300
              of the released code, which begins to choose cells once the epoch, from 0, is above 200. The last epoch
              chooses them however short the training is, but for w = 1. In those epochs the released code leaves
              the host's positions out of the fine stage, the paper does not (`warmup_positions`)

Deviations: half size is the mean of 2 x 2 pixels, that is bilinear without aligned corners (the released code aligns
them); validation always chooses cells, as the test does (there it does not in the first 201 epochs); w is 0 by default.
On a host without a class token, which the paper does not have, A is the mean of the attention of all patches; where the
host averages over patches, a coarse one counts like a fine one. The MLP runs on the cells that it is needed for alone.
"""

from fractions import Fraction
from typing import Any, cast

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp import training_protocols
from zoomexp.arguments import boolean, fraction, integer, number
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.cells import fine_raster
from zoomexp.tokens.patches import halved
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import patches_per_side
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import kept_of
from zoomexp.transient import Transient


class CFViT(Transient, nn.Module):
    """A host with a coarse and a fine stage.

    Args:
        vit: the host.
        image_size: side of the images, a multiple of two of the host's patches.
        alpha: share of the cells that the fine stage refines, in [0, 1].
        threshold: probability, in [0, 1], with which an image is done after the coarse stage; at 1 none is.
        momentum: of the mean of the attention over the blocks, in [0, 1].
        first_block: the first block of that mean, counted from 0.
        warmup: share of the epochs that are trained with all cells fine, in [0, 1], a number or in words, "2/3".
        warmup_positions: whether the fine stage has the host's positions in those epochs, too.

    After each forward: `zoomed` (B, S/2, S/2) bool, the cells refined, none of an image that was done before; `lengths`
    (B,) int64, the tokens of each image in the last stage that it came to; `tokens_per_block`, those that every block
    saw of each image in both stages together, a list of (B,) int64; `auxiliary_loss`, in training.
    Always: `inputs`, what of a batch the forward takes.

    Shape:
        images `(B, C, image_size, image_size)` to logits `(B, K)`.

    Raises:
        InputError: an argument outside these ranges, a host that cannot be run, or images of another size.
    """

    inputs = ("image",)
    auxiliary_loss: Tensor | None = None
    raster: Tensor

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        image_size: int,
        alpha: float = 0.5,
        threshold: float = 1.0,
        momentum: float = 0.99,
        first_block: int = 3,
        warmup: float | str = 0,
        warmup_positions: bool = True,
    ) -> None:
        super().__init__()
        for field, value in {"alpha": alpha, "threshold": threshold, "momentum": momentum}.items():
            number(f"tokens.{field}", value, 0, 1)
        self.side = patches_per_side(vit, image_size, of=2) // 2
        boolean("tokens.warmup_positions", warmup_positions)
        integer("tokens.first_block", first_block, 0, len(vit.blocks) - 1)
        self.image_size, self.threshold, self.momentum, self.first_block = image_size, threshold, momentum, first_block
        self.cells, self.prefix = self.side**2, vit.num_prefix_tokens
        self.refined, self.warmup, self.all_fine = kept_of(self.cells, alpha), fraction("tokens.warmup", warmup), False
        self.warmup_positions = warmup_positions
        self.vit, self.positions, self.reuse = vit, _coarse_positions(vit, self.side), _reuse(vit.embed_dim)
        self.register_buffer("raster", fine_raster(self.side), persistent=False)

    @property
    def changes(self) -> bool:
        """Whether some epochs are trained with all cells fine."""
        return self.warmup > 0

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Whether all cells are fine in training (see `training_protocols.FollowsEpochs`)."""
        self.all_fine = epoch < warmup_epochs(self.warmup, epochs)

    @property
    def auxiliary_logits(self) -> dict[str, tuple[float, Tensor]] | None:
        """Further logits that the host wants trained, those of the fine stage (see `tasks.classification`)."""
        return training_protocols.further_logits(self.vit) or None

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        channels, size = self.vit.patch_embed.proj.in_channels, self.image_size
        if images.shape[1:] != (channels, size, size):
            raise InputError(f"tokens: images must be (B, {channels}, {size}, {size}), got {tuple(images.shape)}")
        self.auxiliary_loss = None
        x = self.coarse_tokens(images)
        listener = Listener(self.prefix, self.momentum, self.first_block)
        encoded = host.encode(self.vit, Ragged.from_dense(x), reduce=listener)
        coarse = host.read_out(self.vit, encoded)
        on = self._undecided(coarse)
        order = listener.mean.argsort(dim=1, descending=True, stable=True)[on]
        zoomed, others = order.tensor_split([self.cells if self.training and self.all_fine else self.refined], 1)
        self._take_stock(len(images), on, zoomed)
        if not len(on):
            return coarse
        tokens = self.fine_tokens(images[on], x[on], encoded.dense()[on], zoomed, others)
        fine = host.read_out(self.vit, host.encode(self.vit, Ragged.from_dense(tokens)))
        if self.training:
            self.auxiliary_loss = _divergence(coarse, fine.detach())
        return coarse.index_copy(0, on, fine)

    def coarse_tokens(self, images: Tensor) -> Tensor:
        """The first stage's tokens (B, P + n, D)."""
        of_prefix, of_cells = self.positions.tensor_split([-self.cells])
        prefix = self._prefix(images, of_prefix if len(of_prefix) else None)
        return torch.cat([prefix, host.embed(self.vit, halved(images)) + of_cells], 1)

    def _prefix(self, images: Tensor, positions: Tensor | float | None) -> Tensor:
        """The host's prefix (B, P, D) with positions (P, D) in the place of its own; None: as it is."""
        prefix, own = host.prefix(self.vit, len(images)), cast(Tensor | None, self.vit.pos_embed)
        if positions is None or own is None or self.vit.no_embed_class:
            return prefix
        return prefix + (positions - own[0, : self.prefix])

    def fine_tokens(self, images: Tensor, x: Tensor, encoded: Tensor, zoomed: Tensor, others: Tensor) -> Tensor:
        """The second stage's tokens (B, P + n + 3 k, D).

        Args:
            images: (B, C, H, H).
            x: (B, P + n, D), the tokens of the first stage.
            encoded: (B, P + n, D), the same after the last block and norm.
            zoomed: (B, k) int64, the cells to be refined.
            others: (B, n - k) int64, the others.
        """
        reused = self.reuse(encoded.take_along_dim((zoomed + self.prefix)[:, :, None], 1)).repeat_interleave(4, 1)
        fine = self._embed(images, zoomed) + reused
        coarse = x.take_along_dim((others + self.prefix)[:, :, None], 1)
        return torch.cat([self._prefix(images, None if self._placed else 0.0), fine, coarse], 1)

    def _embed(self, images: Tensor, cells: Tensor) -> Tensor:
        """The patches of cells (B, k), with positions or without: (B, 4 k, D), the four of a cell beside each other."""
        patches = host.embed(self.vit, images)
        patches = patches + host.patch_positions(self.vit, 2 * self.side) if self._placed else patches
        return patches.take_along_dim(self.raster.view(-1, 4)[cells].flatten(1)[:, :, None], 1)

    @property
    def _placed(self) -> bool:
        """Whether the fine stage has the host's positions."""
        return self.warmup_positions or not (self.training and self.all_fine)

    def _undecided(self, logits: Tensor) -> Tensor:
        """(B',) int64, the images that go on to the fine stage."""
        if self.training or self.threshold == 1:  # a probability can be rounded to 1
            return torch.arange(len(logits), device=logits.device)
        return (logits.float().softmax(1).amax(1) < self.threshold).nonzero()[:, 0]

    def _take_stock(self, images: int, on: Tensor, zoomed: Tensor) -> None:
        """What came of `images` images, of which those `on` (B',) had cells zoomed, (B', k)."""
        refined = torch.zeros(len(on), self.cells, dtype=torch.bool, device=on.device).scatter_(1, zoomed, True)
        by_cell = refined.new_zeros(images, self.cells).index_copy_(0, on, refined)
        self.zoomed = by_cell.unflatten(1, (self.side, self.side))
        first, second = self.prefix + self.cells, self.prefix + self.cells + 3 * zoomed.shape[1]
        self.lengths = on.new_full((images,), first).index_fill_(0, on, second)
        self.tokens_per_block = [on.new_full((images,), first).index_fill_(0, on, first + second)] * len(
            self.vit.blocks
        )


def warmup_epochs(share: Fraction, epochs: int) -> int:
    """How many of the first epochs are trained with all cells fine.

    >>> [warmup_epochs(Fraction(2, 3), epochs) for epochs in (300, 30, 3, 1)], warmup_epochs(Fraction(1), 30)
    ([201, 21, 2, 0], 30)
    """
    if share in (0, 1):
        return int(share) * epochs
    return min(int(share * epochs) + 1, epochs - 1)


class Listener:
    """A reducer that changes nothing; `mean` (B, n) is A."""

    log_sizes = None
    mean: Any  # 0 until a block has been heard

    def __init__(self, prefix: int, momentum: float, first: int) -> None:
        self.prefix, self.momentum, self.first, self.mean = prefix, momentum, first, 0

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    @torch.no_grad()
    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Take up the attention to the patches."""
        if i >= self.first:
            attention = context.importance(self.prefix).view(tokens.dense().shape[:2])[:, self.prefix :]
            self.mean = self.momentum * self.mean + (1 - self.momentum) * attention
        return tokens


def _coarse_positions(vit: VisionTransformer, side: int) -> nn.Parameter:
    """(P + n, D), or (n, D) where the prefix has none: the host's, resampled; 0 for a host that has none."""
    patches = host.patch_positions(vit, side).detach()
    if vit.pos_embed is None or vit.no_embed_class:
        return nn.Parameter(patches.clone())
    return nn.Parameter(torch.cat([vit.pos_embed[0, : vit.num_prefix_tokens].detach(), patches]))


def _reuse(dim: int) -> nn.Sequential:
    """What the fine stage is told of a cell."""
    layers = nn.Sequential(nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return layers


def _divergence(coarse: Tensor, fine: Tensor) -> Tensor:
    """KL(softmax(fine) || softmax(coarse)) of logits (B, K), the mean over images."""
    return F.kl_div(coarse.log_softmax(1), fine.softmax(1), reduction="batchmean")
