"""ImageNet-1k (ILSVRC 2012): `<data_dir>/ILSVRC/train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`, brought by the user.

The public test split has no labels: `val` is the test split, and validation images are held out of `train`.
"""

from collections.abc import Mapping
from typing import ClassVar

from zoomexp.datasets.image_folder import ImageFolder


class ImageNet(ImageFolder):
    """ImageNet; classes are the WordNet ids, sorted, as in all published weights. Arguments as in `ImageFolder`."""

    name = "imagenet"
    split_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": ("train",), "test": ("val", "valid", "validation")}
    parts_itself = False
    hint = (
        "get ILSVRC 2012 from https://www.image-net.org/download.php (an account is needed) and unpack it to "
        "train/<wnid>/ and val/<wnid>/"
    )
