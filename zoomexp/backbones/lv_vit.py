"""LV-ViT: a vision transformer with a convolutional stem, whose patches are trained to tell the class, too.

"All Tokens Matter: Token Labeling for Training Better Vision Transformers" (Jiang et al., NeurIPS 2021, arXiv
2104.10858). Its small model, LV-ViT-S, has 16 blocks of width 384 with 6 heads and MLPs of three times the width:

    patches    conv 7x7 / 2 - BN - ReLU, twice conv 3x3 - BN - ReLU, all of 64 channels; conv 8x8 / 8
    block      x = x + attention(norm(x)) / 2;  x = x + MLP(norm(x)) / 2;  no biases at queries, keys and values
    tests      logits = head(class token) + 0.5 max over patches of aux_head(patch)
    training   logits = head(class token);  loss = CE(logits, y) + w mean over patches of CE(aux_head(patch), y)

26.15 M parameters, 6.57 G multiply-accumulates at 224 pixels. It is timm's `VisionTransformer` for the rest, so that
insertion and the token methods work on it as on any other; positions are resampled for images of another size.

with w = 0.5 in the paper and 1 in its released code, which trains with MixToken besides (`mix_token`).

y is a teacher's label of each patch with `relevance=dense_labels`, and else the image's label for every patch, as in
the released code. The paper's teacher is an NFNet-F6, whose weights are not here: 83.3 % are out of reach without it.

Deviations: weights start as timm's do.

Where a token method leaves images with different numbers of tokens in training, an image's last one counts for those
that it has less than the longest. Where DynamicViT learns from the host as it came, that host answers as in tests.
"""

from functools import partial
from typing import Any, cast

import torch
from timm.layers import LayerNorm, PatchEmbed
from timm.models import VisionTransformer
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from zoomexp.arguments import boolean, finite, integer, multiple_of, number, one_of
from zoomexp.backbones.mix_token import MixToken
from zoomexp.errors import InputError
from zoomexp.transient import Transient
from zoomexp.weights.starting import start_from

STEM_WIDTH = 64
PATCHES_IN_TESTS = 0.5  # weight of their logits
NAMES = ("lv_vit_s", "lv_vit")


