"""A Zoomer made ready for inference: norms folded into convolutions, channels last, its stem on padded channels.

A batch norm in eval mode is a linear map of each channel, so the convolution before it can do it. On a GPU a
convolution over three channels cannot use the matrix units: images get channels of zeros, and its kernel zeros there.
"""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from zoomexp.tokens.scorers.zoomer import ZoomerScores
from zoomexp.tokens.zoomer import Zoomer

STEM_CHANNELS = 8  # what cuDNN's kernels for half precision want a multiple of


class PaddedConv(nn.Module):
    """A convolution whose images and kernel are filled up with channels of zeros."""

    def __init__(self, conv: nn.Conv2d, channels: int) -> None:
        super().__init__()
        self.conv, self.missing = conv, channels - conv.in_channels
        conv.weight = nn.Parameter(F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, self.missing)), requires_grad=False)
        conv.in_channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """As the convolution."""
        y: Tensor = self.conv(F.pad(images, (0, 0, 0, 0, 0, self.missing)))
        return y


def fold(net: nn.Module) -> None:
    """Put every batch norm into the convolution before it, in place; the network must be in eval mode."""
    for module in net.modules():
        pairs = [(name, child) for name, child in module.named_children()]
        for (name, child), (after, norm) in pairwise(pairs):
            if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                kind = child.weight.dtype  # in single precision: products of roundings add up
                setattr(module, name, fuse_conv_bn_eval(child.float(), norm.float()).to(kind))
                setattr(module, after, nn.Identity())


def pad_stem(net: Zoomer, channels: int = STEM_CHANNELS) -> None:
    """Fill up the channels of a Zoomer's first convolution, in place."""
    stem = net.features[0]
    if isinstance(stem, nn.Conv2d) and stem.in_channels < channels:
        net.features[0] = PaddedConv(stem, channels)


def fold_scorers(net: nn.Module) -> None:
    """Make the Zoomers of a network ready, in place."""
    for scores in [module for module in net.modules() if isinstance(module, ZoomerScores)]:
        fold(scores.zoomer)
        if next(scores.parameters()).is_cuda:
            pad_stem(scores.zoomer)
        cast(Any, scores).to(memory_format=torch.channels_last)  # torch declares it of tensors alone
