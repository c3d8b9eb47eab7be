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


class SpatialMask(SpatialMap):
    """One whose map is a mask: the forward puts it into `map`, takes it from there and multiplies.

    So a mask can be held fast: what is put into `held`, (B, 1, H, W), is multiplied in the place of the computed one
    until `held` is None again.
    """

    held: Tensor | None = None
    _computed: Tensor | None = None
    transient = ("held", "_computed")

    @property
    def map(self) -> Tensor | None:
        """The mask of the last forward."""
        return self._computed if self.held is None else self.held

    @map.setter
    def map(self, computed: Tensor | None) -> None:
        self._computed = computed
