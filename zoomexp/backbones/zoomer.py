"""The Zoomer as the network of a run, where it is trained."""

from zoomexp.tokens.zoomer import Zoomer


def zoomer(*, num_classes: int, in_chans: int, image_size: int, patch_size: int, blocks: int) -> Zoomer:
    """Build a Zoomer; it scores patches and knows no classes, so `num_classes` is not used.

    Raises:
        InputError: See `Zoomer`.
    """
    return Zoomer(blocks, image_size, patch_size=patch_size, in_chans=in_chans)
