"""Does a map point at the object? Scores of maps against ground-truth boxes."""

import torch
from torch import Tensor
from torchmetrics import Metric


def hits(maps: Tensor, boxes: Tensor, image_size: int) -> Tensor:
    """Pointing game (Zhang et al. 2016, arXiv 1608.00507): is the map's highest cell inside the box?

    A cell is inside if its centre is. Several highest cells count with the share that is inside, so that a flat map
    scores the box's share of the image and not the luck of the first cell.

    Args:
        maps: (B, 1, H, W).
        boxes: (B, 4), x0, y0, x1, y1 in pixels of the image; x0 <= x < x1 is inside.
        image_size: Side of the image in pixels.

    Returns:
        (B,) in [0, 1].

    >>> cells = torch.tensor([[[[0.1, 0.9], [0.2, 0.3]]]])
    >>> hits(cells, torch.tensor([[16.0, 0.0, 32.0, 16.0]]), image_size=32)
    tensor([1.])
    """
    highest = maps == maps.amax(dim=(2, 3), keepdim=True)
    inside = _inside(boxes, maps.shape[2], maps.shape[3], image_size)
    return (highest & inside).sum(dim=(1, 2, 3)) / highest.sum(dim=(1, 2, 3))


def _inside(boxes: Tensor, rows: int, cols: int, image_size: int) -> Tensor:
    """Which cell centres lie in each box: (B, 1, rows, cols) bool."""
    x = (torch.arange(cols, device=boxes.device) + 0.5) * image_size / cols
    y = (torch.arange(rows, device=boxes.device) + 0.5) * image_size / rows
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    in_x, in_y = (x0 <= x) & (x < x1), (y0 <= y) & (y < y1)
    return (in_y[:, :, None] & in_x[:, None, :])[:, None]


class PointingGame(Metric):
    """Mean pointing-game hit rate in percent over all images seen."""

    full_state_update = False
    higher_is_better = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, maps: Tensor, boxes: Tensor, image_size: int) -> None:
        """Add maps (B, 1, H, W) and boxes (B, 4) in pixels of images with side `image_size`."""
        self.total += hits(maps.float(), boxes, image_size).sum()
        self.count += len(maps)

    def compute(self) -> Tensor:
        """The hit rate in percent."""
        return 100 * self.total / self.count


def centre_prior(maps: Tensor) -> Tensor:
    """The control that always points at the middle: maps of the same shape, highest where the distance is least."""
    rows, cols = maps.shape[2:]
    y = torch.linspace(-1, 1, rows, device=maps.device)[:, None]
    x = torch.linspace(-1, 1, cols, device=maps.device)[None, :]
    return (-(x**2 + y**2)).expand(len(maps), 1, rows, cols)
