"""Evo-ViT: patches that the class token does not look at sit out some blocks, and come back; none is lost.

"Evo-ViT: Slow-Fast Token Evolution for Dynamic Vision Transformer" (Xu et al., AAAI 2022, arXiv 2108.01390). With N
patches and a_i, what the class token attends to in block i (mean over heads):

    A = a_i                              in the blocks before the first location
    A = m A + (1 - m) a_i                from there on, for the patches that block i sees; of the others A stays
    before each location                 all N patches come back; the K = floor(keep_rate N) with the largest A go on
    representative: x_r = sum_j A_j x_j / sum_j A_j over the others j goes along, and when they come back
                    x_j = x_j + (x_r now - x_r at the start), the sum of what attention and MLPs have added to it
    after the last block                 all N patches come back
    logits = head(norm(mean of the N patches))
    loss   = cross-entropy of the logits + class_weight * cross-entropy of head_c(norm_c(class token))

As in the released code for DeiT, patches are chosen before few blocks, and by default no token represents the others.
With `schedule` "layer_to_stage" they are chosen anew before every block from the first location on, still K of all N,
in the first two thirds of the epochs (rounded down: 200 of 300), as the released code trains from scratch.

Deviations: there the two losses are halved, and validation in those epochs chooses before every block, too, where here
it is as the test; the paper has the momentum before the first location too (so has the released LeViT). On a host that
averages over its tokens, its own read-out is kept; on one without a class token, a is the mean of the attention of all
patches, and there is no second head.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.arguments import boolean, number, one_of
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.moves import rows_of
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks, checked_rate
from zoomexp.transient import Transient

SCHEDULES = ("stage", "layer_to_stage")


def evo_vit(
    vit: VisionTransformer,
    *,
    image_size: int,
    keep_rate: float = 0.5,
    locations: Sequence[int] = (4, 8),
    momentum: float = 0.5,
    representative: bool = False,
    class_weight: float = 1.0,
    schedule: str = "stage",
) -> ReducedViT:
    """A host most of whose blocks see a part of the patches.

    `places` and `sizes` are those of the end, when all patches are back; `tokens_per_block` tells what blocks see.

    Args:
        vit: the host.
        image_size: side of the images.
        keep_rate: share of the patches that the blocks see from each location on, in (0, 1].
        locations: the blocks before which these are chosen, counted from 0, at least 1.
        momentum: m, in [0, 1].
        representative: whether a token goes along for the others.
        class_weight: of the second head's loss, at least 0; 0: no second head.
        schedule: of training: "stage", or "layer_to_stage", chosen before every block in the first two thirds of it.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    number("tokens.momentum", momentum, 0, 1)
    number("tokens.class_weight", class_weight, 0)
    boolean("tokens.representative", representative)
    one_of("tokens.schedule", schedule, SCHEDULES)
    rate, locations = checked_rate(keep_rate), sorted(blocks(locations, len(vit.blocks)))
    if 0 in locations:
        raise InputError(f"tokens.locations must leave out block 0, which no attention goes before, got {locations}")
    method = SlowFast(vit, rate, locations, momentum, representative, class_weight, schedule)
    return ReducedViT(vit, method, image_size=image_size)


