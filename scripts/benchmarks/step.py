"""Training step of this project, everything switched on, against a bare PyTorch loop."""

import copy
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from statistics import median

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

import train
from benchmarks.options import whole
from zoomexp.command_line import building
from zoomexp.composition import compose_run, make
from zoomexp.metrics.speed import clock
from zoomexp.results.record import RunRecord, processor
from zoomexp.running import make_logger

OPTIONS = {"steps": "40", "rounds": "5"}


def run(options: dict[str, str], overrides: list[str]) -> None:
    """Compare the training step of `train.py`, everything switched on, with a bare PyTorch loop.

    Both sides have the same network, data, batches, dtype, loss and optimizer. The bare loop runs between the epochs
    of the Lightning run, so that both meet the same machine.
    """
    steps, rounds = whole(options, "steps", "rounds")
    with building(), tempfile.TemporaryDirectory() as folder:
        fixed = [f"output_dir={folder}", f"trainer.max_epochs={rounds + 1}", f"trainer.limit_train_batches={steps}"]
        one = compose_run([*overrides, *fixed, "trainer.limit_val_batches=0"])
        precision = str(one.cfg.trainer.precision)
        record = RunRecord(folder, one.config, one.choices, overrides)
        data, task, trainer = train.build(one.cfg, record.folder)
        trainer.callbacks.append(stretches := Stretches(task, steps, precision))
        with (
            record.alone(OmegaConf.to_yaml(one.cfg, resolve=True)),
            make_logger(make(one.cfg.logger), record) as logger,
        ):
            trainer.logger = logger
            trainer.fit(task, datamodule=data)
    ours, bare = stretches.ours[1:], stretches.bare[1:]  # the first stretch of each warms up
    images = steps * data.batch_size
    ratios = [b / o for o, b in zip(ours, bare, strict=True)]
    speeds = f"{images / median(ours):.0f} img/s here, {images / median(bare):.0f} img/s bare loop"
    print(f"{speeds}, {precision}, batch {data.batch_size}, {processor()}, one thread")
    print(f"ratio {median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}, {rounds} rounds of {steps} steps)")
    print(f"overhead {1e6 * median(o - b for o, b in zip(ours, bare, strict=True)) / steps:.0f} us a step")


class Stretches(pl.Callback):
    """Times each epoch, and after it the same number of steps of a bare loop."""

    def __init__(self, task: pl.LightningModule, steps: int, precision: str) -> None:
        self.ours, self.bare, self.steps, self.precision = [], [], steps, precision
        self.model = copy.deepcopy(task.model)
        self.optimizer = task._make_optimizer(self.model)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = clock(trainer.strategy.root_device)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop it, and time the bare loop."""
        self.ours.append(clock(trainer.strategy.root_device) - self.started)
        self.model.to(module.device).train()
        started = clock(trainer.strategy.root_device)
        self.loop(trainer.train_dataloader, module.device)
        self.bare.append(clock(trainer.strategy.root_device) - started)

    def loop(self, loader: Iterable, device: torch.device) -> None:
        """The same number of steps without anything around them."""
        autocast = torch.autocast(device.type, torch.bfloat16) if self.precision == "bf16-mixed" else nullcontext()
        for _, batch in zip(range(self.steps), loader, strict=False):
            with autocast:
                loss = torch.nn.functional.cross_entropy(self.model(batch["image"]), batch["label"])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
