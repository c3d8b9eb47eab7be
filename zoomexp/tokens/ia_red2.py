"""IA-RED2: interpreters, trained by their reward, drop patches before each group of blocks.

"IA-RED^2: Interpretability-Aware Redundancy Reduction for Vision Transformers" (Pan et al., NeurIPS 2021, arXiv
2106.12620). The blocks are cut into groups, of four each in a DeiT. Before group g, with patches x_j, a learned policy
token P and H heads of width d:

    I_j = 1/H sum_h sigmoid(F_q(x_j)_h . F_k(P)_h / sqrt(d))
    tests      patches with I_j < threshold leave for good, in each image as many as there are
    training   u_j = 1 with probability I_j, else 0; where it is 0, no patch leaves, but none attends to j from there on
    reward     R(u) = 1 - (share of all patches that are left)^2 if the class is right, else -tau
    loss       beside the task's:  mean_b sum_g -(R_g(u) - R_g(u')) sum_j log p(u_j),  u' what tests would keep

The authors released no code. Choices where the paper says nothing: tau = 1; H is the host's; the product of a head is
divided by sqrt(d); the biases begin such that I_j is about sigmoid(2) = 0.88, so that a trained host begins with all
its patches; the patch with the largest I_j always stays; R_g counts the share after g; u' is run beside u, without
gradient, as the network is in training.

Deviations: all interpreters are trained at once, where the paper trains group after group. The reward trains the
interpreters alone and the task's loss the rest, in one step. A host that averages over patches, which the paper does
not have, averages over those that are left.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import number
from zoomexp.tokens import host
from zoomexp.tokens.moves import keep_where
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks
from zoomexp.transient import Transient

START = 2.0  # the logit of I_j before training


def ia_red2(
    vit: VisionTransformer,
    *,
    image_size: int,
    locations: Sequence[int] = (0, 4, 8),
    threshold: float = 0.5,
    tau: float = 1.0,
) -> ReducedViT:
    """A host that learns by reward which patches to drop.

    Args:
        vit: the host.
        image_size: side of the images.
        locations: the blocks that begin a group, counted from 0.
        threshold: patches with a score below it are dropped in tests, in [0, 1]; 0: none.
        tau: what a wrong class costs, at least 0.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    number("tokens.threshold", threshold, 0, 1)
    number("tokens.tau", tau, 0)
    locations = sorted(blocks(locations, len(vit.blocks)))
    first: Any = vit.blocks[0]
    heads: int = first.attn.num_heads
    method = Interpreters(vit.embed_dim, heads, locations, vit.num_prefix_tokens, threshold, tau)
    return ReducedViT(vit, method, image_size=image_size)


class Interpreter(nn.Module):
    """What patches are worth."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.policy = nn.Parameter(torch.empty(dim))
        for weight in (self.query.weight, self.key.weight, self.policy):
            nn.init.trunc_normal_(weight, std=0.02)
        for layer in (self.query, self.key):  # their product alone is START, once it is scaled
            nn.init.constant_(layer.bias, (START * self.width**-0.5) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (..., D) to scores (...) in [0, 1], in at least single precision."""
        query, key = (y.unflatten(-1, (self.heads, -1)) for y in (self.query(x), self.key(self.policy)))
        scores = (query * key).sum(-1) * self.width**-0.5
        chances: Tensor = scores.to(torch.promote_types(scores.dtype, torch.float32)).sigmoid().mean(-1)
        return chances


class Policy(NamedTuple):
    """What was decided for a batch: `shares` (B, G) of the patches left after each interpreter, `classes` (B,)."""

    shares: Tensor
    classes: Tensor


class Interpreters(Transient, nn.Module):
    """The learnt part; makes the reducer of a forward, and leaves the loss of one in training in `auxiliary_loss`.

    That is a function of the labels, on which the reward depends. Copies start without: a tensor in the autograd graph
    cannot be copied.
    """

    auxiliary_loss: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self, dim: int, heads: int, locations: Sequence[int], prefix: int, threshold: float, tau: float
    ) -> None:
        super().__init__()
        self.locations, self.prefix, self.threshold, self.tau = locations, prefix, threshold, tau
        self.interpreters = nn.ModuleList(Interpreter(dim, heads) for _ in locations)

    def forward(self) -> "Dropping | Sampling":
        """A new reducer."""
        self.auxiliary_loss = None
        return Sampling(self) if self.training else Dropping(self)


