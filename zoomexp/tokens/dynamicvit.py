"""DynamicViT: small networks learn which patches to drop before a few blocks.

"DynamicViT: Efficient Vision Transformers with Dynamic Token Sparsification" (Rao et al., NeurIPS 2021, arXiv
2106.02034). Before block l_s, s = 1..S, with patches x_j and D_j in {0, 1}, whether patch j is still there:

    z_j = GELU(W LN(x_j));  half of z_j is local, of the other half the mean over the patches with D = 1 is global
    log p_j = log softmax(MLP(local_j, global)), over keep and drop
    tests      the floor(rho^s N) patches with the largest p_j(keep) stay, the largest first
    training   D_j = D_j * Gumbel-softmax(log p_j)(keep), hard, with the soft one's gradient; no patch leaves, and
               attention to patch j is weighted by D_j
    loss       beside the task's:  ratio_weight / S sum_s mean_b (mean_j D_j - rho^s)^2 + distillation (KL + MSE)
    KL         mean_b sum_k p'_k log(p'_k / p_k), p and p' the shares of the classes here and at the teacher
    MSE        mean over the patches with D = 1 in the end, and over channels, of (x_j - x'_j)^2, x after the last norm

The teacher, with a prime, is the unchanged host with the weights it comes with, frozen: the host should come trained.
It is held beside the network: it is no part of its parameters, its state or its cost.

Deviations: KL's direction is the released code's; the paper prints the other. In training a dropped patch attends to
those that stay, not to itself, which nothing that stays can see. A host that averages over patches, which the paper
does not have, averages over those with D = 1. Where the weight of a key is 0, 1e-6 is added, so that its logarithm has
a gradient. A host of `checkpoint=` is loaded after the teacher has been made: take backbone=trained.
"""

import copy
from collections.abc import Sequence

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import number
from zoomexp.tokens import host
from zoomexp.tokens.evit import with_prefix
from zoomexp.tokens.moves import keep_places
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT, TracedReducer
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks, checked_rate
from zoomexp.transient import Transient

SMALLEST = 1e-6


