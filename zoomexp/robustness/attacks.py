"""Attacks within a ball around the pixels (L-infinity norm), by libraries: captum and pyautoattack.

Two defaults of captum 0.9 are not taken. Its attacks climb -log of the network's output unless they are given a loss,
which of logits is no loss at all; here it is the cross-entropy. And they leave pixels alone whose gradient is below
1e-6, as is that of most pixels of an image of which a network is sure, so that sure networks would look robust; here
every gradient that is not 0 counts.
"""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoomexp.errors import InputError

STRIDE = 2.5  # what all steps of PGD together could go, in radii of the ball (Madry et al. 2018)


def fgsm(net: nn.Module, pixels: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
    """One step of the gradient's sign (Goodfellow et al. 2015, arXiv 1412.6572): clip(x + eps sign grad CE).

    Args:
        net: Takes pixels; in evaluation mode.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,) int64, whose cross-entropy is to rise.
        eps: Radius of the ball, in the pixels' unit; one for all, or (B,).

    Returns:
        (B, C, H, W) in [0, 1].
    """
    from captum.robust import FGSM

    attack = FGSM(net, loss_func=nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    attack.zero_thresh = 0.0
    with _without_advice():
        examples: Tensor = attack.perturb(pixels.clone(), per_image(eps), target=labels)
    return examples


def pgd(
    net: nn.Module, pixels: Tensor, labels: Tensor, eps: float | Tensor, steps: int = 20, seed: int | None = 0
) -> Tensor:
    """Projected gradient ascent of the cross-entropy (Madry et al. 2018, arXiv 1706.06083).

    Args:
        net: As in `fgsm`, and so are the next three.
        pixels: The same.
        labels: The same.
        eps: The same.
        steps: Each of 2.5 eps / steps in the direction of the gradient's sign, then back into ball and pixels.
        seed: Of the start, uniform in the ball; None: the image itself.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    from captum.robust import PGD

    attack = PGD(net, loss_func=nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    attack.fgsm.zero_thresh = 0.0
    radius: Any = per_image(eps)
    with _without_advice(), drawn_from(seed or 0, pixels.device):
        examples: Tensor = attack.perturb(
            pixels.clone(),
            radius=radius,
            step_size=STRIDE * radius / steps,
            step_num=steps,
            target=labels,
            random_start=seed is not None,
        )
    return examples


def square(net: nn.Module, pixels: Tensor, labels: Tensor, eps: float, queries: int = 1000, seed: int = 0) -> Tensor:
    """Square (Andriushchenko et al. 2020, arXiv 1912.00049): random squares, kept if the margin falls; no gradient.

    Args:
        net: As in `fgsm`, and so are the next two.
        pixels: The same.
        labels: The same.
        eps: Radius of the ball.
        queries: Forwards of each image at most.
        seed: Of the squares.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    from pyautoattack.square import SquareAttack

    attack = SquareAttack(net, norm="Linf", eps=eps, n_queries=queries, seed=seed)
    with torch.no_grad(), drawn_from(seed, pixels.device):
        found: Tensor = attack.perturb(pixels, labels)
    return found


def per_image(eps: float | Tensor) -> Any:
    """A radius for all images as it is, one for each (B,) as (B, 1, 1, 1)."""
    return eps[:, None, None, None] if isinstance(eps, Tensor) else eps


def check_installed(field: str, package: str) -> None:
    """Refuse a choice whose library is missing.

    Raises:
        InputError: It is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{field}: needs {package}: pip install 'zoomexp[robustness]'")


@contextmanager
def drawn_from(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, and leave the global generators as they were: the libraries draw from these."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _without_advice() -> Iterator[None]:
    """Captum sets `requires_grad` itself, and warns that it does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input Tensor 0 did not already require gradients")
        yield
