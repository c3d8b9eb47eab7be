"""UPerNet's decoder: averages of the coarsest feature at several scales, a pyramid over the others, all at the finest.

"Unified Perceptual Parsing for Scene Understanding" (Xiao et al., ECCV 2018, arXiv 1807.10221), by
segmentation-models-pytorch. Features from stride 4 on are read; of a host that begins at stride 1, all but its first.
"""

from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.decoders.pyramid import Pyramid, built, check_package, widths
from zoomexp.decoders.segmenter import Segmenter, checked, prepared


def upernet(host: nn.Module, *, num_classes: int, example: Tensor, width: int = 256, enlarge: float = 1) -> Segmenter:
    """Put the decoder onto a host.

    Args:
        host: gives features of several sizes, at least three.
        num_classes: K.
        example: images (1, C, H, W), to learn from what the host gives.
        width: channels of the pyramid.
        enlarge: see `Segmenter`.

    Raises:
        InputError: no package, an argument out of its range, or a host that does not fit.
    """
    check_package("upernet")
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    integer("decoder.width", width)
    levels = prepared(host, example, enlarge)
    channels, gap = widths(host, example, levels, "upernet")
    decoder = built(UPerNetDecoder, channels, len(channels) - 1, width)
    whole = Pyramid(decoder, width, num_classes, 1, gap)
    return checked(Segmenter(host, whole, levels, ["classify"], enlarge), example)
