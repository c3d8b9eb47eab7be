"""A host and a decoder: images to a class for every pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp import protocols
from zoomexp.arguments import number
from zoomexp.backbones.headless import unread, without_classifier
from zoomexp.decoders.features import Levels, features_of, levels_of
from zoomexp.errors import InputError


class Segmenter(nn.Module):
    """A network that says the class of every pixel.

    Args:
        host: a network that gives features (see `features`); its classifier is taken away.
        decoder: features `[images, finest, ..., coarsest]` to logits (B, K, h, w) of any size.
        levels: of the host.
        class_layers: names of the decoder's layers whose outputs are the logits.
        enlarge: the host sees the images at so many times their side, at least 1; the logits have the images' own size.

    Shape:
        `(B, C, H, W) -> (B, K, H, W)`; the decoder's logits are interpolated to the images' size, not by a factor: a
        module that enlarges its map makes them larger.
    """

    gives_pixels = replaces_head = True

    def __init__(
        self, host: nn.Module, decoder: nn.Module, levels: Levels, class_layers: Sequence[str], enlarge: float = 1
    ) -> None:
        super().__init__()
        self.host, self.decoder, self.levels, self.enlarge = host, decoder, levels, enlarge
        self.pretrained_cfg = {"classifier": tuple(f"decoder.{name}" for name in class_layers)}  # as timm names it

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        seen = enlarged(images, self.enlarge)
        logits = self.decoder([seen, *features_of(self.host, seen, self.levels)])
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)

    @property
    def inserted(self) -> nn.ModuleDict:
        """The host's inserted modules by place."""
        return protocols.inserted(self.host)

    def get_classifier(self) -> nn.Module:
        """What is no part of the host."""
        return self.decoder


def enlarged(images: Tensor, times: float) -> Tensor:
    """Images (B, C, H, W) at so many times their side, rounded, bilinear."""
    if times == 1:
        return images
    size = [round(times * side) for side in images.shape[2:]]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def prepared(host: nn.Module, example: Tensor, enlarge: float) -> Levels:
    """Take a host's classifier away, and say what features it gives.

    Args:
        host: changed in place.
        example: images (1, C, H, W).
        enlarge: by how much they are enlarged.

    Raises:
        InputError: a host that gives none, or is a segmenter already, or a factor below 1.
    """
    number("decoder.enlarge", enlarge, 1)
    if protocols.gives_pixels(host):
        raise InputError("decoder: the backbone is a whole segmenter already; decoder=none")
    levels = levels_of(host, enlarged(example, enlarge))
    without_classifier(host)
    return levels


def checked(segmenter: Segmenter, example: Tensor) -> Segmenter:
    """A segmenter that has been seen to run.

    What no logit depends on, as the norm that some hosts have before their classifier, is not trained: processes that
    share a run would wait for its gradient.

    Raises:
        InputError: decoder and host do not fit together.
    """
    training = segmenter.training
    segmenter.eval()
    try:
        with torch.enable_grad():
            unread(segmenter, segmenter(example)).requires_grad_(False)
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        kinds = f"{type(segmenter.decoder).__name__} on {type(segmenter.host).__name__}"
        raise InputError(
            f"decoder: {kinds} cannot see {' x '.join(map(str, example.shape[2:]))} pixels: {reason}"
        ) from error
    finally:
        segmenter.train(training)
    return segmenter
