"""Scenes of several real digits among fragments of others, with a box and a label for each digit; no download.

See `digit_canvas` for how they are made.
"""

import numpy as np

from zoomexp.datasets.digit_canvas import DigitCanvas
from zoomexp.datasets.scenes import SceneLoader, Scenes


class DigitScenes(DigitCanvas):
    """One to several digits an image, classes 0 to 9; arguments as for `DigitCanvas`. Batches: see `scenes`."""

    name = "digit_scenes"

    def scenes(self, name: str) -> Scenes | None:
        """The images of "train", "val" or "test"; None where nothing validates."""
        scenes: Scenes | None = self._parts[name]
        return scenes

    def scene_batches(self, name: str, positions: np.ndarray, batch_size: int) -> SceneLoader:
        """Batches of the images at `positions` of a part, in that order; `index` counts them anew."""
        return SceneLoader(self._parts[name].take(positions), batch_size=batch_size, mean=self.mean, std=self.std)

    def load(self, part: str) -> SceneLoader:
        """Return the loader of a part."""
        return SceneLoader(self._parts[part], **self.options(part))
