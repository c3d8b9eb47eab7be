"""What the decoders of segmentation-models-pytorch share: the features they take, and the layer that names classes."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from zoomexp.decoders.features import Levels
from zoomexp.errors import InputError

PACKAGE = "segmentation_models_pytorch"


class Pyramid(nn.Module):
    """A decoder on images and features, and a convolution to the classes.

    Args:
        decoder: takes features, that of stride 1 first, and gives (B, width, h, w).
        width: its channels.
        num_classes: K.
        kernel_size: of the convolution.
        gap: whether the host begins at stride 4, so that a feature without channels stands at stride 2.

    Shape:
        `[images (B, C, H, W), finest, ..., coarsest]` to logits (B, K, h, w).
    """

    def __init__(self, decoder: nn.Module, width: int, num_classes: int, kernel_size: int, gap: bool) -> None:
        super().__init__()
        from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head

        self.decoder, self.gap = decoder, gap
        self.classify = nn.Conv2d(width, num_classes, kernel_size, padding=kernel_size // 2)
        initialize_decoder(self.decoder)
        initialize_head(self.classify)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """See the class."""
        images, *levels = features
        if self.gap:
            height, width = (side // 2 for side in images.shape[2:])
            levels.insert(0, images.new_empty(len(images), 0, height, width))
        logits: Tensor = self.classify(self.decoder([images, *levels]))
        return logits


def widths(host: nn.Module, example: Tensor, levels: Levels, name: str) -> tuple[list[int], bool]:
    """The channels of the features a decoder takes, the images' first, and whether there is a gap at stride 2.

    Raises:
        InputError: the package is not there, or the host has no pyramid.
    """
    if not levels.is_pyramid or levels.strides[0] > 4:
        kind = type(host).__name__
        raise InputError(f"decoder={name}: needs features of several sizes, and {kind} gives one; choose decoder=fcn")
    gap = levels.strides[0] == 4
    return [example.shape[1], *[0] * gap, *levels.channels], gap


def check_package(name: str) -> None:
    """Refuse a decoder whose package is not installed.

    Raises:
        InputError: it is not.
    """
    if find_spec(PACKAGE) is None:
        raise InputError(
            f"decoder={name}: needs a package: pip install 'zoomexp[segmentation]' or segmentation-models-pytorch; "
            "decoder=fcn needs none"
        )


def built(make: Any, *arguments: Any, **options: Any) -> nn.Module:
    """A decoder of the package.

    Raises:
        InputError: it cannot be built for these features.
    """
    try:
        decoder: nn.Module = make(*arguments, **options)
    except (ValueError, IndexError) as error:
        raise InputError(f"decoder: {error}") from error
    return decoder
