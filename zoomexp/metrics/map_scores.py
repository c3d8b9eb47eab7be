"""All scores of one place's maps at once, as a metric: where they point, how they spread."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from zoomexp.metrics.localisation import RADIUS, energy, overlap, pointing
from zoomexp.metrics.map_shape import entropy, gini, regions
from zoomexp.metrics.targets import Size, Target, box_target, mask_target, part_target

Score = Callable[[Tensor, Target], Tensor]
BOX: dict[str, Score] = {"pointing_game": pointing, "energy_in_box": energy, "best_iou": overlap}
MASK: dict[str, Score] = {"mask_hits": pointing, "energy_in_mask": energy, "best_mask_iou": overlap}
PARTS: dict[str, Score] = {"part_hits": pointing, "mass_near_parts": energy, "best_parts_iou": overlap}
SHAPE = ("entropy", "gini", "region_size", "regions")
NAMES = (*BOX, *MASK, *PARTS, *SHAPE)


class Localisation(Metric):
    """Means over all images seen, in percent, of the scores of `localisation` and `map_shape`; one metric per site.

    Each kind of object is scored alike, by the pointing game, by the mass inside and by the best IoU: `pointing_game`,
    `energy_in_box` and `best_iou` over the images whose box has an area; `mask_hits`, `energy_in_mask` and
    `best_mask_iou` over those whose mask is not empty; `part_hits`, `mass_near_parts` and `best_parts_iou`, against
    discs around parts, over those with a visible part. `entropy`, `gini`, `region_size` (share of the map): over all.
    `regions` is a number, not a percentage. `compute` leaves out the scores for which no image had what they need.

    Args:
        radius: Of the discs around parts, as a share of the image's shorter side.

    >>> metric = Localisation()
    >>> heat = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])
    >>> metric.update(heat, torch.tensor([[16.0, 0.0, 32.0, 16.0]]), image_size=32)
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'pointing_game': 100.0, 'energy_in_box': 100.0, 'best_iou': 100.0, 'entropy': 0.0, 'gini': 75.0, \
'region_size': 25.0, 'regions': 1.0}
    """

    full_state_update = False
    totals: Tensor
    counts: Tensor

    def __init__(self, radius: float = RADIUS) -> None:
        super().__init__()
        self.radius = radius
        self.add_state("totals", torch.zeros(len(NAMES)), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(len(NAMES)), dist_reduce_fx="sum")

    def update(
        self,
        maps: Tensor,
        boxes: Tensor | None,
        image_size: Size,
        parts: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, 1, H, W), at least 0.
            boxes: (B, 4), x0, y0, x1, y1 in pixels; None where the data have none.
            image_size: Side of the images in pixels, or height and width.
            parts: (B, P, 3), x, y in pixels and visible; None where the data have none.
            masks: (B, height, width) bool; None where the data have none.
        """
        maps = maps.detach().float()
        grid = tuple(maps.shape[2:])
        if boxes is not None:
            target = box_target(boxes, grid, image_size)
            self._add_scores(BOX, maps, target, target.covered.flatten(1).any(1))
        if masks is not None:
            self._add_scores(MASK, maps, mask_target(masks, grid), masks.flatten(1).any(1))
        if parts is not None:
            self._add_scores(
                PARTS, maps, part_target(parts, grid, image_size, self.radius), (parts[:, :, 2] > 0).any(1)
            )
        number, size = regions(maps)
        for name, values in zip(SHAPE, (entropy(maps), gini(maps), size, number), strict=True):
            self._add(name, values, torch.ones_like(values, dtype=torch.bool))

    def compute(self) -> dict[str, Tensor]:
        """The means by name."""
        means = 100 * self.totals / self.counts.clamp(min=1)
        found = {name: mean for name, mean, count in zip(NAMES, means, self.counts, strict=True) if count > 0}
        return found | {"regions": found["regions"] / 100}

    def _add_scores(self, scores: dict[str, Score], maps: Tensor, target: Target, there: Tensor) -> None:
        for name, score in scores.items():
            self._add(name, score(maps, target), there)

    def _add(self, name: str, values: Tensor, counted: Tensor) -> None:
        self.totals[NAMES.index(name)] += (values * counted).sum()
        self.counts[NAMES.index(name)] += counted.sum()
