"""What parts may say of themselves to others, written down: attributes that are looked for and need not be there.

A network is an `nn.Module` whose forward takes the batch's images, or what `inputs` names. All of this is optional, and
the functions at the end say what holds where it is missing. Shapes: B images, C channels, S x S patches, K classes.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeGuard, cast

import torch
from torch import Tensor, nn


class ReadsMore(Protocol):
    """A network that reads more of a batch than its images: `inputs` are the entries, in the order of its arguments."""

    inputs: tuple[str, ...]


class ChoosesTokens(Protocol):
    """A network whose images have different numbers of tokens; set by each forward.

    `lengths`, (B,) int64, after its last block or as the encoder gets them; `tokens_per_block`, one (B,) for each
    block, only where the blocks see different numbers. `scorer`, if it has one, is the part that chooses.
    """

    lengths: Tensor
    tokens_per_block: list[Tensor]
    scorer: nn.Module


class GivesScores(Protocol):
    """A network that says where it looked: `scores`, (B, S, S), higher is more important, set by each forward."""

    scores: Tensor


class HasInsertions(Protocol):
    """A network into which modules were inserted: `inserted`, by place, each with its `module`; and the places."""

    inserted: nn.ModuleDict
    insertion_sites: list[str]


class HasMap(Protocol):
    """An inserted module with a spatial map: `map`, (B, 1, H, W) in [0, 1], set by each forward, None before."""

    map: Tensor | None


class HasOpening(Protocol):
    """An inserted module with gates and no map: `opening`, their mean, a scalar in [0, 1]; None before a forward."""

    opening: Tensor | None


class HasBranches(Protocol):
    """An inserted module made of others: `branches`, by name; an identity stands for none."""

    branches: nn.ModuleDict


class HasPlace(Protocol):
    """An attention module with a place of its paper's own: `default_at`, as `insertion.at` names it."""

    default_at: str


class Zooms(Protocol):
    """An attention module that changes the size of its feature: `zoom_factor`, above 0, 1 where the size is kept."""

    zoom_factor: float


class ReadsPatches(Protocol):
    """A network that cuts its images into patches by itself: `reads_patches` is true; its `patch_embed` is not used."""

    reads_patches: bool


class ResamplesPlainly(Protocol):
    """A vision transformer whose positions are resampled to other grids without antialiasing, as DETR's kin do.

    Bicubic either way; timm's way, with it, has another kernel besides. `resamples_plainly` is true.
    """

    resamples_plainly: bool


class GivesMaps(Protocol):
    """A network whose output is maps (B, S, S) in [0, 1] instead of logits: `gives_maps` is true."""

    gives_maps: bool


class GivesBoxes(Protocol):
    """A network whose output is `boxes.Detections` instead of logits: `gives_boxes` is true."""

    gives_boxes: bool


class GivesPixels(Protocol):
    """A network whose output is logits of every pixel, (B, K, H, W): `gives_pixels` is true."""

    gives_pixels: bool


class ReplacesHead(Protocol):
    """A network around a host whose last layer is gone, `host`: `replaces_head` is true; the rest is all new."""

    host: nn.Module
    replaces_head: bool


class NeedsMaps(Protocol):
    """A loss that reads the inserted modules' maps, or a scorer that reads a teacher's: `needs_maps` is true."""

    needs_maps: bool


class NeedsBoxes(Protocol):
    """A scorer that reads the objects' boxes, `truth` (B, M, 4): `needs_boxes` is true."""

    needs_boxes: bool


class Rearranges(Protocol):
    """A scorer whose scores are another's in other places: `scorer`, and what moves them, on a grid of any sides."""

    scorer: nn.Module

    def rearranged(self, scores: Tensor) -> Tensor:
        """Scores (B, R, C) of images, moved within each."""


def reads(network: nn.Module) -> Sequence[str]:
    """The entries of a batch that a network reads; the images alone unless it says so."""
    return getattr(network, "inputs", ("image",))


