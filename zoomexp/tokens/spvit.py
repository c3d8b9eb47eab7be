"""SPViT: learnt selectors drop patches before a few blocks, as many as the image can spare; the dropped become a token.

"SPViT: Enabling Faster Vision Transformers via Latency-aware Soft Token Pruning" (Kong et al., ECCV 2022, arXiv
2112.13890). Before block l_s, s = 1..S, with patches x_j and D_j in {0, 1}, whether patch j is still there, h = 1..H
the host's heads, and x_jh the channels of head h:

    log p_jh = log softmax(MLP_h(local_jh, global_h)), over keep and drop, as in `dynamicvit` from x_jh
    a_j = sigmoid(W GELU(V m_j)), m_jh the mean of x_jh over its channels
    log p_j = sum_h a_jh log p_jh / sum_h a_jh,     k_j = sum_h a_jh p_jh(keep) / sum_h a_jh
    tests      patch j stays if p_j(keep) >= p_j(drop), and at least the surest; or the floor(rho^s N) surest stay
    training   D_j = D_j * Gumbel-softmax(log p_j)(keep), hard, with the soft one's gradient; no patch leaves, and
               attention to patch j is weighted by D_j
    package    P = sum_j k_j x_j / sum_j k_j, over the patches dropped now; last, and there to the end
    loss       beside the task's:  weight / S sum_s (mean_bj D_j - rho^s)^2

In the means of `global_h` earlier packages count as patches that are there, as in the released code. Where nothing is
dropped there is no package; training hides it.

Deviations from the released code: each head has weights of its own, as in the paper (there they share them by a list of
one module); tests do not draw; the sum over the dropped patches is divided, as in the paper (`package="sum"` does not).
Where selectors go, and rho, are not searched for a device's latency; the unchanged host's logits are not distilled. A
host that averages over patches counts a package as one. Where the weight of a key is 0, 1e-6 is added (`dynamicvit`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import number, one_of
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.dynamicvit import SMALLEST, Predictor
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks, checked_rate
from zoomexp.transient import Transient

PACKAGES = ("mean", "sum")
SELECTIONS = ("threshold", "rate")


def spvit(
    vit: VisionTransformer,
    *,
    image_size: int,
    keep_rate: float = 0.7,
    locations: Sequence[int] = (3, 6, 9),
    package: str = "mean",
    select: str = "threshold",
    ratio_weight: float = 2.0,
) -> ReducedViT:
    """A host that learns to drop patches, and puts those of a step into one token.

    Args:
        vit: the host; at least 4 channels a head.
        image_size: side of the images.
        keep_rate: rho, the share of the patches that shall stay before each of the blocks, in (0, 1].
        locations: the blocks, counted from 0.
        package: "mean" or "sum" of what is dropped.
        select: which patches stay in tests: "threshold", the likely ones of each image, or "rate", rho^s of all.
        ratio_weight: of the loss, at least 0.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    one_of("tokens.package", package, PACKAGES)
    one_of("tokens.select", select, SELECTIONS)
    number("tokens.ratio_weight", ratio_weight, 0)
    first: Any = vit.blocks[0]
    heads: int = first.attn.num_heads
    if vit.embed_dim < 4 * heads:
        raise InputError(f"tokens: spvit needs a host with at least 4 channels a head, got {vit.embed_dim // heads}")
    rate, locations = checked_rate(keep_rate), sorted(blocks(locations, len(vit.blocks)))
    selectors = [Selector(vit.embed_dim, heads) for _ in locations]
    method = Selectors(selectors, rate, locations, vit.num_prefix_tokens, package, select, ratio_weight)
    return ReducedViT(vit, method, image_size=image_size)


class Selector(nn.Module):
    """Whether patches stay, by the votes of heads."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Predictor(dim // heads) for _ in range(heads))
        hidden = max(1, heads // 2)
        self.weigh = nn.Sequential(nn.Linear(heads, hidden), nn.GELU(), nn.Linear(hidden, heads), nn.Sigmoid())
        for layer in self.weigh:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, M, D) and which are there, (B, M), to log p (B, M, 2) of keep and drop, and k (B, M)."""
        parts = x.unflatten(2, (len(self.heads), -1))
        weights = self.weigh(parts.mean(3)).float()
        weights = (weights / weights.sum(2, keepdim=True))[..., None]  # (B, M, H, 1)
        each = [head(part, present) for head, part in zip(self.heads, parts.unbind(2), strict=True)]
        votes = torch.stack(each, 2)  # (B, M, H, 2)
        return (weights * votes).sum(2), (weights * votes.exp()).sum(2)[..., 0]


