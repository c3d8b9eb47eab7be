"""What attacks do to a batch of images, image by image, and the scores that follow."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoomexp.robustness.attacks import fgsm, pgd
from zoomexp.robustness.masking import checks, missed
from zoomexp.robustness.pixels import Pixels
from zoomexp.robustness.shift import mean_correlation, pointing
from zoomexp.robustness.survival import Attack, Survival, survival
from zoomexp.tasks.localising import maps_of

LEVELS = 255  # radii are given in these parts of the pixels' range


@dataclass(frozen=True)
class Trial:
    """A threat model; `callbacks.robustness.Robustness` says what each is."""

    eps: tuple[float, ...]
    steps: int
    restarts: int
    refine: int
    at: float
    long_steps: int
    queries: int
    checked: int

    @property
    def pgd(self) -> str:
        """What the main attack is called."""
        return f"pgd{self.steps}"


def tried(
    trial: Trial,
    net: Pixels,
    other: Pixels | None,
    pixels: Tensor,
    labels: Tensor,
    boxes: Tensor | None = None,
    checked: int | None = None,
) -> dict[str, Tensor]:
    """What becomes of B images.

    Args:
        trial: What is tried.
        net: The network.
        other: Another one for the same images; None: nothing is transferred.
        pixels: (B, C, H, W) in [0, 1].
        labels: (B,).
        boxes: (B, 4) of the objects, for the pointing game; None: there are none.
        checked: How many of the first are checked for what PGD misses; None: all.

    Returns:
        (B,) each: `clean`, right without attack; `fgsm@<eps>`, `pgd<steps>@<eps>`, still right; `eps`, the smallest
        that flips the image (see `survival.Survival`); at the one radius `transfer` and `transfer_back`, right under
        the other's examples, and the other under this one's, `map_shift`, the correlation of the maps with and without
        attack, and `pointing_game` of those with; and (checked,) each `missed/<check>` and `missed`, flipped by a check
        and not by PGD.
    """
    radii = [eps / LEVELS for eps in trial.eps]
    names = dict(zip(radii, (f"@{eps:g}" for eps in trial.eps), strict=True))
    step = survival(net, pixels, labels, lambda *given: fgsm(net, *given), radii)
    whole = survival(net, pixels, labels, main_attack(trial, net), radii, trial.refine)
    found = {"clean": whole.flipped_at > 0, "eps": (LEVELS * whole.flipped_at).float()}
    found |= {f"fgsm{names[radius]}": right for radius, right in step.right.items()}
    found |= {f"{trial.pgd}{names[radius]}": right for radius, right in whole.right.items()}
    closer = _looked_into(trial, net, other, pixels, labels, boxes)
    closer |= _missed(trial, net, other, pixels, labels, whole, len(labels) if checked is None else checked)
    return found | {f"{name}@{trial.at:g}": values for name, values in closer.items()}


def main_attack(trial: Trial, net: Pixels) -> Attack:
    """PGD, begun anew `restarts` times, for images that are still right."""

    def attack(pixels: Tensor, labels: Tensor, radius: Tensor) -> Tensor:
        examples = pgd(net, pixels, labels, radius, trial.steps)
        for seed in range(1, trial.restarts):
            left = net.says(examples) == labels
            if left.any():
                examples[left] = pgd(net, pixels[left], labels[left], radius[left], trial.steps, seed)
        return examples

    return attack


def _looked_into(
    trial: Trial,
    net: Pixels,
    other: Pixels | None,
    pixels: Tensor,
    labels: Tensor,
    boxes: Tensor | None,
) -> dict[str, Tensor]:
    """What is found at the one radius, where all images are attacked, those that less would flip, too."""
    found: dict[str, Tensor] = {}
    radius = trial.at / LEVELS
    examples = main_attack(trial, net)(pixels, labels, torch.full_like(pixels[:, 0, 0, 0], radius))
    if other is not None:
        theirs = pgd(other, pixels, labels, radius, trial.steps)
        found |= {"transfer": net.says(theirs) == labels, "transfer_back": other.says(examples) == labels}
    before, after = maps_at(net, pixels), maps_at(net, examples)
    moved = {"map_shift": mean_correlation(before, after)}
    moved |= {} if boxes is None else {"pointing_game": pointing(after, boxes, (pixels.shape[2], pixels.shape[3]))}
    return found | {name: values for name, values in moved.items() if values is not None}


def _missed(
    trial: Trial, net: Pixels, other: Pixels | None, pixels: Tensor, labels: Tensor, whole: Survival, count: int
) -> dict[str, Tensor]:
    """What PGD misses of the first `count` images: (count,) each; nothing where they are none."""
    if count < 1:
        return {}
    radius, first = trial.at / LEVELS, slice(count)
    ways = checks(net, trial.steps, trial.long_steps, trial.queries, other)
    flipped = missed(net, pixels[first], labels[first], radius, whole.right[radius][first], ways)
    found = {f"missed/{name}": values for name, values in flipped.items()}
    return found | {"missed": torch.stack(list(flipped.values())).any(0)}


def maps_at(net: Pixels, pixels: Tensor) -> dict[str, Tensor]:
    """The maps (B, 1, H, W) of pixels by site."""
    net.says(pixels, len(pixels))
    return {name: maps.detach().clone() for name, maps in maps_of(net.net).items()}


def scores(trial: Trial, found: Mapping[str, Tensor]) -> dict[str, float]:
    """Over N images, of what `tried` gives of them: percentages, and `success@<eps>`, `auc`, `median_eps`.

    `success` is the share of the images right without attack that PGD flips, `auc` the mean of the accuracies under
    PGD over the radii, `median_eps` the median of `eps` over the images right without attack. Of the images that are
    checked at the one radius, `missed@<at>` is the share that PGD leaves right and a check flips, and
    `missed_of_right@<at>` the same of those that PGD leaves right. What no image has is left out.
    """
    means = {name: 100 * values.float().mean() for name, values in found.items() if values.dtype == torch.bool}
    rights = {eps: means[f"{trial.pgd}@{eps:g}"] for eps in trial.eps}
    means["auc"] = torch.stack(list(rights.values())).mean()
    if means["clean"] > 0:
        means |= {f"success@{eps:g}": 100 * (1 - right / means["clean"]).clamp_min(0) for eps, right in rights.items()}
        means["median_eps"] = found["eps"][found["clean"]].quantile(0.5)
    missed_there = found.get(f"missed@{trial.at:g}")
    if missed_there is not None and (left := found[f"{trial.pgd}@{trial.at:g}"][: len(missed_there)]).any():
        means[f"missed_of_right@{trial.at:g}"] = 100 * missed_there[left].float().mean()
    for name, unit in {"map_shift": 1, "pointing_game": 100}.items():
        values = found.get(f"{name}@{trial.at:g}")
        if values is not None and not values.isnan().all():
            means[f"{name}@{trial.at:g}"] = unit * values.nanmean()
    return {name: float(value) for name, value in means.items()}
