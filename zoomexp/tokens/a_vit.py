"""A-ViT: every token halts at a depth of its own, told by its first channel.

"A-ViT: Adaptive Tokens for Efficient Vision Transformer" (Yin et al., CVPR 2022, arXiv 2112.07658). With x_k^l token k
after block l = 1..L, x_k^l[0] its first channel:

    h_k^l = sigmoid(gate_scale x_k^l[0] - gate_center)
    N_k = the first l with h_k^1 + ... + h_k^l >= 1 - eps, at most L;  r_k = 1 - sum over l < N_k of h_k^l
    x_k = sum over l < N_k of h_k^l x_k^l, + r_k x_k^(N_k); the host's final norm and head read that
    tests      a token that has halted is dropped
    training   it stays, but nothing attends to it any more
    loss       beside the task's:  ponder_weight mean_k (N_k + r_k) + prior_weight max(KL(G || H), 0)
               H_l = mean over batch and tokens of h^l, normalised to sum 1, clamped to [0.01, 0.99]
               G a Gaussian over l = 1..L with mean target_depth and deviation 1, normalised to sum 1

Nothing is learnt beside the host, whose first channel gets a second meaning. An image is done in tests when all that
the head reads has halted: the class token, or, on hosts that average over patches, which the paper does not have, all
patches. Then one token goes on for form's sake, and what the others would have become is not computed.

As in the released code, the last block's h is in H as the gate gives it, though every token halts there.

Deviations: the released code divides the KL divergence by L, centres G on block 9 of 12, and scales G so that its first
8 blocks sum to 0.98. In H a halted token counts 0; there, what its hidden row happens to give. The released gate has
gate_scale = 10 and gate_center = 30.
"""

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp import protocols
from zoomexp.arguments import number
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.transient import Transient


