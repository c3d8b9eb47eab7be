"""What every module with a spatial map shares: the place where the last map is kept."""

from torch import Tensor, nn

from zoomexp.transient import Transient


class SpatialMap(Transient, nn.Module):
    """A module that leaves the spatial map of its last forward in `map`.

    `map` is `(B, 1, H, W)` in [0, 1] at the resolution of the module's input, or None (before the first forward, and
    in variants that have no map). It stays attached to the autograd graph, so that a loss can act on it. Such a tensor
    can be neither deep-copied nor usefully pickled, so copies and pickles start without one; it is never part of the
    state dict.
    """

    map: Tensor | None = None
    transient: tuple[str, ...] = ("map",)
