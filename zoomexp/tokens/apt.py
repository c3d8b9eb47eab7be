"""APT: large patches where an image holds little, small ones elsewhere; the entropy of grey levels decides.

"Accelerating Vision Transformers with Adaptive Patch Sizes" (Choudhury et al., arXiv 2510.18091). Patches of sizes
p 2^i, i = 0 .. scales - 1, p the host's. From the largest down, a patch whose entropy is below the threshold of its
size becomes one token, any other is cut in four; those of size p are not asked (see `entropy`, `chosen`). A token is

    E(resize_p(P)) + Z(C^i([E(P_1) ... E(P_4^i)])) + position                                              (eq. 2)

E is the host's patch embedding; the patch P is shown to it at p x p pixels, and its parts P_j as they are, on a grid of
2^i x 2^i; C is one 2 x 2 convolution of stride 2, applied i times; Z a linear layer that starts at 0, so that the
network starts as if patches were only resized. Positions are the host's, resampled to each size's grid. Order: prefix,
small patches row by row, larger ones. For patches of size p there is E(P) + position alone.

Paper and released code agree but for a table of 4 D numbers in the code that nothing uses, left out here. Deviations:
an image whose side is no multiple of the largest patch is refused; where the host averages over tokens, each counts as
many times as it has patches.
"""

from collections.abc import Sequence

import torch
from timm.layers import PatchEmbed
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import integer, list_of, number, one_of
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.patches import embed_patches, patches_at
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.reduced import patches_per_side

BINS = 512
LUMA = (0.2989, 0.5870, 0.1140)