class Selectors(Transient, nn.Module):
    """The learnt part; makes the reducer of a forward, and leaves the loss of one in training in `auxiliary_loss`.

    Copies start without a loss: a tensor in the autograd graph cannot be copied.
    """

    auxiliary_loss: Tensor | None = None

    def __init__(
        self,
        selectors: Sequence[Selector],
        rate: float,
        locations: Sequence[int],
        prefix: int,
        package: str,
        select: str,
        weight: float,
    ) -> None:
        super().__init__()
        self.selectors = nn.ModuleList(selectors)
        self.rate, self.locations, self.prefix, self.weight = rate, locations, prefix, weight
        self.divided, self.by_rate = package == "mean", select == "rate"

    def forward(self) -> "SoftReducer":
        """A new reducer."""
        self.auxiliary_loss = None
        return SoftReducer(self)

    def add_loss(self, present: Tensor, stage: int) -> None:
        """The term of a stage, 1..S, by D (B, N) after it."""
        term = (present.mean() - self.rate**stage).square() * self.weight / len(self.locations)
        self.auxiliary_loss = term if self.auxiliary_loss is None else self.auxiliary_loss + term

    def pack(self, x: Tensor, weights: Tensor) -> Tensor:
        """The package (B, D) of tokens (B, M, D), weights (B, M) 0 but where one was dropped; 0 where none was."""
        if self.divided:
            totals = weights.sum(1, keepdim=True)
            weights = weights / totals.where(totals > 0, 1)
        return (weights.to(x.dtype)[:, None] @ x)[:, 0]


class SoftReducer:
    """The reducer of one forward.

    State, of each token (T,): `asked`, whether it is a patch; `present`, whether it is there, D of a patch.
    """

    log_sizes: Tensor | None
    sizes: Tensor | None
    moves: list[Tensor]

    def __init__(self, learnt: Selectors) -> None:
        self.learnt, self.moves, self.log_sizes, self.sizes = learnt, [], None, None
        self.asked: Tensor | None = None
        self.present: Tensor | None = None
        self.patches = 0

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Before the blocks named: drop patches, or in training weigh them; what is dropped gives a package."""
        if i not in self.learnt.locations:
            return tokens
        if self.asked is None:
            self._start(tokens)
        stage, prefix = self.learnt.locations.index(i), self.learnt.prefix
        x = tokens.padded()[0]
        state: tuple[Any, Any] = (self.asked, self.present)  # begun by now
        asked, present = (tokens.with_values(part).padded()[0] for part in state)
        log_p, scores = self.learnt.selectors[stage](x[:, prefix:], present[:, prefix:])
        log_p, scores = (
            F.pad(log_p, (0, 0, prefix, 0)),
            F.pad(scores, (prefix, 0)),
        )  # prefix tokens have no selector: they always stay
        if self.learnt.training:
            stay = present * torch.where(asked, F.gumbel_softmax(log_p, hard=True)[..., 0], 1)
            self.learnt.add_loss(stay[:, prefix : prefix + self.patches], stage + 1)  # no patch leaves, packages follow
        else:
            stay = present * torch.where(asked, self._chosen(log_p, asked, stage + 1), 1)
        package = self.learnt.pack(x, (present - stay) * scores)
        return self._changed(tokens, torch.cat([x, package[:, None]], 1), asked, present, stay)

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Nothing changes."""
        return tokens

    def _start(self, tokens: Ragged) -> None:
        self.patches = tokens.sizes[0] - self.learnt.prefix
        self.asked = torch.ones_like(tokens.dense()[..., 0], dtype=torch.bool)
        self.asked[:, : self.learnt.prefix] = False
        self.asked = self.asked.flatten()
        self.present = torch.ones_like(self.asked, dtype=torch.float32)

    def _chosen(self, log_p: Tensor, asked: Tensor, stage: int) -> Tensor:
        """Which patches stay, (B, W), 1 or 0."""
        surplus = (log_p[..., 0] - log_p[..., 1]).masked_fill(~asked, -torch.inf)
        left = max(1, int(self.patches * self.learnt.rate**stage)) if self.learnt.by_rate else 1
        surest = surplus.argsort(dim=1, descending=True, stable=True)[:, :left]
        others = torch.zeros_like(asked) if self.learnt.by_rate else surplus >= 0
        return others.scatter(1, surest, True).float()

    def _changed(self, tokens: Ragged, x: Tensor, asked: Tensor, present: Tensor, stay: Tensor) -> Ragged:
        """The new tokens, of x (B, W + 1, D) with the package in the last place; W as the others (B, W)."""
        packed = (present > stay).any(1, keepdim=True)
        asked, stay = F.pad(asked, (0, 1)), torch.cat([stay, packed.to(stay.dtype)], 1)
        there = torch.ones_like(asked) if self.learnt.training else stay > 0
        taken, rows = Ragged.from_dense(x).where(there.flatten(), there.sum(1))
        self.asked, self.present = (part.flatten().index_select(0, rows) for part in (asked, stay))
        new = there.flatten().cumsum(0).view_as(there) - 1
        new = torch.where(there, new, new[:, -1:])  # what is dropped goes into the package
        self.moves.append(new[:, :-1].flatten().index_select(0, tokens.padded_rows()))
        if self.learnt.training:
            self.sizes = self.present + SMALLEST
            self.log_sizes = self.sizes.log()
        return taken