class SlowFast(Transient, nn.Module):
    """Makes the reducer of a forward, and holds the second head; leaves its logits of one in `auxiliary_logits`.

    Copies start without logits: a tensor in the autograd graph cannot be copied.
    """

    auxiliary_logits: dict[str, tuple[float, Tensor]] | None = None

    def __init__(
        self,
        vit: VisionTransformer,
        rate: float,
        locations: Sequence[int],
        momentum: float,
        representative: bool,
        class_weight: float,
        schedule: str,
    ) -> None:
        super().__init__()
        self.rate, self.locations, self.momentum, self.representative = rate, locations, momentum, representative
        self.prefix, self.reads_token, self.class_weight = (
            vit.num_prefix_tokens,
            vit.global_pool == "token",
            class_weight,
        )
        self.changes, self.layer_wise = schedule == "layer_to_stage", False
        self.blocks = range(locations[0], len(vit.blocks)) if locations else ()
        self.class_head = None
        if class_weight and vit.has_class_token:
            linear = nn.Linear(vit.embed_dim, vit.num_classes)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            self.class_head = nn.Sequential(nn.LayerNorm(vit.embed_dim, eps=1e-6), linear)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Whether training chooses before every block (see `training_protocols.FollowsEpochs`)."""
        self.layer_wise = self.changes and epoch < 2 * epochs // 3

    def forward(self) -> "SlowFastReducer":
        """A new reducer."""
        self.auxiliary_logits = None
        return SlowFastReducer(self, self.blocks if self.training and self.layer_wise else self.locations)

    def read(self, x: Tensor) -> Tensor:
        """The last tokens (B, P + N, D) as the host's head shall find them; in training the second head's logits."""
        if self.training and self.class_head is not None:
            self.auxiliary_logits = {"class_token": (self.class_weight, self.class_head(x[:, 0]))}
        if not self.reads_token:
            return x
        # the head reads the first token after the final norm: here the mean of the patches
        return torch.cat([x[:, self.prefix :].mean(1, keepdim=True), x[:, 1:]], 1)


class Waiting(NamedTuple):
    """Patches that sit out: `slow` (B, K), places of those that do not; `fast` (B, N - K), theirs; `x` (B, N - K, D).

    `start` (B, 1, D): the representative token at first, or None.
    """

    slow: Tensor
    fast: Tensor
    x: Tensor
    start: Tensor | None


class SlowFastReducer:
    """The reducer of one forward that chooses before `locations`; `attention` (B, N) is A, patches in their places."""

    log_sizes = sizes = None
    moves: list[Tensor]
    attention: Tensor  # once a block has run

    def __init__(self, method: SlowFast, locations: Sequence[int]) -> None:
        self.method, self.locations, self.moves = method, locations, []
        self.waiting: Waiting | None = None

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Before the blocks named: all patches come back, and some go on."""
        if i not in self.locations:
            return tokens
        prefix, patches = self._back(tokens)
        left = max(1, int(patches.shape[1] * self.method.rate))
        if left == patches.shape[1]:
            return Ragged.from_dense(torch.cat([prefix, patches], 1))
        order = self.attention.argsort(dim=1, descending=True, stable=True)
        slow, fast = order[:, :left], order[:, left:]
        others, start = _at(patches, fast), None
        if self.method.representative:
            weights = self.attention.gather(1, fast)
            start = (weights / weights.sum(1, keepdim=True)).to(others.dtype)[:, None] @ others
        self.waiting = Waiting(slow, fast, others, start)
        along = [] if start is None else [start]
        return Ragged.from_dense(torch.cat([prefix, _at(patches, slow), *along], 1))

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Keep the class token's attention to each patch up to date, until the last block that chooses by it."""
        if not self.locations or not self.locations[0] - 1 <= i < self.locations[-1]:
            return tokens
        new = context.importance(self.method.prefix).view(tokens.dense().shape[:2])[:, self.method.prefix :]
        new = new if self.method.representative else new.detach()  # nothing but an order is made of it
        if self.waiting is None:
            self.attention = new
        else:
            slow, m = self.waiting.slow, self.method.momentum
            new = m * self.attention.gather(1, slow) + (1 - m) * new[:, : slow.shape[1]]
            self.attention = self.attention.scatter(1, slow, new)
        return tokens

    def finish(self, tokens: Ragged) -> Ragged:
        """All patches come back."""
        return Ragged.from_dense(self.method.read(torch.cat(self._back(tokens), 1)))

    def _back(self, tokens: Ragged) -> tuple[Tensor, Tensor]:
        """Prefix (B, P, D), and all patches in their places (B, N, D)."""
        prefix, patches = tokens.dense().tensor_split([self.method.prefix], 1)
        if self.waiting is None:
            return prefix, patches
        slow, fast, others, start = self.waiting
        patches, end = patches.tensor_split([slow.shape[1]], 1)
        others = others if start is None else others + (end - start)
        self.waiting = None
        return prefix, _at(torch.cat([patches, others], 1), torch.cat([slow, fast], 1).argsort(1))


def _at(x: Tensor, places: Tensor) -> Tensor:
    """The tokens (B, K, D) at places (B, K) of x (B, N, D)."""
    tokens: Tensor = x.flatten(0, 1).index_select(0, rows_of(places, x.shape[1])).unflatten(0, places.shape)
    return tokens
