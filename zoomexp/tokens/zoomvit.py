"""ZoomViT: a vision transformer that looks closer where a scorer says so.

Paper: "Vision Transformers Need Zoomer: Efficient ViT with Visual Intent-Guided Zoom Adapter" (ICLR 2026 submission
6623), section 3.3, and the released code of an earlier version. A scorer rates every patch of the host's S x S grid:

    eta = 2     all patches, and where the score reaches alpha four enlarged quarters instead:  S^2 + 3 k tokens
    eta = 0.5   patches of the image at half size, and where it does the host's own instead:    (S/2)^2 + 3 k tokens

for k zoomed cells. One patch embedding, the host's, serves both grids. Positions are added, tokens sorted by score
(fine ones first), pruned if asked for, given the zoom factor embedding, and run through the host.

Deviations from the released code, all of them options (`mode="paper"` asks for the released choices and lays the
sequences out as the code does; see `layout`): no padding, so that images do not depend on their batch mates (unless the
scorer draws at random: `Random`, `Shuffled`); a tie is fine; a zoomed cell keeps its four patches; the host's learned
positions; soft zoom factor embedding, which the released code lacks (it has "fixed"), and pruning, which it lacks too.
Details of each are in the file of its name.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp import protocols, training_protocols
from zoomexp.arguments import integer, number, one_of
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.cells import ETAS, cell_scores, cells_per_side, coarse_place, fine_place
from zoomexp.tokens.layout import Group, Rows, compact_rows, groups, paper_rows
from zoomexp.tokens.patches import embed_patches, halved, patches_at, scattered
from zoomexp.tokens.positions import KINDS as POSITIONS
from zoomexp.tokens.positions import Positions
from zoomexp.tokens.pruning import Pruning
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.regions import region
from zoomexp.tokens.scorers.grid import built
from zoomexp.tokens.selection import COVERAGES, Selection, in_sequence, keep_above, keep_best, with_budget
from zoomexp.tokens.threshold import Threshold
from zoomexp.tokens.zoom_embedding import DIRECTIONS, zoom_embedding
from zoomexp.tokens.zoom_embedding import KINDS as ZFES

OMEGA = 0.1
PAPER = {"coverage": "paper", "positions": "sinusoid_1d", "zfe": "fixed"}


class ZoomViT(nn.Module):
    """A host with coarse and fine patches.

    Args:
        vit: the host; its grid need not be that of `image_size`. Sinusoidal positions take away its learned ones.
        scorer: (images, maps) to scores (B, S, S) in [0, 1]; or what builds it, given
            `image_size=`, `patch_size=` and `in_chans=` as far as it knows them (see `scorers`).
        image_size: side of the images, a multiple of the host's patch p (eta = 2, p even) or of 2 p (eta = 0.5).
        eta: 0.5 or 2.
        alpha: threshold in [0, 1], "random" or "random_log" (see `threshold`).
        alpha_range: lowest and highest threshold drawn.
        test_alpha: threshold in eval mode, if another.
        coverage: "cell" or "paper" (see `selection`).
        budget: zoom this many cells in every image, 0..n, instead of those above a threshold; then alpha has no part.
        positions: "learned", "sinusoid_1d" or "sinusoid_2d".
        zfe: "soft", "fixed" or "none".
        zfe_direction: "ones", the paper's, which layer norm removes, or "learned", a vector (see `zoom_embedding`).
        omega: steepness of the soft one, at least 0.
        pruning: "none", "top_n" or "match_alpha", with `prune_n`, `prune_alpha`, `prune_order` and `prune_group` (see
            `pruning`).
        mode: "ragged", "padded" (masked: the same logits, slower) or "paper".

    After each forward: `scores` (B, S, S); `zoomed` (B, s, s) bool, the cells with a fine patch, before pruning;
    `lengths` (B,) int64 on the CPU, the tokens that each image brings to the encoder, all told.
    Always: `inputs`, what of a batch the forward takes: ("image",) or ("image", "map").

    Shape:
        images `(B, C, image_size, image_size)`, maps `(B, S, S)` for a scorer with `needs_maps`, to logits `(B, K)`.

    Raises:
        InputError: an argument outside these ranges, combinations that exclude each other, or other images.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        scorer: nn.Module | Callable[..., nn.Module],
        image_size: int,
        eta: float = 0.5,
        alpha: float | str = 0.01,
        alpha_range: Sequence[float] | None = None,
        test_alpha: float | None = None,
        coverage: str = "cell",
        budget: int | None = None,
        positions: str = "learned",
        zfe: str = "soft",
        zfe_direction: str = "ones",
        omega: float = OMEGA,
        pruning: str = "none",
        prune_n: int | None = None,
        prune_alpha: float | None = None,
        prune_order: str = "backward",
        prune_group: str = "all",
        mode: str = "ragged",
    ) -> None:
        super().__init__()
        host.check_host(vit)
        one_of("tokens.eta", eta, ETAS)
        one_of("tokens.coverage", coverage, COVERAGES)
        one_of("tokens.positions", positions, POSITIONS)
        one_of("tokens.mode", mode, host.MODES)
        patch = _patch_size(vit, image_size, eta)
        self.grid, self.side = image_size // patch, cells_per_side(image_size // patch, eta)
        _check_embedding(zfe, zfe_direction, omega)
        _check_together(PAPER | {"coverage": coverage, "positions": positions, "zfe": zfe}, mode, budget, pruning)
        if budget is not None:
            integer("tokens.budget", budget, 0, self.side**2)
        self.image_size, self.eta, self.coverage, self.budget = image_size, eta, coverage, budget
        self.zfe, self.omega, self.mode = zfe, omega, mode
        learned = zfe != "none" and zfe_direction == "learned"
        self.zfe_vector = nn.Parameter(0.02 * torch.randn(vit.embed_dim)) if learned else None
        self.threshold = Threshold(alpha, alpha_range, test_alpha)
        self.pruning = Pruning(pruning, prune_n, prune_alpha, prune_order, prune_group)
        self.positions = Positions(vit, positions, self.side)
        channels = vit.patch_embed.proj.in_channels
        self.vit, self.scorer = vit, built(scorer, image_size=image_size, patch_size=patch, in_chans=channels)
        self.inputs = ("image", "map") if protocols.needs_maps(self.scorer) else ("image",)

    @property
    def auxiliary_loss(self) -> Tensor | Callable[[Any], Tensor] | None:
        """The loss of a scorer that learns on its own, after a forward in training."""
        return training_protocols.own_loss(self.scorer)

    def forward(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """Logits (B, K)."""
        return self.forward_head(self.forward_features(images, maps))

    def forward_features(self, images: Tensor, maps: Tensor | None = None) -> Ragged:
        """Tokens after the host's last block and norm."""
        mode = "padded" if self.mode == "padded" else "ragged"  # "paper" brings its zero tokens along
        return host.encode(self.vit, self.tokenize(images, maps), mode=mode)

    def forward_head(self, tokens: Ragged) -> Tensor:
        """Encoded tokens to logits (B, K)."""
        return host.read_out(self.vit, tokens)

    def tokenize(self, images: Tensor, maps: Tensor | None = None) -> Ragged:
        """The sequences that the host is given, prefix tokens first."""
        self.scores = self.score(images, maps)
        selection = self.select(self.scores).on_host()
        fine, coarse = groups(selection)
        if self.mode != "paper" and selection.fixed() is not None:
            return self._dense(images, fine, coarse)
        arrange = paper_rows if self.mode == "paper" else compact_rows
        rows = arrange(selection, fine, coarse, self.vit.num_prefix_tokens)
        self.lengths = rows.lengths
        return Ragged(self.scatter(images, fine, coarse, rows, int(rows.lengths.sum())), rows.lengths)

    def scatter(self, images: Tensor, fine: Group, coarse: Group, rows: Rows, total: int) -> Tensor:
        """The tokens (total, D) of both groups and the prefix of every image, in their rows."""
        prefix = self.positions.prefix(self.vit, len(images)).flatten(0, 1)
        fine_tokens, coarse_tokens = _embedded(self, images, fine, coarse)
        return scattered([(rows.prefix, prefix), (rows.fine, fine_tokens), (rows.coarse, coarse_tokens)], total)

    def _dense(self, images: Tensor, fine: Group, coarse: Group) -> Ragged:
        """Sequences of one length: nothing to look up, nothing to wait for."""
        batch = len(images)
        parts = (part.unflatten(0, (batch, len(part) // batch)) for part in _embedded(self, images, fine, coarse))
        x = torch.cat([self.positions.prefix(self.vit, batch), *parts], 1)
        self.lengths = torch.full((batch,), x.shape[1])
        return Ragged.from_dense(x)

    def cells_of(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of cells in images (B, C, H, W)."""
        patch = self.image_size // self.grid
        rows, columns = (cells_per_side(pixels // patch, self.eta) for pixels in images.shape[2:])
        return rows, columns

    def select(self, scores: Tensor, alpha: float | None = None) -> Selection:
        """What becomes a token, by scores (B, S, S) or of another grid; sets `zoomed`; draws the threshold if None."""
        by_cell = cell_scores(scores, self.eta)
        if self.budget is None:
            alpha = self.threshold(self.training) if alpha is None else alpha
            kept = keep_above(by_cell, alpha, self.coverage)
            selection = in_sequence(by_cell, kept)
        else:
            kept = keep_best(by_cell, self.budget)
            selection = with_budget(in_sequence(by_cell, kept), self.budget)
        grid = tuple(cells_per_side(patches, self.eta) for patches in scores.shape[1:])
        self.zoomed = kept.fine.any(2).unflatten(1, grid)
        return self.pruning(selection, by_cell, self.coverage)

    def score(self, images: Tensor, maps: Tensor | None = None) -> Tensor:
        """The scorer's map (B, S, S), without gradient."""
        channels, size = self.vit.patch_embed.proj.in_channels, self.image_size
        if images.shape[1:] != (channels, size, size):
            raise InputError(f"tokens: images must be (B, {channels}, {size}, {size}), got {tuple(images.shape)}")
        scores: Tensor = self.scorer(images, maps).detach().float()
        if scores.shape != (len(images), self.grid, self.grid):
            wanted = f"(B, {self.grid}, {self.grid}), one score per patch"
            raise InputError(f"tokens.scorer: scores must be {wanted}, got {tuple(scores.shape)}")
        return scores


@region
def _embedded(net: ZoomViT, images: Tensor, fine: Group, coarse: Group) -> list[Tensor]:
    """The tokens (T_i, D) of both groups: patches, positions, zoom factor embedding."""
    small, grid = images if net.eta == 2 else halved(images), net.cells_of(images)
    of_fine = patches_at(images, (2 * grid[0], 2 * grid[1]), fine.image, *fine_place(fine.candidate, grid))
    of_coarse = patches_at(small, grid, coarse.image, *coarse_place(coarse.candidate, grid))
    table = net.positions.candidates(net.vit, grid)
    tokens, direction = [], 1.0 if net.zfe_vector is None else net.zfe_vector
    for group, patches in ((fine, of_fine), (coarse, of_coarse)):
        x = embed_patches(net.vit.patch_embed, patches) + table.index_select(0, group.candidate)
        added = zoom_embedding(net.zfe, group.rank, group.zoomed, net.omega)
        tokens.append(x if added is None else x + added[:, None].to(x.dtype) * direction)
    return tokens


def _patch_size(vit: VisionTransformer, image_size: int, eta: float) -> int:
    """The host's patch, once the images are known to divide into it."""
    if type(vit.patch_embed) is not PatchEmbed:
        kind = type(vit.patch_embed).__name__
        raise InputError(f"tokens: zoomvit embeds single patches by timm's PatchEmbed, got {kind}; take tokens=fusion")
    height, patch = vit.patch_embed.patch_size
    if height != patch or (eta == 2 and patch % 2):
        raise InputError(f"tokens: the host's patches must be square{' and even' * (eta == 2)}, got {height} x {patch}")
    multiple = patch if eta == 2 else 2 * patch
    if not isinstance(image_size, int) or image_size < 1 or image_size % multiple:
        raise InputError(f"dataset.image_size must be a multiple of {multiple} at eta={eta}, got {image_size!r}")
    return int(patch)


def _check_together(choices: dict[str, str], mode: str, budget: int | None, pruning: str) -> None:
    """Refuse choices that exclude each other."""
    if mode == "paper" and choices != PAPER:
        wanted = ", ".join(f"{name}={value}" for name, value in PAPER.items())
        given = ", ".join(f"{name}={value}" for name, value in choices.items() if value != PAPER[name])
        raise InputError(f"tokens.mode=paper is the released model: it needs {wanted}, got {given}")
    if budget is not None and (choices["coverage"] == "paper" or pruning == "match_alpha"):
        raise InputError("tokens.budget needs coverage=cell and no pruning=match_alpha: it has no threshold")


def _check_embedding(zfe: str, direction: str, omega: float) -> None:
    """Refuse what the zoom factor embedding that is chosen does not have."""
    one_of("tokens.zfe", zfe, ZFES)
    one_of("tokens.zfe_direction", direction, DIRECTIONS)
    number("tokens.omega", omega, 0)
    if zfe != "soft" and omega != OMEGA:
        raise InputError(f"tokens.omega={omega}: zfe={zfe} has no steepness; choose tokens.zfe=soft, or omega={OMEGA}")
    if zfe == "none" and direction != "ones":
        raise InputError(
            f"tokens.zfe_direction={direction}: zfe=none has no direction; choose zfe=soft or fixed, or ones"
        )
