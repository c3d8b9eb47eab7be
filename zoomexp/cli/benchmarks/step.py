"""Training step of this project, everything switched on, against a bare PyTorch loop."""

import copy
import tempfile
from contextlib import nullcontext
from statistics import median
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import nn

from zoomexp.cli.benchmarks.bare import bare_loss, matching_timed
from zoomexp.cli.benchmarks.empty_loop import empty_loop
from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.script_options import whole_numbers
from zoomexp.errors import InputError
from zoomexp.metrics.declared import SPEED
from zoomexp.metrics.speed import clock
from zoomexp.results.record import RunRecord
from zoomexp.run.build import build, compile_network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building
from zoomexp.run.labels import labels_of
from zoomexp.run.logger import made_loggers, opened
from zoomexp.tasks.training import TrainedModel
from zoomexp.upstream.no_batch_hooks import NoBatchHooks
from zoomexp.upstream.trainer_parts import callbacks_of

OPTIONS = {"steps": "40", "rounds": "5", "model": "config"}
TINY = ("dataset=digits", "dataset.batch_size=4", "attention=none", "backbone=timm", "backbone.name=tiny",
        "backbone._target_=zoomexp.cli.benchmarks.step.tiny")  # fmt: skip


def tiny(*, num_classes: int, in_chans: int, **_: object) -> nn.Module:
    """A linear classifier of 8 x 8 images: so little work that the loop around it is all there is to measure."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_chans, num_classes))


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Compare the training step of `train.py`, everything switched on, with a bare PyTorch loop.

    Both sides have the same network, data, batches, dtype, loss, clipping and optimizer. The bare loop runs between
    the epochs of the Lightning run, so that both meet the same machine. What an epoch's end costs is not counted. Of a
    detector the share of the bare loop that matching takes is measured, too; with the tiny model what an empty loop of
    Lightning takes (see `empty_loop`).

    Returns:
        One row of figures.

    Raises:
        InputError: For an unknown model, or options that are no whole numbers.
    """
    steps, rounds = whole_numbers(options, "steps", "rounds")
    if options["model"] not in ("config", "tiny"):
        raise InputError(f"model={options['model']} is unknown; allowed: config, tiny")
    overrides = [*TINY, *overrides] if options["model"] == "tiny" else overrides
    with building(), tempfile.TemporaryDirectory() as folder:
        fixed = [f"output_dir={folder}", f"trainer.max_epochs={rounds + 1}", f"trainer.limit_train_batches={steps}"]
        one = compose_run([*overrides, *fixed, "trainer.limit_val_batches=0", "evaluate=last"])
        record = RunRecord(folder, one.config, one.choices, overrides)
        trainer, task, data = build(one.cfg, record.folder)
        trainer.loggers = made_loggers(one.config["logger"], record, labels_of(one))
        precision, empty = str(one.cfg.trainer.precision), options["model"] == "tiny"
        callbacks_of(trainer).append(stretches := Stretches(task, precision, one.cfg.compile, empty))
        with (
            record.claimed(OmegaConf.to_yaml(one.cfg, resolve=True)),
            opened(trainer.loggers, record),
        ):
            trainer.fit(task, datamodule=cast(pl.LightningDataModule, data))
    return [stretches.shown(data.batch_size)]


class Stretches(NoBatchHooks, pl.Callback):
    """Times each epoch's steps, and after them the same number of a bare loop's."""

    def __init__(self, task: TrainedModel, precision: str, compiled: bool | str, empty: bool = False) -> None:
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.empty: list[float] = []
        self.matching: list[float] = []
        self.precision, self.with_empty = precision, empty
        self.model = copy.deepcopy(task.model)
        compile_network(self.model, compiled)
        self.optimizer, self.loss = task._make_optimizer(self.model), bare_loss(task, self.model)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock; a short epoch has fewer steps than asked for."""
        self.steps = trainer.num_training_batches
        self.started = clock(trainer.strategy.root_device)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Stop it after the last step."""
        if trainer.is_last_batch:
            self.ours.append(clock(trainer.strategy.root_device) - self.started)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time the bare loop."""
        self.model.to(module.device).train()
        started = clock(trainer.strategy.root_device)
        with matching_timed(module.device) as matching:
            self.loop(trainer.train_dataloader, module.device, float(trainer.gradient_clip_val or 0))
        self.bare.append(clock(trainer.strategy.root_device) - started)
        self.matching.append(sum(matching))
        if self.with_empty:
            loader, steps = cast(Any, trainer.train_dataloader), cast(int, self.steps)
            self.empty.append(empty_loop(self.model, self.loss, self.optimizer, loader, steps, trainer))

    def loop(self, loader: Any, device: torch.device, clip: float) -> None:
        """The same number of steps without anything around them."""
        autocast = torch.autocast(device.type, torch.bfloat16) if self.precision == "bf16-mixed" else nullcontext()
        for _, batch in zip(range(cast(int, self.steps)), loader, strict=False):
            placed = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
            with autocast:
                loss = self.loss(placed)
            self.optimizer.zero_grad()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), clip)
            self.optimizer.step()

    def shown(self, batch_size: int) -> dict[str, Any]:
        """The figures, printed; the first stretch of each side, which warms up, does not count."""
        ours, bare = self.ours[1:], self.bare[1:]
        ratios = [b / o for o, b in zip(ours, bare, strict=True)]
        speeds = [self.steps * batch_size / median(side) for side in (ours, bare)]
        overhead = 1e6 * median(o - b for o, b in zip(ours, bare, strict=True)) / self.steps
        row = {"name": "training step", "steps": self.steps, "batch": batch_size, "precision": self.precision,
               "img_per_s": speeds[0], "bare_img_per_s": speeds[1],
               "ratio": median(ratios), "least": min(ratios), "most": max(ratios),
               "overhead_us": overhead,
               "overhead_of_the_best_us": 1e6 * (min(ours) - min(bare)) / self.steps}  # fmt: skip
        here, bare_loop = map(SPEED.number, speeds)
        print(f"{here} img/s here, {bare_loop} img/s bare loop, {self.precision}, batch {batch_size}, "
              f"{where(pick_device())}")  # fmt: skip
        print(f"ratio {row['ratio']:.3f} (from {row['least']:.3f} to {row['most']:.3f}, {len(ours)} rounds of "
              f"{self.steps} steps)")  # fmt: skip
        print(f"overhead {overhead:.0f} us a step; least stretch against least stretch "
              f"{row['overhead_of_the_best_us']:.0f}")  # fmt: skip
        if self.empty:
            empty = 1e6 * median(e - b for e, b in zip(self.empty[1:], bare, strict=True)) / self.steps
            row |= {"lightning_us": empty, "of_lightning": overhead / empty}
            print(f"{overhead / empty:.2f} times the overhead of Lightning's empty loop, {empty:.0f} us")
        if any(self.matching):
            shares = [matched / whole for matched, whole in zip(self.matching[1:], bare, strict=True)]
            row["matching"] = median(shares)
            print(f"matching {100 * row['matching']:.1f} % of the bare loop (at most {100 * max(shares):.1f})")
        return row
