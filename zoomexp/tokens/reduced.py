"""A vision transformer that drops or merges its tokens on the way: the frame of the methods beside it.

The host embeds images and adds positions, all its patches enter the first block, and the method of the name (`tome`,
`evit`, ...) takes tokens away inside the blocks (see `reduction`). An image's logits do not depend on its batch mates.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp import training_protocols
from zoomexp.arguments import multiple_of
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.moves import followed
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduction import Context, Reducer


class TracedReducer(Reducer, Protocol):
    """A reducer that says where tokens went.

    One with `learn(net, images, tokens, logits)` is called at the end of a forward in training: the `ReducedViT`, its
    images, the tokens after the last norm and the logits.

    Attributes:
        moves: of each of its steps so far, (T,) int64 (see `moves`).
        sizes: (T,) how many patches each token is the mean of, for hosts that average over tokens; None: one each.
    """

    moves: list[Tensor]

    @property
    def sizes(self) -> Tensor | None:
        """See the class."""
        ...


def patches_per_side(vit: VisionTransformer, image_size: int, of: int = 1) -> int:
    """S, which must be a multiple `of` so many.

    Raises:
        InputError: a host that cannot be run, or images whose side is no multiple of that many patches.
    """
    host.check_host(vit)
    height, patch = vit.patch_embed.patch_size
    if height != patch:
        raise InputError(f"tokens: the host's patches must be square, got {height} x {patch}")
    multiple_of("dataset.image_size", image_size, of * patch)
    return image_size // int(patch)


class ReducedViT(nn.Module):
    """A host and a token-reduction method.

    Args:
        vit: the host; its grid need not be that of `image_size`.
        method: gives a new reducer for each forward; a module where it has parameters or differs in training.
        image_size: side of the images, a multiple of the host's patch.

    After each forward: `tokens_per_block`, the tokens of each image that every block's attention sees, a list of (B,)
    int64; `lengths` (B,), those after the last block; `places` and `sizes`.
    Always: `inputs`, what of a batch the forward takes.

    Shape:
        images `(B, C, image_size, image_size)` to logits `(B, K)`.

    Raises:
        InputError: a host that cannot be run, or images of another size.
    """

    inputs = ("image",)

    def __init__(self, vit: VisionTransformer, method: Callable[[], TracedReducer], *, image_size: int) -> None:
        super().__init__()
        self.image_size, self.side = image_size, patches_per_side(vit, image_size)
        self.vit, self.method = vit, method

    @property
    def auxiliary_loss(self) -> Tensor | Callable[[Tensor], Tensor] | None:
        """The loss of a method that learns on its own, or a function of the labels, after a forward in training."""
        return training_protocols.own_loss(self.method)

    @property
    def auxiliary_logits(self) -> dict[str, tuple[float, Tensor]] | None:
        """Further logits that host or method want trained, with their weights (see `tasks.classification`)."""
        parts = (training_protocols.further_logits(part) for part in (self.vit, self.method))
        return {name: value for part in parts for name, value in part.items()} or None

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        reducer = Recorded(self.method())
        tokens = host.encode(self.vit, self.tokenize(images), reduce=reducer)
        self.lengths, self.tokens_per_block = tokens.lengths, reducer.lengths
        self._steps, self._last = reducer.of.moves, tokens.offsets()
        logits = host.read_out(self.vit, tokens, sizes=reducer.of.sizes)
        if self.training and (learn := getattr(reducer.of, "learn", None)) is not None:
            learn(self, images, tokens, logits)
        return logits

    def tokenize(self, images: Tensor) -> Ragged:
        """The host's tokens with positions, prefix first."""
        channels, size = self.vit.patch_embed.proj.in_channels, self.image_size
        if images.shape[1:] != (channels, size, size):
            raise InputError(f"tokens: images must be (B, {channels}, {size}, {size}), got {tuple(images.shape)}")
        patches = host.embed(self.vit, images) + host.patch_positions(self.vit, self.side)
        return Ragged.from_dense(torch.cat([host.prefix(self.vit, len(images)), patches], 1))

    @property
    def places(self) -> Tensor:
        """(B, P + S^2) int64: at which place of its image each token of the input is in the end, -1 if dropped.

        Tokens at one place were merged. P prefix tokens come first, then S x S patches row by row.
        """
        first = self.side**2 + self.vit.num_prefix_tokens
        rows = followed(self._steps, len(self.lengths) * first, self._last.device).view(-1, first)
        return torch.where(rows < 0, rows, rows - self._last[:-1, None])

    @property
    def sizes(self) -> Tensor:
        """(B, N) int64: how many tokens of the input each last token is made of; 0 where an image has fewer than N."""
        places = self.places
        counts = places.new_zeros(len(places), int(self.lengths.max()))
        return counts.scatter_add(1, places.clamp(min=0), (places >= 0).long())


class Recorded:
    """A reducer `of` another kind, which does what it says, and the `lengths` (B,) that it gave each block so far."""

    def __init__(self, reducer: TracedReducer) -> None:
        self.of = reducer
        self.lengths: list[Tensor] = []

    @property
    def log_sizes(self) -> Tensor | None:
        """The other's."""
        return self.of.log_sizes

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """The other's, whose lengths are noted."""
        tokens = self.of.before(i, tokens)
        self.lengths.append(tokens.lengths)
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """The other's."""
        return self.of.between(i, tokens, context)

    def finish(self, tokens: Ragged) -> Ragged:
        """The other's; the tokens as they are where it has none."""
        finish = getattr(self.of, "finish", None)
        return tokens if finish is None else finish(tokens)