class Convolutions(nn.Sequential):
    """The stem: images (B, in_channels, H, W) to (B, embed_dim, H / patch_size, W / patch_size)."""

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int) -> None:
        layers: list[nn.Module] = []
        for channels, kernel, stride in ((in_channels, 7, 2), (STEM_WIDTH, 3, 1), (STEM_WIDTH, 3, 1)):
            layers.append(nn.Conv2d(channels, STEM_WIDTH, kernel, stride, kernel // 2, bias=False))
            layers += [nn.BatchNorm2d(STEM_WIDTH), nn.ReLU(inplace=True)]
        super().__init__(*layers, nn.Conv2d(STEM_WIDTH, embed_dim, patch_size // 2, patch_size // 2))
        self.in_channels = in_channels


class ConvolutionalEmbed(PatchEmbed):
    """timm's patch embedding with more than one convolution."""

    def __init__(self, *, in_chans: int, embed_dim: int, patch_size: int, **options: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, patch_size=patch_size, **options)
        self.proj = Convolutions(in_chans, embed_dim, patch_size)  # type: ignore[assignment]  # timm has one


class Halved(nn.Module):
    """Half of what comes in, where timm's blocks scale their branches."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x / 2


class LVViT(Transient, VisionTransformer):
    """LV-ViT.

    Args:
        token_weight: of the patches' loss.
        mix_token: whether training mixes images in pairs after the stem (see `mix_token`).
        options: those of timm's `VisionTransformer`.

    Shape:
        images `(B, in_chans, H, W)` to logits `(B, num_classes)`, H and W multiples of the patch.

    After a forward in training: `auxiliary_logits`, {"patches": (token_weight, (B, N, num_classes))}, each patch in the
    place of its own image; `mixed_share`, what of an image was its partner's. Copies start without the logits: a tensor
    in the autograd graph cannot be copied.
    """

    reads_patches = learns_patches = True
    auxiliary_logits: dict[str, tuple[float, Tensor]] | None = None

    def __init__(self, *, token_weight: float = 0.5, mix_token: bool = False, **options: Any) -> None:
        norm = partial(LayerNorm, eps=1e-5)
        super().__init__(
            **options, qkv_bias=False, norm_layer=norm, embed_layer=ConvolutionalEmbed, dynamic_img_size=True
        )
        self.token_weight, self.mixes_tokens, self.mixing = token_weight, mix_token, MixToken()
        if mix_token:
            cast(Convolutions, self.patch_embed.proj).append(self.mixing)
        self.aux_head = nn.Linear(self.embed_dim, self.num_classes)
        self._init_weights(self.aux_head)
        for block in self.blocks:
            block.ls1, block.ls2 = Halved(), Halved()

    @property
    def mixed_share(self) -> float:
        """See the class."""
        return self.mixing.share

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, 1 + N, D) to logits (B, num_classes), or to the class token's features (B, D)."""
        y = super().forward_head(x, pre_logits)
        if pre_logits:
            return y
        patches: Tensor = self.aux_head(x[:, self.num_prefix_tokens :])
        if not self.training:
            self.auxiliary_logits = None
            return y + PATCHES_IN_TESTS * patches.amax(1)
        if torch.is_grad_enabled():  # a forward beside the one that is trained leaves none
            self.auxiliary_logits = {"patches": (self.token_weight, self.mixing.undone(patches))}
        return y


def lv_vit(
    *,
    num_classes: int,
    in_chans: int,
    image_size: int = 224,
    name: str = "lv_vit",
    pretrained: bool = False,
    weights: str | None = None,
    patch_size: int = 16,
    embed_dim: int = 384,
    depth: int = 16,
    num_heads: int = 6,
    mlp_ratio: float = 3.0,
    drop_path_rate: float = 0.1,
    token_weight: float = 0.5,
    mix_token: bool = False,
) -> LVViT:
    """Build an LV-ViT; the defaults are those of LV-ViT-S.

    Args:
        num_classes: K.
        in_chans: channels of the images.
        image_size: side of the images, a multiple of the patch.
        name: "lv_vit_s" or "lv_vit".
        pretrained: there are no public weights that timm has, so only False is possible.
        weights: a file whose weights it starts from (see `zoomexp.weights`); positions are resampled.
        patch_size: side of a patch, even.
        embed_dim: D, a multiple of `num_heads`.
        depth: number of blocks.
        num_heads: h.
        mlp_ratio: width of the MLPs over D.
        drop_path_rate: stochastic depth at the last block, in [0, 1); it falls to 0 at the first.
        token_weight: of the patches' loss in training, at least 0.
        mix_token: whether training mixes images in pairs after the stem (see `mix_token`).

    Raises:
        InputError: an argument outside these ranges.
    """
    one_of("backbone.name", name, NAMES)
    boolean("backbone.pretrained", pretrained)
    if pretrained:
        raise InputError("backbone.pretrained=true: lv_vit has no pretrained weights here; only false is possible")
    multiple_of("backbone.patch_size", patch_size, 2)
    multiple_of("backbone.image_size", image_size, patch_size)
    integer("backbone.depth", depth)
    integer("backbone.num_heads", num_heads)
    multiple_of("backbone.embed_dim", embed_dim, num_heads)
    finite("backbone.drop_path_rate", drop_path_rate, lambda rate: 0 <= rate < 1, "a number in [0, 1)")
    number("backbone.token_weight", token_weight, 0)
    boolean("backbone.mix_token", mix_token)
    net = LVViT(
        token_weight=token_weight,
        mix_token=mix_token,
        num_classes=num_classes,
        in_chans=in_chans,
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        drop_path_rate=drop_path_rate,
    )
    if weights is not None:
        start_from(net, weights, checkpoint_filter_fn)
    return net