def dynamicvit(
    vit: VisionTransformer,
    *,
    image_size: int,
    keep_rate: float = 0.7,
    locations: Sequence[int] = (3, 6, 9),
    ratio_weight: float = 2.0,
    distillation: float = 0.5,
) -> ReducedViT:
    """A host that learns to drop patches.

    Args:
        vit: the host.
        image_size: side of the images.
        keep_rate: rho, the share of the patches that stay before each of the blocks, in (0, 1].
        locations: the blocks, counted from 0.
        ratio_weight: of the loss that brings the share of patches to `keep_rate`, at least 0.
        distillation: weight of what is learnt from the host as it is now, at least 0; 0: no copy of it is held.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    number("tokens.ratio_weight", ratio_weight, 0)
    number("tokens.distillation", distillation, 0)
    rate, locations = checked_rate(keep_rate), sorted(blocks(locations, len(vit.blocks)))
    teacher = Teacher(vit, image_size, distillation) if distillation else None
    method = Predictors(vit.embed_dim, rate, locations, vit.num_prefix_tokens, ratio_weight, teacher)
    return ReducedViT(vit, method, image_size=image_size)


def _none() -> TracedReducer:
    raise NotImplementedError("a teacher keeps all tokens")


class Teacher:
    """A frozen copy of the host. Not a module: a network that holds it does not count it among its own parts."""

    def __init__(self, vit: VisionTransformer, image_size: int, weight: float) -> None:
        vit = copy.deepcopy(vit).eval().requires_grad_(False)
        self.net, self.weight = ReducedViT(vit, _none, image_size=image_size), weight

    def loss(self, images: Tensor, x: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        """What is left to learn, of images (B, C, S, S), from their patches x (B, N, D), logits (B, K) and D (B, N)."""
        with torch.no_grad():
            tokens = host.encode(self.net.vit, self.net.to(images).tokenize(images))
            target = host.read_out(self.net.vit, tokens)
        divergence = F.kl_div(_log_shares(logits), _log_shares(target), reduction="batchmean", log_target=True)
        distance = (x - tokens.dense()[:, -x.shape[1] :]).float().square().mean(2)
        kept = present.detach()
        return self.weight * (divergence + (distance * kept).sum() / kept.sum().clamp(min=1))


def _log_shares(logits: Tensor) -> Tensor:
    return logits.float().log_softmax(1)


class Predictor(nn.Module):
    """Whether patches stay."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.decide = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Patches (B, N, D) and which are still there, (B, N), to log probabilities (B, N, 2) of keep and drop."""
        own, shared = self.embed(x).tensor_split([x.shape[2] // 2], 2)
        shared = (shared * present[:, :, None]).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        shared = shared[:, None].expand(-1, x.shape[1], -1).to(own.dtype)
        chances: Tensor = self.decide(torch.cat([own, shared], 2)).float().log_softmax(2)
        return chances


class Predictors(Transient, nn.Module):
    """The learnt part; makes the reducer of a forward, and leaves the loss of one in training in `auxiliary_loss`.

    Copies start without a loss: a tensor in the autograd graph cannot be copied.
    """

    auxiliary_loss: Tensor | None = None

    def __init__(
        self,
        dim: int,
        rate: float,
        locations: Sequence[int],
        prefix: int,
        ratio_weight: float,
        teacher: Teacher | None,
    ) -> None:
        super().__init__()
        self.rate, self.locations, self.prefix, self.ratio_weight = rate, locations, prefix, ratio_weight
        self.teacher = teacher
        self.predictors = nn.ModuleList(Predictor(dim) for _ in locations)

    def forward(self) -> "DynamicReducer":
        """A new reducer."""
        self.auxiliary_loss = None
        return DynamicReducer(self)

    def add_ratio(self, present: Tensor, stage: int) -> None:
        """The term of a stage, 1..S, by D (B, N) after it."""
        self.add((present.mean(1) - self.rate**stage).square().mean() * self.ratio_weight / len(self.locations))

    def add(self, term: Tensor) -> None:
        """Add a scalar to the loss."""
        self.auxiliary_loss = term if self.auxiliary_loss is None else self.auxiliary_loss + term


class DynamicReducer:
    """The reducer of one forward."""

    present: Tensor | None
    log_sizes: Tensor | None
    sizes: Tensor | None
    moves: list[Tensor]

    def __init__(self, learnt: Predictors) -> None:
        self.learnt, self.present, self.patches = learnt, None, 0
        self.log_sizes, self.sizes, self.moves = None, None, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Drop patches, or in training weigh them, before the blocks named."""
        patches = tokens.dense()[:, self.learnt.prefix :]
        self.patches = self.patches or patches.shape[1]
        if i not in self.learnt.locations:
            return tokens
        stage = self.learnt.locations.index(i)
        present = patches.new_ones(patches.shape[:2], dtype=torch.float32) if self.present is None else self.present
        scores = self.learnt.predictors[stage](patches, present)
        if not self.learnt.training:
            return self._dropped(tokens, scores[..., 0], max(1, int(self.patches * self.learnt.rate ** (stage + 1))))
        self.present = present * F.gumbel_softmax(scores, hard=True)[..., 0]
        self.learnt.add_ratio(self.present, stage + 1)
        self.sizes = F.pad(self.present, (self.learnt.prefix, 0), value=1.0).flatten() + SMALLEST
        self.log_sizes = self.sizes.log()
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Nothing changes."""
        return tokens

    def learn(self, net: ReducedViT, images: Tensor, tokens: Ragged, logits: Tensor) -> None:
        """Learn from the teacher, if there is one, at the end of a forward in training."""
        if self.learnt.teacher is not None:
            patches = tokens.dense()[:, self.learnt.prefix :]
            present = patches.new_ones(patches.shape[:2]) if self.present is None else self.present
            self.learnt.add(self.learnt.teacher.loss(images, patches, logits, present))

    def _dropped(self, tokens: Ragged, scores: Tensor, left: int) -> Ragged:
        if left == scores.shape[1]:
            return tokens
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :left] + self.learnt.prefix
        tokens, moves = keep_places(tokens, with_prefix(order, self.learnt.prefix))
        self.moves.append(moves)
        return tokens
