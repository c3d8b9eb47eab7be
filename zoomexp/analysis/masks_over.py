"""Classes of pixels drawn over a picture, a colour each; what is background stays as it is."""

from collections.abc import Sequence

import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn import functional as F

from zoomexp.datasets.masked import IGNORED

BACKGROUND = "background"  # a class of that name is not coloured


def palette(count: int) -> Tensor:
    """The colours of `count` classes, (count, 3) in [0, 1]; after 20 they come again."""
    return torch.tensor([colormaps["tab20"].colors[(2 * i + i // 10) % 20] for i in range(count)])  # type: ignore[attr-defined]


def classes_over(picture: Tensor, classes: Tensor, names: Sequence[str], opacity: float = 0.65) -> Tensor:
    """Draw the class of each pixel on a picture.

    Args:
        picture: (3, H, W) in [0, 1].
        classes: (h, w) integers, which cover the picture evenly; IGNORED pixels are drawn dark.
        names: of the classes.
        opacity: of the colours, 0 to 1.

    Returns:
        (3, H, W) in [0, 1].
    """
    size = picture.shape[1:]
    whole = F.interpolate(classes[None, None].float(), size=size, mode="nearest-exact")[0, 0].long()
    ignored = whole == IGNORED
    colours = palette(len(names))[whole.where(~ignored, 0)].permute(2, 0, 1).to(picture)
    plain = torch.tensor([name == BACKGROUND for name in names])[whole.where(~ignored, 0)]
    painted = torch.where(plain, picture, picture + opacity * (colours - picture))
    return torch.where(ignored, 0.4 * picture, painted)


def named(classes: Tensor, names: Sequence[str], most: int = 4) -> str:
    """The classes in a mask (h, w) but for the background, those of most pixels first.

    >>> named(torch.tensor([[1, 1, 2], [0, 0, 255]]), ["background", "cat", "dog"])
    'cat, dog'
    """
    counts = torch.bincount(classes.flatten()[classes.flatten() != IGNORED], minlength=len(names))
    there = [int(i) for i in counts.argsort(descending=True, stable=True) if counts[i] and names[int(i)] != BACKGROUND]
    more = f" and {len(there) - most} more" if len(there) > most else ""
    return (", ".join(names[i] for i in there[:most]) or "nothing") + more
