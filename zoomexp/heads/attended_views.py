"""Parts of images that attention maps choose: cropped, dropped, or swapped between two images.

As in CAL's released code, which has it from WS-DAN's (see `cal`). A map is enlarged bilinearly to the size of its
image, corners on corners; t is a share of the map's highest value:

    attended  the pixels where the enlarged map is at least t
    crop      the box around them, p of the image's side wider on each side, resized to the whole image
    drop      the image without them, 0 in their places
    mix       the boxes around them, not widened, of images 2i and 2i + 1 change places, each resized to the other's

A box ends before the pixel in which the widening ends, as there, but never before the last one attended. All images of
a batch are seen to at once, with boxes as numbers on the device, so nothing waits for it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-6
PADDING = {"crop": 0.1, "mix": 0.0}
# t is drawn for each image between these.
SHARES = {"crop": (0.4, 0.6), "mix": (0.4, 0.6), "drop": (0.2, 0.5)}
VIEWS = tuple(sorted(SHARES))


def drawn(maps: Tensor, count: int) -> Tensor:
    """Maps of each image, drawn with a probability proportional to the root of their sum; one may come twice.

    Args:
        maps: (B, M, h, w), at least 0.
        count: how many.

    Returns:
        (B, count, h, w).
    """
    weights = (maps.sum((2, 3)) + EPSILON).sqrt()
    waits = torch.empty(len(maps), count, maps.shape[1], device=maps.device).exponential_()
    chosen = (weights[:, None] / waits).argmax(2)  # the first of M clocks that run at these rates
    return maps.take_along_dim(chosen[:, :, None, None], 1)


def seen_as(view: str, images: Tensor, maps: Tensor) -> Tensor:
    """A view of each image, (B, C, H, W), its t drawn.

    Args:
        view: one of VIEWS.
        images: (B, C, H, W).
        maps: (B, h, w), one of each.
    """
    low, high = SHARES[view]
    share = low + (high - low) * torch.rand(len(images), device=images.device)
    inside = attended(maps, images.shape[2:], share)
    if view == "drop":
        return images * ~inside[:, None]
    boxes = boxes_around(inside, PADDING[view])
    return cropped(images, boxes) if view == "crop" else swapped(images, boxes)


def attended(maps: Tensor, size: torch.Size, share: Tensor | float) -> Tensor:
    """Whether each pixel is attended: (B, H, W) bool.

    Args:
        maps: (B, h, w).
        size: H and W.
        share: t, (B,) or one for all, in [0, 1].
    """
    highest = maps.amax((1, 2))
    large = F.interpolate(maps[:, None], size=list(size), mode="bilinear", align_corners=True)[:, 0]
    return large >= (share * highest)[:, None, None]


def boxes_around(inside: Tensor, padding: float) -> Tensor:
    """Boxes around what is inside: (B, 4) float64, top, bottom, left, right; from, and up to but without.

    Args:
        inside: (B, H, W) bool; where nothing is, the box is the whole image.
        padding: in shares of H and W.

    >>> inside = torch.zeros(1, 20, 10, dtype=torch.bool)
    >>> inside[0, 4:6, 9] = True
    >>> boxes_around(inside, 0.1).tolist()
    [[2.0, 7.0, 8.0, 10.0]]
    """
    edges: list[Tensor] = []
    for axis in (2, 1):
        hit = inside.any(axis).int()
        size = hit.shape[1]
        first, last = hit.argmax(1), size - 1 - hit.flip(1).argmax(1)
        low = (first.double() - padding * size).clamp(min=0).floor()
        high = (last.double() + padding * size).floor().clamp(max=size)
        edges += [low, torch.maximum(high, last + 1.0)]
    return torch.stack(edges, 1)


def cropped(images: Tensor, boxes: Tensor) -> Tensor:
    """Images (B, C, H, W) of what is in their boxes (B, 4), resized to the whole, bilinearly, corners on corners."""
    top, bottom, left, right = boxes.T[:, :, None]
    cells = [torch.arange(side, dtype=boxes.dtype, device=boxes.device) for side in images.shape[2:]]
    rows, columns = (one / max(len(one) - 1, 1) for one in cells)
    return _sampled(images, top + rows * (bottom - 1 - top), left + columns * (right - 1 - left))


def swapped(images: Tensor, boxes: Tensor) -> Tensor:
    """Images (B, C, H, W), in the box (B, 4) of each what is in its partner's; without a partner as it is."""
    partners = torch.arange(len(images), device=images.device)
    partners = (partners ^ 1).where(partners ^ 1 < len(images), partners)
    theirs, places, inside = boxes[partners], [], []
    for axis, side in enumerate(images.shape[2:]):
        low, high = boxes[:, 2 * axis, None], boxes[:, 2 * axis + 1, None]
        begin, end = theirs[:, 2 * axis, None], theirs[:, 2 * axis + 1, None]
        cells = torch.arange(side, device=boxes.device)
        places.append(begin + (cells - low) * (end - 1 - begin) / (high - 1 - low).clamp(min=1))
        inside.append((cells >= low) & (cells < high))
    pasted = _sampled(images[partners], *places)
    return torch.where((inside[0][:, :, None] & inside[1][:, None])[:, None], pasted, images)


def _sampled(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (B, C, H, W) at rows (B, H) and columns (B, W), in pixels."""
    height, width = images.shape[2:]
    y, x = 2 * rows / max(height - 1, 1) - 1, 2 * columns / max(width - 1, 1) - 1
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], 3)
    exact = torch.promote_types(images.dtype, torch.float32)
    found = F.grid_sample(images.to(exact), grid.to(exact), padding_mode="border", align_corners=True)
    return found.to(images.dtype)