class APT(nn.Module):
    """A host with patches of several sizes.

    Args:
        vit: the host; its grid need not be that of `image_size`.
        image_size: side of the images, a multiple of the largest patch.
        scales: how many sizes of patches there are, 2 to 4.
        thresholds: entropy in bits below which a patch stays whole, at least 0: one for all sizes, or a list of
            scales - 1, that of 2 p first.
        embedding: "conv", eq. 2, or "resize", without its second term.
        mean: of the data's normalisation, for each channel, or for all.
        std: likewise.

    After each forward: `lengths` (B,) int64, tokens of each image with the prefix; `areas`, masks (B, S_i, S_i) bool by
    size, what became a token; `scores` (B, S, S), the tokens that a small patch has, of its own or a share: 1, 1/4, ...

    Shape:
        images `(B, C, image_size, image_size)`, normalised, to logits `(B, K)`.

    Raises:
        InputError: an argument outside these ranges, a host that cannot be run, or other images.
    """

    inputs = ("image",)
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        image_size: int,
        scales: int = 2,
        thresholds: float | Sequence[float] = 5.5,
        embedding: str = "conv",
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        integer("tokens.scales", scales, 2, 4)
        one_of("tokens.embedding", embedding, ("conv", "resize"))
        self.thresholds = _thresholds(thresholds, scales - 1)
        self.image_size, self.scales = image_size, scales
        self.side, largest = patches_per_side(vit, image_size), 2 ** (scales - 1)
        if self.side % largest:
            multiple = largest * image_size // self.side
            raise InputError(
                f"tokens.scales={scales} needs images of a multiple of {multiple} pixels, got {image_size}"
            )
        if type(vit.patch_embed) is not PatchEmbed:
            kind = type(vit.patch_embed).__name__
            raise InputError(f"tokens: apt embeds single patches by timm's PatchEmbed, got {kind}")
        for name, values in {"mean": mean, "std": std}.items():
            list_of(f"tokens.{name}", values, (int, float), "numbers, one for each channel")
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None], persistent=False)
        self.vit, width = vit, vit.embed_dim
        self.join = nn.Conv2d(width, width, 2, 2) if embedding == "conv" else None
        self.zero = nn.Linear(width, width) if embedding == "conv" else None
        if self.zero is not None:
            nn.init.zeros_(self.zero.weight)
            nn.init.zeros_(self.zero.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        tokens, sizes = self.tokenize(images)
        return host.read_out(self.vit, host.encode(self.vit, tokens), sizes=sizes)

    def tokenize(self, images: Tensor) -> tuple[Ragged, Tensor]:
        """The sequences that the host is given, and of how many small patches each token is, (T,)."""
        channels, size = self.vit.patch_embed.proj.in_channels, self.image_size
        if images.shape[1:] != (channels, size, size):
            raise InputError(f"tokens: images must be (B, {channels}, {size}, {size}), got {tuple(images.shape)}")
        self.areas = chosen(self.entropies(images), self.thresholds, self.side)
        self.scores = sum(_enlarged(area, 2**i) / 4**i for i, area in enumerate(self.areas))
        prefix = host.prefix(self.vit, len(images))
        values = [prefix.flatten(0, 1)]
        owners = [torch.arange(len(images), device=images.device).repeat_interleave(prefix.shape[1])]
        for i, area in enumerate(self.areas):
            image, row, column = area.nonzero(as_tuple=True)
            values.append(self._embedded(images, i, image, row, column))
            owners.append(image)
        owner = torch.cat(owners)
        order = owner.argsort(stable=True)
        self.lengths = owner.bincount(minlength=len(images))
        sizes = torch.cat([owner.new_full((len(part),), 4 ** max(i - 1, 0)) for i, part in enumerate(owners)])
        kind = torch.promote_types(values[0].dtype, values[1].dtype)
        together = torch.cat([part.to(kind) for part in values])
        return Ragged(together.index_select(0, order), self.lengths), sizes[order].float()

    @torch.no_grad()
    def entropies(self, images: Tensor) -> list[Tensor]:
        """Of each size but the smallest, (B, S_i, S_i), in bits."""
        pixels = (images.float() * self.std + self.mean).mul(255).clamp(0, 255)
        return [entropy(pixels, self.side // 2**i) for i in range(1, self.scales)]

    def _embedded(self, images: Tensor, i: int, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The tokens (T, D) of patches of size p 2^i at `row` and `column` of `image`, (T,) each."""
        side, times, layer = self.side // 2**i, 2**i, self.vit.patch_embed
        small = F.interpolate(images, scale_factor=1 / times, mode="bilinear") if i else images
        x = embed_patches(layer, patches_at(small, side, image, row, column))
        if i and self.join is not None and self.zero is not None:
            steps = torch.arange(times, device=row.device)
            rows = (row[:, None, None] * times + steps[:, None]).expand(-1, -1, times)
            columns = (column[:, None, None] * times + steps).expand(-1, times, -1)
            parts = patches_at(images, self.side, image.repeat_interleave(times**2), rows.flatten(), columns.flatten())
            grid = embed_patches(layer, parts).unflatten(0, (-1, times, times)).permute(0, 3, 1, 2)
            for _ in range(i):
                grid = self.join(grid)
            x = x + self.zero(grid.flatten(1))
        return x + host.patch_positions(self.vit, side).index_select(0, row * side + column)


def entropy(pixels: Tensor, side: int) -> Tensor:
    """Entropy of the grey levels of each patch, in bits.

    Args:
        pixels: (B, C, H, H) in 0..255; grey is .2989 R + .5870 G + .1140 B, or the first of other than 3 channels.
        side: patches a side.

    Returns:
        (B, side, side): -sum P log2(P + 1e-10) over 512 equal bins of 0..256.

    >>> entropy(torch.tensor([[[[0.0, 0.0], [0.0, 200.0]]]]), 1).round(decimals=4)  # 3/4 and 1/4
    tensor([[[0.8113]]])
    """
    weights = pixels.new_tensor(LUMA)[:, None, None]
    grey = (pixels * weights).sum(1) if pixels.shape[1] == 3 else pixels[:, 0]
    size = grey.shape[-1] // side
    level = (grey * (BINS / 256)).long().clamp(0, BINS - 1)
    level = level.unflatten(2, (side, size)).unflatten(1, (side, size)).transpose(2, 3).flatten(3)
    counts = torch.zeros(*level.shape[:3], BINS, device=level.device)
    share = counts.scatter_add_(3, level, torch.ones_like(level, dtype=counts.dtype)) / size**2
    return -(share * torch.log2(share + 1e-10)).sum(3)


def chosen(entropies: Sequence[Tensor], thresholds: Sequence[float], side: int) -> list[Tensor]:
    """What becomes a token, by size, the smallest first: masks (B, S_i, S_i) bool that cover each image once.

    Args:
        entropies: of the sizes but the smallest, (B, S_i, S_i), S_i = side / 2^i.
        thresholds: likewise.
        side: patches of the smallest size a side.
    """
    free = torch.ones_like(entropies[-1], dtype=torch.bool)
    areas: list[Tensor] = []
    for values, threshold in zip(reversed(entropies), reversed(thresholds), strict=True):
        free = _enlarged(free, values.shape[1] // free.shape[1])
        areas.append(free & (values < threshold))
        free = free & ~areas[-1]
    return [_enlarged(free, side // free.shape[1]), *reversed(areas)]


def _enlarged(mask: Tensor, times: int) -> Tensor:
    return mask.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _thresholds(given: float | Sequence[float], count: int) -> list[float]:
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * count
    if len(values) != count:
        raise InputError(f"tokens.thresholds must be one number or a list of scales - 1 = {count}, got {len(values)}")
    for value in values:
        number("tokens.thresholds", value, 0)
    return values
