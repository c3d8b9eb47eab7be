"""Watches the inserted modules: are they alive?"""

import logging
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoomexp.arguments import number
from zoomexp.callbacks.no_batch_hooks import NoBatchHooks

log = logging.getLogger(__name__)


class GateMonitor(NoBatchHooks, pl.Callback):
    """Logs the state of every inserted module after each validation, under `gate/<site>/`.

    - `gamma`: its scalar gate, where it has one,
    - `weight_norm`: the L2 norm of its parameters,
    - `saturated`: the share of its map at 1, in percent, where it has a map,
    - `change`: |output - input| / |input| on the first validation batch, where the size is kept.

    Warns once for each module whose `change` falls below `threshold`: it has become an identity, and what the run
    measures is the plain backbone.

    Args:
        threshold: Relative change below which a module counts as an identity.
    """

    def __init__(self, threshold: float = 1e-6) -> None:
        number("callbacks.gates.threshold", threshold, 0)
        self.threshold = threshold
        self.warned: set[str] = set()
        self.hooks: list[RemovableHandle] = []

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at the modules' inputs and outputs in the first batch."""
        watched = getattr(pl_module.model, "inserted", {})
        if watched and batch_idx == 0 and not trainer.sanity_checking:
            torch.compiler.set_stance("force_eager")  # a compiled network would be compiled anew for the hooks
            self.seen: dict[str, dict[str, Tensor]] = {}
            for site, inserted in watched.items():
                self.hooks.append(inserted.module.register_forward_hook(self._look(site)))

    def on_exception(self, *args: Any) -> None:
        """Leave nothing behind."""
        self._look_away()

    def _look_away(self) -> None:
        if self.hooks:
            torch.compiler.set_stance("default")
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def _look(self, site: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            self.seen[site] = gate_state(module, args[0].detach().float(), output.detach().float())

        return hook

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Take the hooks away and log."""
        if not self.hooks:
            return
        self._look_away()
        for site, values in self.seen.items():
            pl_module.log_dict({f"gate/{site}/{k}": v for k, v in values.items()}, on_step=False, on_epoch=True)
            if float(values.get("change", 1.0)) < self.threshold and site not in self.warned:
                self.warned.add(site)
                log.warning(
                    "epoch %d: the module at %s changes its input by less than %g: it is an identity",
                    trainer.current_epoch, site, self.threshold,
                )  # fmt: skip


@torch.no_grad()
def gate_state(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The values of `GateMonitor` for one module, its input (B, C, H, W) and its output (B, C, sH, sW)."""
    norms = [p.detach().float().norm() for p in module.parameters()]
    values = {"weight_norm": torch.stack(norms).norm()} if norms else {}
    if (gamma := getattr(module, "gamma", None)) is not None:
        values["gamma"] = torch.as_tensor(gamma, dtype=torch.float32).detach().clone()
    if (gate := getattr(module, "map", None)) is not None:
        values["saturated"] = 100 * (gate >= 1 - 1e-6).float().mean()
    if x.shape == y.shape:
        values["change"] = (y - x).norm() / x.norm().clamp_min(1e-12)
    return values
