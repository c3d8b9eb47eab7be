"""U-Net's decoder: from the coarsest feature up, each joined with the next finer one.

"U-Net: Convolutional Networks for Biomedical Image Segmentation" (Ronneberger et al., MICCAI 2015, arXiv 1505.04597),
by segmentation-models-pytorch: nearest neighbours up, two 3 x 3 convolutions with batch norm at each size. The decoder
ends at the images' own size.
"""

from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.decoders.pyramid import Pyramid, built, check_package, widths
from zoomexp.decoders.segmenter import Segmenter, checked, prepared

MOST = 256  # channels of a step, as in the package


def unet(host: nn.Module, *, num_classes: int, example: Tensor, width: int = 16, enlarge: float = 1) -> Segmenter:
    """Put the decoder onto a host.

    Args:
        host: gives features of several sizes.
        num_classes: K.
        example: images (1, C, H, W), to learn from what the host gives.
        width: channels at the images' size; twice as many at each coarser one, at most 256.
        enlarge: see `Segmenter`.

    Raises:
        InputError: no package, an argument out of its range, or a host that does not fit.
    """
    check_package("unet")
    from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

    integer("decoder.width", width)
    levels = prepared(host, example, enlarge)
    channels, gap = widths(host, example, levels, "unet")
    steps = [min(max(MOST, width), width * 2**place) for place in reversed(range(len(channels) - 1))]
    decoder = built(UnetDecoder, encoder_channels=channels, decoder_channels=steps, n_blocks=len(steps))
    whole = Pyramid(decoder, width, num_classes, 3, gap)
    return checked(Segmenter(host, whole, levels, ["classify"], enlarge), example)
