"""A feature pyramid's decoder: the four coarsest features, each summed with what is above it, then all of them.

"Panoptic Feature Pyramid Networks" (Kirillov et al., CVPR 2019, arXiv 1901.02446), by segmentation-models-pytorch. Its
decoder doubles every map; here each is brought to the size of what it is summed with, which is the same where sizes
double, and holds for images of any size and for modules that enlarge their map anywhere.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.arguments import integer, number
from zoomexp.decoders.pyramid import Pyramid, built, check_package, widths
from zoomexp.decoders.segmenter import Segmenter, checked, prepared
from zoomexp.errors import InputError

GROUPS = 32  # of the group norms


class AnySize(nn.Module):
    """The package's decoder on features of any size.

    Args:
        decoder: its `FPNDecoder`.

    Shape:
        a list of features, of which the last four are (B, C_i, H_i, W_i), to (B, width, H, W) of the first of these.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder: Any = decoder

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """See the class."""
        own, (*skips, top) = self.decoder, features[-4:]
        maps = [own.p5(top)]
        for block, skip in zip((own.p4, own.p3, own.p2), reversed(skips), strict=True):
            above = F.interpolate(maps[-1], size=skip.shape[2:], mode=block.interpolation_mode)
            maps.append(above + block.skip_conv(skip))
        said = [block(one) for block, one in zip(own.seg_blocks, maps, strict=True)]
        size = skips[0].shape[2:]
        fitted = [
            one if one.shape[2:] == size else F.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for one in said
        ]
        summed: Tensor = own.dropout(own.merge(fitted))
        return summed


def fpn(
    host: nn.Module,
    *,
    num_classes: int,
    example: Tensor,
    pyramid_width: int = 256,
    width: int = 128,
    dropout: float = 0.2,
    enlarge: float = 1,
) -> Segmenter:
    """Put the decoder onto a host.

    Args:
        host: gives features of several sizes, at least three.
        num_classes: K.
        example: images (1, C, H, W), to learn from what the host gives.
        pyramid_width: channels of the pyramid.
        width: channels before the classes, a multiple of 32.
        dropout: of whole channels before the classes, 0 to 1.
        enlarge: see `Segmenter`.

    Raises:
        InputError: no package, an argument out of its range, or a host that does not fit.
    """
    check_package("fpn")
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

    integer("decoder.pyramid_width", pyramid_width)
    integer("decoder.width", width)
    number("decoder.dropout", dropout, 0, 1)
    if width % GROUPS:
        raise InputError(f"decoder.width={width} must be a multiple of {GROUPS}, the groups of its norms")
    levels = prepared(host, example, enlarge)
    channels, gap = widths(host, example, levels, "fpn")
    options = {"pyramid_channels": pyramid_width, "segmentation_channels": width, "dropout": dropout}
    decoder = built(FPNDecoder, channels, len(channels) - 1, **options)
    whole = Pyramid(AnySize(decoder), width, num_classes, 1, gap)
    return checked(Segmenter(host, whole, levels, ["classify"], enlarge), example)
