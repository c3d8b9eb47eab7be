"""Hosts with random weights, tokens of several lengths, and the reducer that does nothing."""

import torch
from timm.models import VisionTransformer

from zoomexp.tokens.ragged import Ragged

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 5}
LENGTHS = torch.tensor([9, 1, 17, 4, 9])


def randomised(model, seed=1):
    """The model with weights far from where they start, where many a mistake would not show."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2 + 0.5 * (parameter.dim() == 1)
    return model.eval()


def tiny_host(kind=VisionTransformer, **options):
    torch.manual_seed(0)  # what the host draws in training
    return randomised(kind(**TINY | options))


def random_tokens(lengths=LENGTHS):
    return Ragged(torch.randn(int(lengths.sum()), 48, generator=torch.Generator().manual_seed(3)), lengths)


class Nothing:
    """A reducer that does nothing, but takes the ragged path."""

    log_sizes = None

    def before(self, i, tokens):
        return tokens

    def between(self, i, tokens, context):
        return tokens


def close(actual, expected, tolerance=1e-5):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def check_alone(net, images, sizes):
    """What a detector says of each image of a batch, and its tokens, are those of the image alone; returns the batch's.

    Args:
        net: the detector.
        images: (B, C, H, W), in the upper left of which the images lie.
        sizes: (B, 2) their heights and widths.
    """
    together, lengths = net(images, sizes), net.lengths.tolist()
    for i, (height, width) in enumerate(sizes.tolist()):
        alone = net(images[i : i + 1, :, :height, :width])
        close(together.logits[i], alone.logits[0])
        close(together.boxes[i], alone.boxes[0])
        assert net.lengths.tolist() == [lengths[i]]
    return together
