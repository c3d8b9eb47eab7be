"""The localisation scores of several maps of the same images, and of the controls, as one part of a task."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from zoomexp.insertion import attention_maps
from zoomexp.metrics.localisation import centre_prior, random_prior
from zoomexp.metrics.map_scores import Localisation
from zoomexp.protocols import GivesScores, gives_scores

CONTROLS = ("centre_prior", "random_prior")


class MapScores(nn.Module):
    """One `Localisation` per name, made when its maps first come.

    Scores are `test/<score>/<name>`; `test/<score>` is the mean over the names that `counted` lists.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict()

    def update(self, maps: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            maps: (B, 1, H, W) each, at least 0, by name; nothing is done if there are none.
            batch: has `image` and `index`, and maybe `box`, `parts` and `mask`.
        """
        if not maps:
            return
        like = next(iter(maps.values()))
        controls = {"centre_prior": centre_prior(like), "random_prior": random_prior(like, batch["index"])}
        for name, value in {**maps, **controls}.items():
            if name not in self.metrics:
                self.metrics[name] = Localisation().to(like.device)
            objects = {"parts": batch.get("parts"), "masks": batch.get("mask")}
            cast(Localisation, self.metrics[name]).update(value, batch.get("box"), batch["image"].shape[-2:], **objects)

    def compute(self, counted: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        """All scores by their full names; `counted` None: every name but the controls."""
        found = {name: cast(Localisation, metric).compute() for name, metric in self.metrics.items()}
        counted = counted or tuple(name for name in found if name not in CONTROLS)
        scores = {f"test/{score}/{name}": value for name, own in found.items() for score, value in own.items()}
        for score in found[counted[0]] if found else ():
            scores[f"test/{score}"] = torch.stack([found[name][score] for name in counted]).mean()
        return scores


def maps_of(model: nn.Module) -> dict[str, Tensor]:
    """The maps (B, 1, H, W) of inserted modules, and the scores by which a model chooses its tokens."""
    chosen = {"scores": cast(GivesScores, model).scores[:, None]} if gives_scores(model) else {}
    return {**attention_maps(model), **chosen}
