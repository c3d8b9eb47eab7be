"""All scores of one place's maps at once, as a metric: where they point, how they spread."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from zoomexp.metrics.localisation import Size, best_iou, energy_in_box, hits, mass_near_parts, sides
from zoomexp.metrics.map_shape import entropy, gini, regions

BOX: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "pointing_game": hits,
    "energy_in_box": energy_in_box,
    "best_iou": best_iou,
}
SHAPE = ("entropy", "gini", "region_size", "regions")
NAMES = (*BOX, "mass_near_parts", *SHAPE)


class Localisation(Metric):
    """Means over all images seen, in percent, of the scores of `localisation` and `map_shape`; one metric per site.

    `pointing_game`, `energy_in_box`, `best_iou`: over the images whose box has an area. `mass_near_parts`: over those
    with a visible part. `entropy`, `gini`, `region_size` (share of the map): over all. `regions` is a number, not a
    percentage. `compute` leaves out the scores for which no image had what they need.

    Args:
        radius: Of `mass_near_parts`, as a share of the image's side.

    >>> metric = Localisation()
    >>> heat = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    >>> metric.update(heat, torch.tensor([[16.0, 0.0, 32.0, 16.0]]), image_size=32)
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'pointing_game': 100.0, 'energy_in_box': 100.0, 'best_iou': 100.0, 'entropy': 0.0, 'gini': 75.0, \
'region_size': 25.0, 'regions': 1.0}
    """

    full_state_update = False

    def __init__(self, radius: float = 0.1) -> None:
        super().__init__()
        self.radius = radius
        self.add_state("totals", torch.zeros(len(NAMES)), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(NAMES)), dist_reduce_fx="sum")

    def update(self, maps: Tensor, boxes: Tensor | None, image_size: Size, parts: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            maps: (B, 1, H, W), at least 0.
            boxes: (B, 4), x0, y0, x1, y1 in pixels; None where the data have none.
            image_size: Side of the images in pixels, or height and width.
            parts: (B, P, 3), x, y in pixels and visible; None where the data have none.
        """
        maps = maps.detach().float()
        if boxes is not None:
            height, width = sides(image_size)
            x, y = boxes[:, ::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
            there = (x[:, 0] < x[:, 1]) & (y[:, 0] < y[:, 1])
            for name, score in BOX.items():
                self._add(name, score(maps, boxes, image_size), there)
        if parts is not None:
            near = mass_near_parts(maps, parts, image_size, self.radius)
            self._add("mass_near_parts", near, (parts[:, :, 2] > 0).any(1))
        number, size = regions(maps)
        for name, values in zip(SHAPE, (entropy(maps), gini(maps), size, number), strict=True):
            self._add(name, values, torch.ones_like(values, dtype=torch.bool))

    def compute(self) -> dict[str, Tensor]:
        """The means by name."""
        means = 100 * self.totals / self.counts.clamp(min=1)
        found = {name: mean for name, mean, count in zip(NAMES, means, self.counts, strict=True) if count > 0}
        return found | {"regions": found["regions"] / 100}

    def _add(self, name: str, values: Tensor, counted: Tensor) -> None:
        self.totals[NAMES.index(name)] += (values * counted).sum()
        self.counts[NAMES.index(name)] += counted.sum()
