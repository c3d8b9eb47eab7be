"""Watches whether a run learns, and whether its inserted modules do anything (`zoomexp.health`)."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoomexp import protocols
from zoomexp.arguments import boolean, integer, number
from zoomexp.health.epochs import EpochFacts
from zoomexp.health.findings import Finding, recorded
from zoomexp.health.judging import judge_epoch, judge_module, suspicious
from zoomexp.health.measuring import gate_state, output_spread, resting_state
from zoomexp.health.streaks import Streaks
from zoomexp.health.telling import end_if_dead, summarise, tell
from zoomexp.tasks.contract import task_of
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import callbacks_of

LOOKS = 2  # in a row, after different steps, before a module or an output counts as dead
PATIENCE = (3, 0.1)  # epochs at chance before the run does: so many, or this share of the schedule if that is longer
FEWEST = (3, 20)  # steps before a module is judged, and before the whole run is


class GateMonitor(NoBatchHooks, pl.Callback):
    """Looks at the modules after every few training steps and in each validation, at the whole run after each epoch.

    Logged after each validation, under `gate/<site>/`: `weight_norm`, `gamma`, `opening`, `saturated`, `passed` and
    `change` of `health.measuring.gate_state`, on the first validation batch; of a module's branches under
    `gate/<site>/<branch>/`, too.

    What is wrong (`health.judging`) is warned of once, with a likely cure, and kept in `findings`. A module counts as
    dead after two looks in a row. A run counts as at chance after three epochs at chance in a row, or a tenth of the
    schedule if that is longer, or the whole of a shorter run; epochs while the rate still rises do not count, and
    neither do the first 20 steps.

    Between two training steps only what the modules have left is read; where a map is nearly shut or open, the
    next step is run with hooks, and uncompiled.

    Args:
        threshold: Below it a gate, or a module's relative change of its input, counts as zero.
        every: Training steps from one look at the modules to the next.
        stop: End a run that does not learn with an error; a module that only does nothing ends none.
    """

    def __init__(self, threshold: float = 1e-6, every: int = 25, stop: bool = False) -> None:
        number("callbacks.gates.threshold", threshold, 0)
        integer("callbacks.gates.every", every, 1)
        boolean("callbacks.gates.stop", stop)
        self.threshold, self.every, self.stop = threshold, every, stop
        self.streaks, self.epoch = Streaks(), EpochFacts()
        self.hooks: list[RemovableHandle] = []
        self.seen: dict[str, dict[str, Tensor]] = {}
        self.outputs: list[Tensor] = []

    @property
    def findings(self) -> list[Finding]:
        """What was found so far (`health.findings.Finding`)."""
        return self.streaks.findings

    @property
    def looking(self) -> bool:
        """See `training_protocols.LooksInside`."""
        return bool(self.hooks)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse to go on with a run that was found dead."""
        if self.stop:
            end_if_dead(self.findings)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the rate, which the schedule changes before the epoch's end."""
        self.epoch.lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read what the modules have left, now and then; look closer in the step after a suspicious one."""
        if self.hooks:
            self._judge_seen(trainer, pl_module)
        elif trainer.global_step % self.every == 0:
            states = {site: resting_state(one) for site, one in protocols.acting(task_of(pl_module).model).items()}
            if any(suspicious(state) for state in self._judge(trainer, pl_module, states).values()):
                self._watch(pl_module)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at inputs and outputs in the first batch."""
        if batch_idx == 0 and not trainer.sanity_checking:
            self._look_away()
            self._watch(pl_module)
            self.hooks.append(task_of(pl_module).model.register_forward_hook(self._keep_output))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Mapping[str, Tensor], *_: Any
    ) -> None:
        """Take the hooks away, log and judge."""
        if not trainer.sanity_checking:
            self.epoch.count_labels(batch, getattr(pl_module, "logit_classes", None))
        if not self.hooks:
            return
        for site, values in self.seen.items():
            pl_module.log_dict({f"gate/{site}/{k}": v for k, v in values.items()}, on_step=False, on_epoch=True)
        self.epoch.spread = self._spread(trainer, batch["image"])
        self._judge_seen(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the labels of all processes together."""
        if not trainer.sanity_checking:
            self.epoch.close_labels(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Judge the whole run."""
        classes = self.epoch.classes(getattr(pl_module, "logit_classes", None))
        if classes is None:
            return
        splits, cross_entropy = self.epoch.splits(trainer, pl_module), self.epoch.cross_entropy(trainer, pl_module)
        verdicts = judge_epoch(splits, classes, cross_entropy, self.epoch.spread)
        if trainer.global_step < FEWEST[1] or self.epoch.rate_rises(trainer):
            verdicts = {kind: verdict for kind, verdict in verdicts.items() if not verdict[0]}
        epochs = patience(trainer.max_epochs)
        needed = {"chance": epochs, "flat_loss": epochs, "constant": LOOKS}
        new = self.streaks.add(verdicts, needed, trainer.current_epoch, trainer.global_step)
        tell(trainer, pl_module, new, self.findings, self.stop)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Summarise."""
        summarise(trainer, self.findings)

    def on_exception(self, *args: Any) -> None:
        """Leave nothing behind."""
        self._look_away()

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps."""
        return self.streaks.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back; checkpoints of former versions have none."""
        if state_dict:
            self.streaks.load_state_dict(state_dict)

    def _watch(self, task: pl.LightningModule) -> None:
        torch.compiler.set_stance("force_eager")  # a compiled network would be compiled anew for the hooks
        self.seen, self.outputs = {}, []
        modules = protocols.acting(task_of(task).model)
        self.hooks += [one.register_forward_hook(self._look(site)) for site, one in modules.items()]

    def _look(self, site: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            self.seen[site] = gate_state(module, args[0].detach().float(), output.detach().float())

        return hook

    def _keep_output(self, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self.outputs.append(output.detach())

    def _look_away(self) -> None:
        if self.hooks:
            torch.compiler.set_stance("default")
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def _judge_seen(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._look_away()
        self._judge(trainer, task, self.seen)

    def _judge(
        self, trainer: pl.Trainer, task: pl.LightningModule, states: Mapping[str, Mapping[str, Tensor]]
    ) -> dict[str, dict[str, float]]:
        """Judge the modules by the mean of their states over the processes; returns these."""
        means = _means(trainer, states)
        new = []
        for site, state in means.items() if trainer.global_step >= FEWEST[0] else ():
            module = protocols.acting(task_of(task).model)[site]
            learned = isinstance(getattr(module, "gamma", None), nn.Parameter)
            verdicts = judge_module(state, learned, self.threshold)
            needed = dict.fromkeys(verdicts, LOOKS)
            epoch, step, name = trainer.current_epoch, trainer.global_step, type(module).__name__
            new += self.streaks.add(verdicts, needed, epoch, step, site, name)
        tell(trainer, task, new, self.findings, self.stop)
        return means

    def _spread(self, trainer: pl.Trainer, images: Tensor) -> float | None:
        """How much the outputs differ over a batch; None where they cannot: of one image, or of equal ones."""
        several = len(images) > 1 and bool((images[1:] != images[:1]).any())
        output = self.outputs[0] if self.outputs else None
        told = output if several and output is not None and len(output) == len(images) else None
        spread = images.new_ones(()) if told is None else output_spread(told)
        self.outputs = []
        if told is None and trainer.world_size == 1:
            return None
        return _means(trainer, {"": {"spread": spread}})[""]["spread"]


def patience(max_epochs: int | None) -> int:
    """Epochs in a row at chance after which a run of so many epochs counts as at chance.

    >>> [patience(epochs) for epochs in (1, 8, 40, 300)]
    [1, 3, 4, 30]
    """
    least, share = PATIENCE
    return min(max_epochs, max(least, math.ceil(share * max_epochs))) if max_epochs and max_epochs > 0 else least


def health_of(trainer: pl.Trainer) -> str | list[dict[str, Any]] | None:
    """The record's `health`: "ok", or what the monitor found; None where the run has no monitor."""
    monitor = next((callback for callback in callbacks_of(trainer) if isinstance(callback, GateMonitor)), None)
    return None if monitor is None else recorded(monitor.findings)


def _means(trainer: pl.Trainer, states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, float]]:
    """The states as numbers, with one wait for the device; of several processes their means."""
    names = [(site, name) for site, state in states.items() for name in state]
    if not names:
        return {}
    values = torch.stack([states[site][name].float().reshape(()) for site, name in names])
    values = trainer.strategy.reduce(values, reduce_op="mean") if trainer.world_size > 1 else values
    found: dict[str, dict[str, float]] = {site: {} for site in states}
    for (site, name), value in zip(names, values.tolist(), strict=True):
        found[site][name] = value
    return found