def a_vit(
    vit: VisionTransformer,
    *,
    image_size: int,
    gate_scale: float = 5.0,
    gate_center: float = 10.0,
    eps: float = 0.01,
    ponder_weight: float = 5e-4,
    prior_weight: float = 0.1,
    target_depth: float = 7.0,
) -> ReducedViT:
    """A host whose tokens halt.

    Args:
        vit: the host.
        image_size: side of the images.
        gate_scale: steepness of the halting score, at least 0.
        gate_center: what the scaled first channel has to reach for a score of a half, at least 0.
        eps: how far below 1 the sum of the scores may be, in [0, 1].
        ponder_weight: of the loss on the depth, at least 0.
        prior_weight: of the loss on the distribution of the scores over the blocks, at least 0.
        target_depth: where that distribution is to have its mean, in (0, L].

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    given = {"gate_scale": gate_scale, "gate_center": gate_center}
    for field, value in (given | {"ponder_weight": ponder_weight, "prior_weight": prior_weight}).items():
        number(f"tokens.{field}", value, 0)
    number("tokens.eps", eps, 0, 1)
    prior = _prior(target_depth, len(vit.blocks))
    method = Gate(gate_scale, gate_center, eps, (ponder_weight, prior_weight), prior, _read_by_head(vit))
    return ReducedViT(vit, method, image_size=image_size)


class Gate(Transient, nn.Module):
    """Scores tokens; makes the reducer of a forward, and leaves the loss of one in training in `auxiliary_loss`.

    Copies start without a loss: a tensor in the autograd graph cannot be copied.
    """

    auxiliary_loss: Tensor | None = None
    prior: Tensor

    def __init__(
        self, scale: float, center: float, eps: float, weights: tuple[float, float], prior: Tensor, read: slice
    ) -> None:
        super().__init__()
        self.scale, self.center, self.eps, self.weights, self.read = scale, center, eps, weights, read
        self.register_buffer("prior", prior, persistent=False)

    def forward(self) -> "Halting":
        """A new reducer."""
        self.auxiliary_loss = None
        return Halting(self)

    def scores(self, x: Tensor) -> Tensor:
        """The halting scores h (T,) of tokens x (T, D), in at least single precision."""
        first = x[:, 0].to(torch.promote_types(x.dtype, torch.float32))
        return (self.scale * first - self.center).sigmoid()

    def set_loss(self, ponder: Tensor, scores: Tensor) -> None:
        """From N_k + r_k of all tokens (T,), and the mean scores of the blocks (L,)."""
        tiny = torch.finfo(scores.dtype).tiny
        found = (scores / scores.sum().clamp(min=tiny)).clamp(0.01, 0.99)
        target = self.prior.to(scores.dtype)
        divergence = (target.xlogy(target) - target * found.log()).sum()
        self.auxiliary_loss = self.weights[0] * ponder.mean() + self.weights[1] * divergence.clamp(min=0)


class Halting:
    """The reducer of one forward. Tokens come back at the end: none of its steps are moves."""

    sizes = None
    log_sizes: Tensor | None
    moves: list[Tensor]
    means: list[Tensor]

    def __init__(self, gate: Gate) -> None:
        self.gate, self.log_sizes, self.moves, self.means = gate, None, [], []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Drop the tokens that halted in the block before, or in training hide them."""
        if not i:
            self._begin(tokens)
            return tokens
        self._add(tokens.values, last=False)
        if self.gate.training:
            self._hide(tokens)
            return tokens
        return self._dropped(tokens)

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Nothing changes."""
        return tokens

    def finish(self, tokens: Ragged) -> Ragged:
        """All tokens of the input again, each the weighted sum of what it was."""
        self._add(tokens.values, last=True)
        if self.gate.training:
            self.gate.set_loss(self.ponder, torch.stack(self.means))
        return self.first.with_values(self.sums.to(tokens.values.dtype))

    def _begin(self, tokens: Ragged) -> None:
        self.first, x = tokens, tokens.values
        self.sums = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
        self.rows = torch.arange(len(x), device=x.device)  # of the first tokens: those still there
        self.left = self.sums.new_ones(len(x))  # 1 less the scores so far
        self.running = torch.ones_like(self.left, dtype=torch.bool)
        self.ponder = torch.zeros_like(self.left)
        read = torch.zeros_like(self.running).view(tokens.dense().shape[:2])
        read[:, self.gate.read] = True
        self.read = read.flatten()

    def _add(self, x: Tensor, last: bool) -> None:
        """Take up tokens (T, D) after a block, and find those that halt there."""
        scores = self.gate.scores(x)
        halts = self.running if last else self.running & (self.left - scores <= self.gate.eps)
        weights = torch.where(halts, self.left, scores) * self.running
        self.sums = self.sums.index_add(0, self.rows, weights[:, None] * x)
        if self.gate.training:
            self.means.append((scores * self.running).mean())
            self.ponder = self.ponder + self.running + self.left * halts
        self.left = self.left - scores * (self.running & ~halts)
        self.running = self.running & ~halts

    def _hide(self, tokens: Ragged) -> None:
        """No attention to halted tokens; where all have halted, to the first, as there must be some."""
        seen = self.running.view(tokens.dense().shape[:2]).clone()
        seen[:, 0] |= ~seen.any(1)
        self.log_sizes = torch.zeros_like(self.left).masked_fill(~seen.flatten(), -torch.inf)

    def _dropped(self, tokens: Ragged) -> Ragged:
        """What still runs, of images that are not done; one token of those that are."""
        owner, images = tokens.owner(), self.rows.new_zeros(len(tokens.lengths))
        unread = images.index_add(0, owner, (self.running & self.read[self.rows]).long()) == 0
        self.running = stay = self.running & ~unread[owner]
        first = tokens.offsets()[:-1]
        stay = stay.index_copy(0, first, stay[first] | unread)
        tokens, kept = tokens.where(stay, images.index_add(0, owner, stay.long()))
        self.rows, self.left, self.running = self.rows[kept], self.left[kept], self.running[kept]
        return tokens


def _prior(mean: float, depth: int) -> Tensor:
    """G, (L,)."""
    is_number = isinstance(mean, int | float) and not isinstance(mean, bool)
    if not is_number or not 0 < mean <= depth:
        raise InputError(f"tokens.target_depth must be in (0, {depth}], the host's blocks, got {mean!r}")
    density = (-0.5 * (torch.arange(1, depth + 1) - mean).square()).exp()
    return density / density.sum()


def _read_by_head(vit: VisionTransformer) -> slice:
    """Which tokens of an image the host's head reads."""
    if protocols.reads_patches(vit):
        return slice(0, None)
    if vit.global_pool == "token":
        return slice(0, vit.num_prefix_tokens - vit.num_reg_tokens)
    return slice(0 if vit.pool_include_prefix else vit.num_prefix_tokens, None)
