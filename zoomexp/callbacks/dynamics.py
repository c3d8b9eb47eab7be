"""How the modules' maps come about: their statistics step by step in the first epochs, and their way to the last."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from zoomexp.arguments import integer
from zoomexp.atomic_file import atomic_file
from zoomexp.callbacks.mask_path import mask_shares
from zoomexp.callbacks.still_images import as_tested, still_batch
from zoomexp.insertion import attention_maps
from zoomexp.metrics.map_shape import entropy
from zoomexp.protocols import inserted
from zoomexp.tasks.contract import task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks

FILE = "dynamics.csv"


class Dynamics(NoBatchHooks, pl.Callback):
    """Writes `dynamics.csv`, a row a look and site, into the run's folder.

    Each look shows the network the same training images, as it would see them in a test, and reads the maps:

    `mean`, `spread` (standard deviation over an image's positions, mean over images), `low` and `high` (the 10th and
    90th percentile of all cells), `entropy` (`metrics.map_shape.entropy`); `gradient`, the share that the module's
    parameters have in the norm of the step's gradient; `mask_path`, the share of the gradient that reaches the module's
    input through its mask (`callbacks.mask_path`; of the images' cross-entropy, so in tasks with a label an image, and
    of modules that multiply by a mask); and, against the maps after the last step, `distance`, the mean
    |difference|, and `correlation` over an image's positions (mean over images; of flat maps it is 0).

    Nothing that the run measures changes. Left out where there is no map, and as in `still_batch`.

    Args:
        epochs: The first so many are looked at.
        every: Training steps from one look to the next.
        images: How many.
    """

    def __init__(self, epochs: int = 2, every: int = 5, images: int = 16) -> None:
        integer("callbacks.dynamics.epochs", epochs, 1)
        integer("callbacks.dynamics.every", every, 1)
        integer("callbacks.dynamics.images", images, 1)
        self.epochs, self.every, self.images = epochs, every, images
        self.still: Mapping[str, Tensor] | None = None
        self.rows: list[dict[str, Any]] = []
        self.maps: list[Tensor] = []  # of each row, (images, cells) in half precision

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the images, and the maps before the first step."""
        self.still = still_batch(trainer, task_of(pl_module).model, self.images)
        if not trainer.global_step:
            self._look(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Look, now and then."""
        if trainer.current_epoch < self.epochs and trainer.global_step % self.every == 0:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare every look with the maps that came out, and write the file."""
        last = self._seen(trainer, pl_module)
        if not last or not self.rows:
            return
        pairs = zip(self.rows, self.maps, strict=True)
        table = [row | way(maps.float(), last[row["site"]].flatten(1)) for row, maps in pairs]
        with atomic_file(Path(trainer.default_root_dir) / FILE) as partial:
            pd.DataFrame(table).to_csv(partial, index=False, float_format="%.6g")

    def state_dict(self) -> dict[str, Any]:
        """What was seen, for a run that resumes."""
        return {"rows": self.rows, "maps": self.maps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what an interrupted run has seen."""
        self.rows, self.maps = list(state_dict["rows"]), list(state_dict["maps"])

    def _look(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        shares, through = gradient_shares(task_of(pl_module).model), self._mask_shares(trainer, pl_module)
        for site, maps in self._seen(trainer, pl_module).items():
            place = {"epoch": trainer.current_epoch, "step": trainer.global_step, "site": site}
            self.rows.append(place | statistics(maps) | {"gradient": shares.get(site), "mask_path": through.get(site)})
            self.maps.append(maps.flatten(1).half())

    def _mask_shares(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, float]:
        """What of the images' gradient goes through each mask, by site; nothing where images have no label."""
        if self.still is None or getattr(pl_module, "logit_classes", None) is None:
            return {}
        net, images, labels = task_of(pl_module).model, *(self.still[name] for name in ("image", "label"))
        with as_tested(trainer, net):
            return mask_shares(net, images.to(pl_module.device), labels.to(pl_module.device))

    def _seen(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, Tensor]:
        """The maps of the images now, by site, on the CPU."""
        if self.still is None:
            return {}
        net = task_of(pl_module).model
        with torch.no_grad(), as_tested(trainer, net):
            net.forward(self.still["image"].to(pl_module.device))
        return {site: maps.detach().float().cpu() for site, maps in attention_maps(net).items()}


def statistics(maps: Tensor) -> dict[str, float]:
    """Of maps (B, 1, H, W); see `Dynamics`.

    >>> statistics(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))["spread"]
    0.5
    """
    cells = maps.flatten(1)
    low, high = torch.quantile(cells.flatten(), torch.tensor([0.1, 0.9])).tolist()
    return {
        "mean": float(cells.mean()),
        "spread": float(cells.std(1, correction=0).mean()),
        "low": low,
        "high": high,
        "entropy": float(entropy(maps).mean()),
    }


def gradient_shares(net: nn.Module) -> dict[str, float]:
    """What each inserted module's parameters have of the norm of the whole gradient, in [0, 1]; none before a step."""
    whole = _norm(net)
    return {site: _norm(one) / whole for site, one in inserted(net).items()} if whole else {}


def _norm(module: nn.Module) -> float:
    norms = [p.grad.detach().float().norm() for p in module.parameters() if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0


def way(maps: Tensor, last: Tensor) -> dict[str, float]:
    """How far maps (B, N) are from the last ones (B, N).

    >>> {name: round(value, 4) for name, value in way(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.0]])).items()}
    {'distance': 0.25, 'correlation': 1.0}
    """
    a, b = maps - maps.mean(1, keepdim=True), last - last.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-12)
    return {"distance": float((maps - last).abs().mean()), "correlation": float(correlation.mean())}
