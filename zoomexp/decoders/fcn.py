"""The smallest decoder: a class for every cell of a few features, summed.

After "Fully Convolutional Networks for Semantic Segmentation" (Long, Shelhamer and Darrell, CVPR 2015, arXiv
1411.4038), whose 32s, 16s and 8s take one, two and three features:

    logits = sum_i resized(W_i f_i + b_i)        over the last features; all at the size of the finest of them

Resizing is bilinear, and not learnt as in the paper.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import integer
from zoomexp.decoders.segmenter import Segmenter, checked, prepared


class FCN(nn.Module):
    """1 x 1 convolutions on the last features, summed.

    Args:
        channels: of each of these features, the finest first.
        num_classes: K.

    Shape:
        a list of features, of which the last are (B, C_i, H_i, W_i), to (B, K, H, W) of the largest of these.
    """

    def __init__(self, channels: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.classify = nn.ModuleList([nn.Conv2d(width, num_classes, 1) for width in channels])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """See the class."""
        last = features[-len(self.classify) :]
        size = max((feature.shape[2:] for feature in last), key=lambda sides: sides[0] * sides[1])
        logits = [layer(feature) for layer, feature in zip(self.classify, last, strict=True)]
        resized = [
            one if one.shape[2:] == size else F.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for one in logits
        ]
        return sum(resized[1:], resized[0])


def fcn(host: nn.Module, *, num_classes: int, example: Tensor, features: int = 4, enlarge: float = 1) -> Segmenter:
    """Put the decoder onto a host.

    Args:
        host: gives features.
        num_classes: K.
        example: images (1, C, H, W), to learn from what the host gives.
        features: how many of the host's last features are read, at least 1; of a host with fewer all of them.
        enlarge: see `Segmenter`.

    Raises:
        InputError: an argument out of its range, or a host that gives no features.
    """
    levels = prepared(host, example, enlarge)
    integer("decoder.features", features)
    decoder = FCN(levels.channels[-features:], num_classes)
    names = [f"classify.{place}" for place in range(len(decoder.classify))]
    return checked(Segmenter(host, decoder, levels, names, enlarge), example)
