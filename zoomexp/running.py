"""The steps of a run around Lightning's fit and test: preparation, logger, weights to start from, cost."""

import contextlib
import logging
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import nn

from zoomexp.allocator import keep_memory
from zoomexp.callbacks.gate_monitor import health_of
from zoomexp.callbacks.history import History
from zoomexp.callbacks.stopping import placed
from zoomexp.checkpoint_files import read_checkpoint, to_resume
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.inventory import inventory_of
from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs, macs_over, parameters
from zoomexp.online import begin
from zoomexp.results.opening import say_opening
from zoomexp.results.predictions import as_table
from zoomexp.results.record import RunRecord, first_process, processor

COUNTED = 64  # test images over which the work of a network that chooses its tokens is averaged


def prepare(seed: int, evaluate: str, on_oom: str = "halve") -> None:
    """Check the run's own fields, seed every generator, and keep the libraries' advice off the screen.

    Raises:
        InputError: For a seed that is no whole number >= 0, an `evaluate` other than best, last and start, or an
            `on_oom` other than halve and fail.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InputError(f"seed={seed} must be a whole number, at least 0")
    if evaluate not in ("best", "last", "start"):
        raise InputError(f"evaluate={evaluate} is unknown; allowed: best, last, start")
    if on_oom not in ("halve", "fail"):
        raise InputError(f"trainer.on_oom={on_oom} is unknown; allowed: halve, fail")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # said on every machine of a cluster
    warnings.filterwarnings("ignore", module="PIL")  # what it says of a file names none; bad ones are named elsewhere
    warnings.filterwarnings("ignore", message="Grad strides do not match")  # of channels_last weights; not an error
    keep_memory()
    pl.seed_everything(seed, workers=True, verbose=False)


@contextlib.contextmanager
def make_logger(make: Callable[..., Logger] | None, record: RunRecord) -> Iterator[Logger | None]:
    """The run's logger, named and grouped for dashboards; closed at the end, so that the next job gets its own run.

    Args:
        make: Builds the logger; None or empty for none.
        record: Names the run.
    """
    if not make:
        yield None
        return
    choices = record.facts["choices"]
    labels = {key: str(choices.get(key)) for key in ("dataset", "backbone", "attention", "insertion", "experiment")}
    logger = make(
        save_dir=str(record.folder),
        id=record.path.name,
        name="-".join([labels["backbone"], labels["attention"], labels["insertion"], record.path.name]),
        group=f"{labels['dataset']}/{labels['backbone']}",
        job_type="train",
        tags=[f"{key}:{value}" for key, value in labels.items()] + [f"seed:{record.facts['seed']}"],
        config=dict(record.config) | {"choices": choices},
    )
    if isinstance(logger, WandbLogger):
        logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns about it
        begin(logger, str(record.folder))
    try:
        yield logger
    finally:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=1 if sys.exc_info()[0] else 0)


def make_ready(
    trainer: pl.Trainer,
    task: pl.LightningModule,
    data: pl.LightningDataModule,
    checkpoint: str | None,
    evaluate: str,
) -> None:
    """Load the weights to start from and check what only the whole can tell, before anything is written.

    Raises:
        InputError: For no epochs, a checkpoint of another model, maps that are not there, or training batches that
            cannot be made.
    """
    load_weights(task.model, checkpoint)
    if "map" in task.inputs and not getattr(data, "has_maps", False):
        raise InputError("relevance=none: this task or scorer needs the maps of a teacher; choose relevance=lrp")
    if hasattr(task.loss, "weigh"):
        task.loss.weigh(np.bincount(data.part("train").labels, minlength=data.num_classes).tolist())
    data.trainer = trainer  # says how many processes share the images
    if evaluate == "start":
        return
    if trainer.max_epochs is None or trainer.max_epochs < 1:
        raise InputError(f"trainer.max_epochs={trainer.max_epochs} must be a whole number, at least 1")
    if getattr(task, "mixing", None):
        task.mixing.check(data.batch_size // trainer.world_size)
    if len(data.train_dataloader()) == 0 or trainer.limit_train_batches == 0:
        raise InputError("trainer.limit_train_batches and dataset.batch_size leave no batch to train on")


def load_weights(net: nn.Module, checkpoint: str | Path | None) -> None:
    """Start from the weights of a checkpoint of the same network.

    Raises:
        InputError: If the file is missing, unreadable or of another network.
    """
    if checkpoint is None:
        return
    if not isinstance(checkpoint, str | Path):
        raise InputError(f"checkpoint={checkpoint} must be a .ckpt file of a run folder, or null")
    try:
        stored = read_checkpoint(checkpoint)["state_dict"]
    except FileNotFoundError as error:
        raise InputError(
            f"checkpoint={checkpoint}: no such file; name a .ckpt file of a run folder, or null"
        ) from error
    except Exception as error:  # torch has many ways to say that a file is no checkpoint
        raise InputError(f"checkpoint={checkpoint}: not a readable checkpoint ({type(error).__name__})") from error
    own = net.state_dict()
    weights = {key.removeprefix("model."): value for key, value in stored.items() if key.startswith("model.")}
    differing = [key for key in own.keys() | weights.keys()
                 if key not in own or key not in weights or own[key].shape != weights[key].shape]  # fmt: skip
    if differing:
        raise InputError(
            f"checkpoint={checkpoint}: of another model; {len(differing)} of {len(own)} tensors differ, "
            f"for example {min(differing)}"
        )
    net.load_state_dict(weights)


def shape_of(data: pl.LightningDataModule) -> dict[str, int]:
    """What a network must be built for."""
    return {"num_classes": data.num_classes, "in_chans": data.channels, "image_size": data.image_size}


def fit_and_test(
    trainer: pl.Trainer,
    task: pl.LightningModule,
    data: pl.LightningDataModule,
    *,
    logger: Logger | None,
    record: RunRecord,
    evaluate: str,
) -> None:
    """Train (from the last checkpoint if there is one), test once, and record metrics, predictions and cost.

    `evaluate` says which weights are tested: "best", "last", or "start", those before any training; then none is done.
    """
    with placed(trainer):
        _fit_and_test(trainer, task, data, logger, record, evaluate)


def _fit_and_test(
    trainer: pl.Trainer,
    task: pl.LightningModule,
    data: pl.LightningDataModule,
    logger: Logger | None,
    record: RunRecord,
    evaluate: str,
) -> None:
    started, trainer.logger = time.perf_counter(), logger
    keep_inventory(data, record)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # other jobs of this process are not this run's
    weights, metrics, history = None, {}, []
    if evaluate == "start":
        say_opening(None, task.model, data, record)
    else:
        weights, metrics, history = fit(trainer, task, data, record, evaluate)
    test_started = time.perf_counter()
    scores = trainer.test(task, datamodule=data, ckpt_path=weights, verbose=False, weights_only=True)[0]
    test_s = time.perf_counter() - test_started
    predictions = gathered(task.predictions)
    record.save_predictions(predictions, as_table(predictions, data.classes, file_names(data)))
    speed = {"test_img_per_s": round(len(predictions["index"]) / test_s, 1)}
    cost = run_cost(trainer, task, data, history) | speed | {"session_s": round(time.perf_counter() - started, 3)}
    tested = weights and str(Path(weights).relative_to(record.folder))
    record.finish(metrics | scores, cost, weights=tested, shape=shape_of(data))
    trainer.strategy.barrier()  # a run that needs this one may follow at once, and it must find it finished
    if logger is not None:
        figures = {f"cost/{name}": value for name, value in cost.items() if isinstance(value, int | float)}
        logger.log_metrics(metrics | figures)


def keep_inventory(data: pl.LightningDataModule, record: RunRecord) -> None:
    """Record what the data set was found to hold; said once, too, where it is made of files, which may be missing."""
    found, again = inventory_of(data), "data" in record.facts
    record.keep_data(found.summary(), found.full())
    if isinstance(data.part("test"), ImageFiles) and first_process() and not again:
        print(found.line(), flush=True)  # noqa: T201


def file_names(data: pl.LightningDataModule) -> dict[int, str] | None:
    """The files of the test images by index; None where they are no files."""
    files = data.part("test")
    if not isinstance(files, ImageFiles):
        return None
    return {index: files.name(position) for position, index in enumerate(files.index.tolist())}


def fit(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, record: RunRecord, evaluate: str
) -> tuple[str, dict[str, float], list[dict[str, Any]]]:
    """Train; returns the checkpoint to test, the metrics of the last epoch (and the best), and the history."""
    begun = to_resume(record.folder)
    say_opening(trainer, task.model, data, record, begun)
    try:
        trainer.fit(task, datamodule=data, ckpt_path=begun, weights_only=True)
    finally:
        record.facts["health"] = health_of(trainer)
    history = next(callback for callback in trainer.callbacks if isinstance(callback, History)).rows
    best = trainer.checkpoint_callback.best_model_path
    metrics = {name: value for name, value in history[-1].items() if "/" in name} | {"epochs": len(history)}
    if best:
        metrics[f"{trainer.checkpoint_callback.monitor}_best"] = float(trainer.checkpoint_callback.best_model_score)
    last = trainer.checkpoint_callback.last_model_path or str(begun)  # nothing is saved if only the test was missing
    weights = best if evaluate == "best" and best else last
    return weights, metrics, history


def gathered(predictions: dict[str, list[torch.Tensor]]) -> dict[str, np.ndarray]:
    """The predictions of all processes as arrays."""
    own = {name: torch.cat(parts).numpy() for name, parts in predictions.items()}
    if not torch.distributed.is_initialized():
        return own
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return {name: np.concatenate([part[name] for part in parts]) for name in own}


def run_cost(
    trainer: pl.Trainer, task: pl.LightningModule, data: pl.LightningDataModule, history: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the run took: counts of the model, time and speed of training, memory, and on what.

    `peak_mib` is the GPU's peak allocation in this run, or the process's peak resident memory on a CPU (in a multirun
    that of the largest job so far).
    """
    seconds = sum(row["epoch_s"] for row in history)
    images = sum(row["epoch_s"] * row["img_per_s"] for row in history)
    on_gpu = trainer.strategy.root_device.type == "cuda"
    return {
        **parameters(task.model),
        **count_macs(task, data),
        "insertion_sites": task.model.insertion_sites,
        "train_s": round(seconds, 3),
        "img_per_s": round(images / seconds, 1) if seconds else None,
        "batch": data.batch_size,
        "effective_batch": data.batch_size * trainer.accumulate_grad_batches,
        "dtype": str(trainer.precision),
        "device": torch.cuda.get_device_name() if on_gpu else processor(),
        "devices": trainer.world_size,
        "threads": torch.get_num_threads(),
        "peak_mib": round(peak_bytes(on_gpu) / 2**20, 1),
    }


def count_macs(task: pl.LightningModule, data: pl.LightningDataModule) -> dict[str, float]:
    """`macs` of an image; of a network that chooses its tokens the mean over test images (see `macs_over`)."""
    like = next(task.model.parameters())  # in single precision, or whatever else trainer.precision made of it
    if not hasattr(task.model, "lengths"):
        return {"macs": macs(task.model, like.new_zeros(1, data.channels, data.image_size, data.image_size))}
    batch = next(iter(data.test_dataloader()))
    inputs = [batch[name][:COUNTED].to(like).split(1) for name in task.model.inputs]
    return macs_over(task.model, list(zip(*inputs, strict=True)))


def peak_bytes(on_gpu: bool) -> int:
    """Peak memory so far: allocated on the GPU, or resident in this process."""
    if on_gpu:
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
