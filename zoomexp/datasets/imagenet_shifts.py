"""Test sets of ImageNet's classes drawn from elsewhere: renditions, a second sample, sketches.

- ImageNet-R (Hendrycks et al. 2021, arXiv 2006.16241), `imagenet-r/<wnid>`: 30,000 drawings and toys of 200 classes.
- ImageNetV2 (Recht et al. 2019, arXiv 1902.10811), `imagenetv2-matched-frequency-format-val/<0 to 999>`: 10,000
  photographs, chosen as ImageNet's were.
- ImageNet-Sketch (Wang et al. 2019, arXiv 1905.13549), `sketch/<wnid>`: 50,889 sketches.

As of ImageNet-A, accuracy is that of all 1,000 logits. Nothing is downloaded.
"""

from zoomexp.datasets.imagenet_a import ImageNetA
from zoomexp.errors import InputError


class ImageNetShift(ImageNetA):
    """A test set that has to be there; arguments and batches as in `StreamDataModule`."""

    def bring(self) -> None:
        """Say where the data set is to be had.

        Raises:
            InputError: always.
        """
        where = self.data_dir / self.layout
        raise InputError(f"dataset={self.name}: {where} is missing; it is to be had at {self.home}")


class ImageNetR(ImageNetShift):
    """Renditions."""

    name = "imagenet_r"
    layout = "imagenet-r"
    home = "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar"
    counts = (200, 30000)


class ImageNetSketch(ImageNetShift):
    """Sketches."""

    name = "imagenet_sketch"
    layout = "sketch"
    home = "https://github.com/HaohanWang/ImageNet-Sketch"
    counts = (1000, 50889)


class ImageNetV2(ImageNetShift):
    """A second sample; its folders are labels, which sorted as text would be in another order."""

    name = "imagenet_v2"
    layout = "imagenetv2-matched-frequency-format-val"
    home = "https://huggingface.co/datasets/vaishaal/ImageNetV2"
    counts = (1000, 10000)

    def wnid_of(self, folder: str, wnids: list[str]) -> str:
        """Return the class whose label the folder is called; the folder's name where there is none."""
        return wnids[int(folder)] if folder.isdecimal() and int(folder) < len(wnids) else folder
