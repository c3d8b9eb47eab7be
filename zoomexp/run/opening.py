"""The first words of a run, before its first epoch: what is trained, on what, from which recipe, and where it goes."""

import sys
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch

from zoomexp.data_protocols import RunData, lists_images, lists_masks
from zoomexp.processes import first_process
from zoomexp.protocols import HasInsertions
from zoomexp.results.identity import chosen_name
from zoomexp.results.record import RunRecord
from zoomexp.results.summary import from_here
from zoomexp.run.readiness import used
from zoomexp.run.recipe import told
from zoomexp.tasks.training import TrainedModel

SPLITS = {"train": "to train on", "val": "to validate", "test": "to test"}


def say_opening(
    trainer: pl.Trainer | None,
    task: TrainedModel,
    data: RunData,
    record: RunRecord,
    begun: Path | None = None,
) -> None:
    """Write two lines to the screen.

    Args:
        trainer: What trains; None: nothing is trained.
        task: Around the network, its modules inserted.
        data: Set up.
        record: Names the run, its choices and its folder.
        begun: The checkpoint that training goes on from; None: it begins.
    """
    if not first_process():
        return
    choices = record.facts["choices"]
    sites = ", ".join(cast(HasInsertions, task.model).insertion_sites)
    backbone, module = (chosen_name(group, record.config, choices) for group in ("backbone", "attention"))
    module = "modules" if module == "none" else module  # those of the finished run whose network this is
    host = f"{module} after {sites} in {backbone}" if sites else backbone
    part = data.part if lists_images(data) else data.masked if lists_masks(data) else None
    parts = {name: part(name) for name in SPLITS} if part else {}
    sizes = ", ".join(f"{len(part):,} {SPLITS[name]}" for name, part in parts.items() if part is not None)
    work = "tested without training" if trainer is None else task.work or _epochs(trainer, data)
    start = f"resumes at epoch {_epochs_done(begun) + 1}" if begun else "starts"
    sys.stderr.write(
        f"{host} on {choices['dataset']}{sizes and f', images: {sizes}'}; {work}\n"
        f"{told(choices, record.facts['overrides'])}; {start}, writes {from_here(record.folder)}\n"
    )
    sys.stderr.flush()


def _epochs_done(checkpoint: Path) -> int:
    """The epochs behind a checkpoint that was found sound; its tensors are not read for that."""
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["epoch"] + 1


def _epochs(trainer: pl.Trainer, data: RunData) -> str:
    if trainer.max_steps > 0:
        return f"{trainer.max_steps} steps"
    batches = used(trainer.limit_train_batches, len(data.train_dataloader()))
    return f"{trainer.max_epochs} epochs of {-(-batches // trainer.accumulate_grad_batches)} steps"
