"""Zoomer: a small CNN that says from an image alone which patches deserve a closer look.

Paper: "Vision Transformers Need Zoomer" (ICLR 2026 submission 6623), section 3.2 and figure 3; the head's exact shape
is that of the authors' released code. n basic blocks are ResNet-18 cut off after layer1, layer2 or layer3:

    stem, blocks      16 S x 16 S pixels to C channels: C = 64, 128, 256 at stride 4, 8, 16 for n = 2, 4, 6
    average pooling   to 2 S x 2 S: halves n=2's map, leaves n=4's, repeats each cell of n=6's 2 x 2
    1 x 1 convolution C -> 1 with bias, ReLU, no norm
    linear            (2 S)^2 -> S^2 with bias, sigmoid: one score in (0, 1) per patch of 16 x 16 pixels

At 224 pixels (S = 14) these are the paper's 28 x 28 pooling and Linear(784, 196), with 311,429, 837,061 and 2,936,901
parameters and 0.581, 0.992 and 1.403 GMACs. The paper has no other size; here the pooled grid and the linear layer grow
with the patch grid, so a Zoomer is made for one image size. Initialisation: torchvision's for ResNets (random), and
PyTorch's default for the linear layer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from zoomexp.arguments import integer, multiple_of, one_of
from zoomexp.errors import InputError

PATCH = 16
BLOCKS = (2, 4, 6)


class Zoomer(nn.Module):
    """Importance scores of an image's patches; `gives_maps` tells tasks that these are no logits.

    Args:
        blocks: basic blocks n: 2, 4 or 6.
        image_size: side of the images in pixels, a multiple of the patch's.
        patch_size: side of the patches that are scored, in pixels.
        in_chans: channels of the images.

    Shape:
        `(B, in_chans, image_size, image_size) -> (B, S, S)` in (0, 1), with S = image_size / patch_size.

    Raises:
        InputError: another number of blocks, a size that is no multiple of the patch's, or images of another size.
    """

    gives_maps = True

    def __init__(self, blocks: int = 2, image_size: int = 224, *, patch_size: int = PATCH, in_chans: int = 3) -> None:
        super().__init__()
        one_of("zoomer.blocks", blocks, BLOCKS)
        integer("zoomer.patch_size", patch_size)
        multiple_of("zoomer.image_size", image_size, patch_size)
        self.image_size, self.side = image_size, image_size // patch_size
        resnet = resnet18(weights=None)
        stem = (_first(resnet.conv1, in_chans), resnet.bn1, resnet.relu, resnet.maxpool)
        stages = (resnet.layer1, resnet.layer2, resnet.layer3)[: blocks // 2]
        self.features = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(2 * self.side))
        self.squeeze = nn.Conv2d(stages[-1][-1].conv2.out_channels, 1, 1)
        self.scores = nn.Linear((2 * self.side) ** 2, self.side**2)

    def forward(self, images: Tensor) -> Tensor:
        """Score the patches of images (B, in_chans, image_size, image_size)."""
        if images.shape[2:] != (self.image_size, self.image_size):
            size = f"{self.image_size} x {self.image_size}"
            raise InputError(f"zoomer.image_size: made for images of {size}, got {tuple(images.shape[2:])}")
        cells = torch.relu(self.squeeze(self.features(images))).flatten(1)
        scores: Tensor = torch.sigmoid(self.scores(cells)).unflatten(1, (self.side, self.side))
        return scores


def _first(conv: nn.Conv2d, in_chans: int) -> nn.Conv2d:
    """ResNet's first convolution for images of another number of channels, initialised as ResNet does."""
    if in_chans == conv.in_channels:
        return conv
    like: Any = conv  # torch declares its sizes as tuples of any length
    other = nn.Conv2d(in_chans, like.out_channels, like.kernel_size, like.stride, like.padding, bias=False)
    nn.init.kaiming_normal_(other.weight, mode="fan_out", nonlinearity="relu")
    return other