def chooses_tokens(network: nn.Module) -> bool:
    """Whether the number of tokens, and so the work, depends on the image; known after a forward at the latest."""
    return hasattr(network, "lengths")


def mean_tokens(network: nn.Module, device: torch.device) -> Tensor | None:
    """Each image's number of tokens in the last forward, (B,), the mean over blocks; None where it is no choice."""
    if hasattr(network, "tokens_per_block"):
        blocks = cast(ChoosesTokens, network).tokens_per_block
        lengths = [block.to(device) for block in blocks]  # some are known on the CPU
        return torch.stack(lengths).float().mean(0)
    return cast(ChoosesTokens, network).lengths.float() if chooses_tokens(network) else None


def gives_scores(network: nn.Module) -> bool:
    """Whether a forward left `scores`."""
    return hasattr(network, "scores")


def gives_maps(network: nn.Module) -> bool:
    """Whether a network's output is maps; it is not unless it says so."""
    return getattr(network, "gives_maps", False)


def gives_boxes(network: nn.Module) -> bool:
    """Whether a network's output is boxes; it is not unless it says so."""
    return getattr(network, "gives_boxes", False)


def gives_pixels(network: nn.Module) -> bool:
    """Whether a network's output is logits of every pixel; it is not unless it says so."""
    return getattr(network, "gives_pixels", False)


def replaces_head(network: nn.Module) -> bool:
    """Whether a network has something else than its host's last layer; it does not unless it says so."""
    return getattr(network, "replaces_head", False)


def needs_maps(part: nn.Module) -> bool:
    """Whether a loss or scorer reads maps; it does not unless it says so."""
    return getattr(part, "needs_maps", False)


def needs_boxes(part: nn.Module | None) -> bool:
    """Whether a scorer reads the objects' boxes; it does not unless it says so."""
    return getattr(part, "needs_boxes", False)


def rearranges(part: nn.Module) -> TypeGuard[Rearranges]:
    """Whether a scorer moves another's scores; it does not unless it says how."""
    return hasattr(part, "rearranged")


def reads_patches(network: nn.Module) -> bool:
    """Whether a network cuts its images by itself; it does not unless it says so."""
    return getattr(network, "reads_patches", False)


def resamples_plainly(network: nn.Module) -> bool:
    """Whether a transformer's positions are resampled without antialiasing; they are not unless it says so."""
    return getattr(network, "resamples_plainly", False)


def inserted(network: nn.Module) -> nn.ModuleDict:
    """The inserted modules by place; none unless some were inserted."""
    return getattr(network, "inserted", nn.ModuleDict())


def acting(network: nn.Module) -> dict[str, nn.Module]:
    """The inserted modules by place, and after each its branches by place/name."""
    found: dict[str, nn.Module] = {}
    for place, one in cast(Iterable[tuple[str, Any]], inserted(network).items()):
        branches = getattr(one.module, "branches", {}).items()
        found |= {place: one.module}
        found |= {f"{place}/{name}": branch for name, branch in branches if not isinstance(branch, nn.Identity)}
    return found


def own_map(module: object) -> Tensor | None:
    """The map of a module's last forward, if it has one."""
    return getattr(module, "map", None)


def own_opening(module: nn.Module) -> Tensor | None:
    """How far a module was open in its last forward: the mean of its map, or what it says of its gates; detached."""
    if (gates := own_map(module)) is not None:
        return gates.detach().float().mean()
    return getattr(module, "opening", None)


def zoom_factor(module: object) -> float:
    """By how much a module enlarges its feature; not at all unless it says so."""
    return getattr(module, "zoom_factor", 1)


def own_place(module: object) -> str:
    """Where a module's class goes if nobody says; after the last stage unless it says so."""
    return getattr(module, "default_at", "last")


def scorer(network: nn.Module) -> nn.Module | None:
    """The part of a network that chooses its tokens, if there is one."""
    return getattr(network, "scorer", None)
