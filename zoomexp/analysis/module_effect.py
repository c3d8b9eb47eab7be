"""How far inserted modules move what their host computes: near 0 a module is shut, and may be unable to learn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoomexp.errors import InputError


@dataclass(frozen=True)
class Effect:
    """What one module does to a batch of images.

    Args:
        site: Where it stands.
        features: |out - in| / |in| of its features, Frobenius norms over the batch; None where their sizes differ.
        logits: |with - without| / |without| of the logits; None for a module that the host cannot do without.
        classes: Share of the images, 0..1, whose likeliest class it changes, or of their pixels; None likewise.
        of: What `classes` is a share of.
    """

    site: str
    features: float | None
    logits: float | None
    classes: float | None
    of: str = "images"

    def told(self) -> str:
        """One line."""
        features = "features of another size" if self.features is None else f"moves features by {self.features:.2%}"
        if self.logits is None:
            return f"module at {self.site}: {features}; the host cannot run without it"
        return (
            f"module at {self.site}: {features}, logits by {self.logits:.2%}, "
            f"the likeliest class of {self.classes:.0%} of the {self.of}"
        )


@torch.no_grad()
def module_effects(net: nn.Module, run: Callable[[], Tensor]) -> list[Effect]:
    """The effect of each inserted module on its own; the others stay in.

    Args:
        net: A network of `build_model`, in evaluation mode.
        run: Gives the logits (B, K) of a batch of images, (B, ...) of a network that gives something else.
    """
    inserted = getattr(host_of(net), "inserted", {})
    with_all = run().float()
    return [_effect(site, one, with_all, run) for site, one in inserted.items()]


def host_of(net: nn.Module) -> nn.Module:
    """The module of a network that carries the inserted ones: itself, or the host that a token method holds."""
    return next((module for module in net.modules() if hasattr(module, "inserted")), net)


def _effect(site: str, inserted: nn.Module, with_all: Tensor, run: Callable[[], Tensor]) -> Effect:
    moved: list[float | None] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        x = given[0]
        moved.append(relative(out, x) if out.shape == x.shape else None)

    hook = cast(Any, inserted).module.register_forward_hook(note)
    try:
        run()
    finally:
        hook.remove()
    try:
        with _without(inserted):
            without = run().float()
    except (RuntimeError, AssertionError, ValueError, InputError):
        return Effect(site, moved[-1], None, None)
    if without.shape != with_all.shape:
        return Effect(site, moved[-1], None, None)
    of_pixels = with_all.dim() == 4  # logits of every pixel; else of images, or what is no logits
    said, other = (one.argmax(1) if of_pixels else one.flatten(1).argmax(1) for one in (with_all, without))
    changed = (said != other).float().mean()
    return Effect(site, moved[-1], relative(with_all, without), float(changed), "pixels" if of_pixels else "images")


def relative(changed: Tensor, before: Tensor) -> float:
    """|changed - before| / |before|, Frobenius norms."""
    norm = before.float().norm()
    return float((changed.float() - before.float()).norm() / norm) if norm > 0 else float("inf")


@contextmanager
def _without(inserted: nn.Module) -> Iterator[None]:
    module, inserted.module = inserted.module, nn.Identity()
    try:
        yield
    finally:
        inserted.module = module
