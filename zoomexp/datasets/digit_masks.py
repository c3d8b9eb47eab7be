"""Scenes of several real digits among fragments of others, with the class of every pixel; no download.

The scenes are those of `digit_scenes` (see `digit_canvas`). A pixel is of a digit where its ink is, also where a
brighter piece lies over it; everything else, fragments included, is background.
"""

import numpy as np

from zoomexp.datasets.digit_canvas import DigitCanvas
from zoomexp.datasets.masked import MaskLoader
from zoomexp.datasets.scenes import Scenes

BACKGROUND = "background"


class DigitMasks(DigitCanvas):
    """One to several digits an image; class 0 is the background, 1 to 10 the digits 0 to 9. Batches: see `masked`.

    Arguments as for `DigitCanvas`.
    """

    name = "digit_masks"

    @property
    def classes(self) -> tuple[str, ...]:
        """The background and the ten digits."""
        return (BACKGROUND, *self._classes)

    def masked(self, name: str) -> Scenes | None:
        """The images of "train", "val" or "test"; None where nothing validates."""
        scenes: Scenes | None = self._parts[name]
        return scenes

    def mask_batches(self, name: str, positions: np.ndarray, batch_size: int) -> MaskLoader:
        """Batches of the images at `positions` of a part, in that order; `index` counts them anew."""
        chosen = self._parts[name].take(positions)
        return MaskLoader(chosen.images, chosen.masks, batch_size=batch_size, mean=self.mean, std=self.std)

    def load(self, part: str) -> MaskLoader:
        """Return the loader of a part."""
        scenes = self._parts[part]
        return MaskLoader(scenes.images, scenes.masks, **self.options(part))