class Dropping:
    """The reducer of a forward in tests; `shares` lists, after each interpreter, the share (B,) of patches left."""

    log_sizes = sizes = None
    moves: list[Tensor]
    shares: list[Tensor]

    def __init__(self, learnt: Interpreters) -> None:
        self.learnt, self.moves, self.shares, self.patches = learnt, [], [], 0

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Drop patches before the blocks named."""
        self.patches = self.patches or tokens.sizes[0] - self.learnt.prefix
        if i not in self.learnt.locations:
            return tokens
        scores = self.learnt.interpreters[self.learnt.locations.index(i)](tokens.values)
        stay, lengths = self._stay(tokens.with_values(scores))
        self.shares.append((lengths - self.learnt.prefix) / self.patches)
        tokens, moves = keep_where(tokens, stay, lengths)
        self.moves.append(moves)
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Nothing changes."""
        return tokens

    def _stay(self, scores: Ragged) -> tuple[Tensor, Tensor]:
        """Which tokens stay, (T,) bool, and how many of each image, (B,)."""
        padded, real = scores.padded()
        patches, prefix = real.clone(), self.learnt.prefix
        patches[:, :prefix] = False
        stay = patches & ((padded >= self.learnt.threshold) | is_largest(padded, patches))
        stay[:, :prefix] = True
        return stay.flatten().index_select(0, scores.padded_rows()), stay.sum(1)


class Sampling:
    """The reducer of a forward in training."""

    present: Tensor | None
    shares: list[Tensor]
    log_policy: list[Tensor]
    log_sizes: Tensor | None
    sizes: Tensor | None
    moves: list[Tensor]

    def __init__(self, learnt: Interpreters) -> None:
        self.learnt, self.present, self.shares, self.log_policy = learnt, None, [], []
        self.log_sizes, self.sizes, self.moves = None, None, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Draw which patches stay, and hide the others, before the blocks named."""
        if i not in self.learnt.locations:
            return tokens
        patches = tokens.dense()[:, self.learnt.prefix :]
        present = torch.ones_like(patches[..., 0], dtype=torch.bool) if self.present is None else self.present
        scores = self.learnt.interpreters[self.learnt.locations.index(i)](patches.detach())
        certain = is_largest(scores, present)
        drawn = torch.bernoulli(scores.detach()).bool()
        chances = torch.where(drawn, scores, 1 - scores)
        self.log_policy.append(chances.masked_fill(~present | certain, 1.0).log().sum(1))
        self.present = present & (drawn | certain)
        self.shares.append(self.present.float().mean(1))
        self.sizes = F.pad(self.present.float(), (self.learnt.prefix, 0), value=1.0).flatten()
        self.log_sizes = self.sizes.log()
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Nothing changes."""
        return tokens

    def learn(self, net: ReducedViT, images: Tensor, tokens: Ragged, logits: Tensor) -> None:
        """Compare what was drawn with what tests would keep, at the end of a forward in training; leave the loss."""
        if not self.shares:
            return
        dropping = Dropping(self.learnt)
        with torch.no_grad():
            kept = host.read_out(net.vit, host.encode(net.vit, net.tokenize(images), reduce=dropping))
        drawn = Policy(torch.stack(self.shares, 1), logits.argmax(1))
        tests = Policy(torch.stack(dropping.shares, 1), kept.argmax(1))
        log_policy = torch.stack(self.log_policy, 1)
        self.learnt.auxiliary_loss = partial(policy_loss, log_policy, drawn, tests, self.learnt.tau)


def is_largest(scores: Tensor, allowed: Tensor) -> Tensor:
    """(B, N) bool: the first of the largest of each row's scores (B, N) among those allowed, (B, N) bool.

    >>> is_largest(torch.tensor([[0.9, 0.2, 0.4, 0.4]]), torch.tensor([[False, True, True, True]])).tolist()
    [[False, False, True, False]]
    """
    best = scores.masked_fill(~allowed, -torch.inf).argmax(1, keepdim=True)
    return torch.zeros_like(allowed).scatter(1, best, True)


def reward(policy: Policy, labels: Tensor, tau: float) -> Tensor:
    """R (B, G), labels (B,) int64.

    >>> reward(Policy(torch.tensor([[1.0, 0.5], [0.5, 0.1]]), torch.tensor([3, 3])), torch.tensor([3, 0]), 2.0)
    tensor([[ 0.0000,  0.7500],
            [-2.0000, -2.0000]])
    """
    right = (policy.classes == labels)[:, None]
    return torch.where(right, 1 - policy.shares.square(), -tau)


def policy_loss(log_policy: Tensor, drawn: Policy, kept: Policy, tau: float, targets: Tensor) -> Tensor:
    """The loss.

    Args:
        log_policy: (B, G), sum_j log p(u_j) of each group.
        drawn: u.
        kept: u'.
        tau: what a wrong class costs.
        targets: labels (B,) int64, or shares of classes (B, K) of which the largest is the label.

    Returns:
        A scalar.
    """
    labels = targets if targets.dim() == 1 else targets.argmax(1)
    advantage = reward(drawn, labels, tau) - reward(kept, labels, tau)
    return -(advantage * log_policy).sum(1).mean()
