"""Random: tokens dropped without looking, in a few blocks; what any other method has to beat.

Between attention and MLP of the blocks named, ceil(keep_rate N) of N patch tokens stay, all sets of them as likely. In
training each image draws for itself, from torch's global generator as all of a run's random numbers. In eval mode a
generator with a seed of its own draws for each block, the same places in all images and forwards: so an image's logits
depend neither on its batch mates nor on when it comes, and runs with other seeds see other places.
"""

from collections.abc import Callable, Sequence

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.tokens import host
from zoomexp.tokens.evit import with_prefix
from zoomexp.tokens.moves import keep_places
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import ReducedViT
from zoomexp.tokens.reduction import Context
from zoomexp.tokens.schedule import blocks, checked_rate, kept_of


def random(
    vit: VisionTransformer,
    *,
    image_size: int,
    keep_rate: float = 0.7,
    locations: Sequence[int] = (3, 6, 9),
    seed: int = 0,
) -> ReducedViT:
    """A host that drops random tokens.

    Args:
        vit: the host.
        image_size: side of the images.
        keep_rate: share of the patch tokens that stay in each of the blocks, in (0, 1].
        locations: the blocks, counted from 0.
        seed: of eval mode, at least 0.

    Raises:
        InputError: an argument outside these ranges, or a host that cannot be run.
    """
    host.check_host(vit)
    integer("tokens.seed", seed, 0)
    make = RandomDrops(checked_rate(keep_rate), blocks(locations, len(vit.blocks)), vit.num_prefix_tokens, seed)
    return ReducedViT(vit, make, image_size=image_size)


class RandomDrops(nn.Module):
    """Makes the reducer of a forward; knows whether in training."""

    def __init__(self, rate: float, locations: Sequence[int], prefix: int, seed: int) -> None:
        super().__init__()
        self.rate, self.locations, self.prefix, self.seed = rate, locations, prefix, seed
        self.orders: dict[tuple[int, int, torch.device], Tensor] = {}

    def forward(self) -> "RandomReducer":
        """A new reducer."""
        return RandomReducer(self.rate, self.locations, self.prefix, self._drawn if self.training else self._seeded)

    def _drawn(self, i: int, images: int, patches: int, device: torch.device) -> Tensor:
        return torch.rand(images, patches).argsort(1).to(device)

    def _seeded(self, i: int, images: int, patches: int, device: torch.device) -> Tensor:
        if (i, patches, device) not in self.orders:  # remembered on the device: nothing is copied in later forwards
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + i)
            self.orders[i, patches, device] = torch.randperm(patches, generator=generator).to(device)
        return self.orders[i, patches, device].expand(images, -1)


class RandomReducer:
    """The reducer of one forward; `order(i, B, N, device)` gives the patches of each image in random order, (B, N)."""

    log_sizes = sizes = None
    moves: list[Tensor]

    def __init__(
        self, rate: float, locations: Sequence[int], prefix: int, order: Callable[[int, int, int, torch.device], Tensor]
    ) -> None:
        self.rate, self.locations, self.prefix, self.order, self.moves = rate, locations, prefix, order, []

    def before(self, i: int, tokens: Ragged) -> Ragged:
        """Nothing changes."""
        return tokens

    def between(self, i: int, tokens: Ragged, context: Context) -> Ragged:
        """Drop random patches of each image."""
        count, width = tokens.dense().shape[:2]
        left = kept_of(width - self.prefix, self.rate)
        if i not in self.locations or left == width - self.prefix:
            return tokens
        order = self.order(i, count, width - self.prefix, tokens.values.device)
        patches = order[:, :left].sort(1).values + self.prefix
        tokens, moves = keep_places(tokens, with_prefix(patches, self.prefix))
        self.moves.append(moves)
        return tokens
