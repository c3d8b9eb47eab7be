"""DeiT III's 3-Augment (Touvron, Cord and Jegou 2022, arXiv 2204.07118, section 3.2), after the window and the flip.

One of three changes, each as likely as the others and always made: to grey, solarised, or blurred (a Gaussian of
standard deviation 0.1 to 2 pixels); then colour jitter 0.3. Nothing moves. The pieces are torchvision's and timm's.
"""

from functools import partial

import numpy as np
from PIL import Image

JITTER = 0.3  # brightness, contrast and saturation are each multiplied by a factor from 1 - JITTER to 1 + JITTER
SOLARISED = 128  # this and all brighter values v become 255 - v


class ThreeAugment:
    """Changes the look of an image; draws from the global generators of torch and `random`."""

    def __init__(self) -> None:
        from timm.data.auto_augment import gaussian_blur_rand
        from torchvision.transforms import v2

        blur = partial(gaussian_blur_rand, factor=1.0)
        one = v2.RandomChoice([v2.Grayscale(3), v2.RandomSolarize(SOLARISED, p=1.0), blur])
        self.change = v2.Compose([one, v2.ColorJitter(JITTER, JITTER, JITTER)])

    def __call__(self, image: Image.Image) -> tuple[Image.Image, list[np.ndarray]]:
        """Return the changed image, and no matrix, since it was not moved."""
        return self.change(image), []
