"""Checks of the trainer's options where Lightning's own answer is no answer, or comes in the middle of a run."""

import re
from collections.abc import Mapping
from typing import Any, cast

from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from pytorch_lightning.callbacks import (
    BatchSizeFinder,
    Callback,
    DeviceStatsMonitor,
    LearningRateFinder,
    LearningRateMonitor,
    StochasticWeightAveraging,
)

from zoomexp.arguments import boolean, finite, integer, number, one_of
from zoomexp.errors import InputError

LEAST = {
    "accumulate_grad_batches": 1, "log_every_n_steps": 1, "num_sanity_val_steps": -1, "check_val_every_n_epoch": 1,
    "reload_dataloaders_every_n_epochs": 0, "min_epochs": 0, "min_steps": 0, "num_nodes": 1,
}  # fmt: skip
SWITCHES = (
    "enable_model_summary", "use_distributed_sampler", "inference_mode", "detect_anomaly", "benchmark",
    "sync_batchnorm", "enable_progress_bar", "enable_autolog_hparams",
)  # fmt: skip
# Options of Lightning's that a run cannot have, and what to choose instead.
EXCLUDED = {
    "fast_dev_run": "it keeps no checkpoint to test; choose trainer=smoke",
    "barebones": "it keeps nothing that a run records; choose trainer=smoke",
    "overfit_batches": "the data sets bring loaders of their own; choose dataset.train_size",
    "val_check_interval": "epochs are validated at their end; choose trainer.check_val_every_n_epoch",
    "limit_predict_batches": "a run predicts nothing; choose trainer.limit_test_batches",
    "model_registry": "a run's weights are in its folder",
    "logger": "choose logger=wandb or logger=none",
    "callbacks": "choose callbacks=[default,...]",
    "default_root_dir": "choose output_dir",
    "enable_checkpointing": "a run resumes from its checkpoints; it is always on",
}
# Callbacks of Lightning's that a run cannot have, and what to choose instead.
EXCLUDED_CALLBACKS = {
    BatchSizeFinder: "it changes dataset.batch_size, and no record says so; choose dataset.batch_size",
    LearningRateFinder: "it changes optimizer.lr, and no record says so; choose optimizer.lr",
    StochasticWeightAveraging: "its average comes after the last checkpoint and is not tested; choose "
    "callbacks=[default,ema]",
}
WANT_A_LOGGER = (LearningRateMonitor, DeviceStatsMonitor)
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")


def check_trainer(options: Mapping[str, object]) -> None:
    """Check the options of a trainer; those that are not given are not looked at.

    Raises:
        InputError: One that is of the wrong kind or out of its range.
    """
    for name, instead in EXCLUDED.items():
        if name in options:
            raise InputError(f"trainer.{name}: not an option of a run, for {instead}")
    for name, least in LEAST.items():
        if options.get(name) is not None or name in ("accumulate_grad_batches", "check_val_every_n_epoch"):
            integer(f"trainer.{name}", options.get(name, least), least)
    for name in LIMITS:
        if options.get(name) is not None:
            finite(f"trainer.{name}", options[name], lambda share: share >= 0, "a share, or a number of batches")
    if options.get("gradient_clip_val") is not None:
        number("trainer.gradient_clip_val", options["gradient_clip_val"], 0)
    if options.get("max_steps", -1) != -1:
        integer("trainer.max_steps", options["max_steps"])
    if options.get("deterministic") is not None and options["deterministic"] != "warn":
        boolean("trainer.deterministic", options["deterministic"])
    for name in SWITCHES:
        if options.get(name) is not None:
            boolean(f"trainer.{name}", options[name])
    if options.get("gradient_clip_algorithm") is not None:
        one_of("trainer.gradient_clip_algorithm", options["gradient_clip_algorithm"], ("norm", "value"))
    if options.get("max_time") is not None:
        _check_time(options["max_time"])
    for name, example in (("accelerator", "cpu"), ("strategy", "auto"), ("precision", "32-true")):
        if not isinstance(options.get(name, example), str | int):
            raise InputError(f"trainer.{name}={options[name]} must be a word, for example {example}")
    _check_hardware(options.get("accelerator", "cpu"), options.get("devices", 1))


def _check_time(given: object) -> None:
    if not (isinstance(given, str) and re.fullmatch(r"\d+(:\d{1,2}){3}", given)):
        raise InputError(f"trainer.max_time={given!r} must be days:hours:minutes:seconds, for example 00:02:00:00")


def _check_hardware(accelerator: object, devices: object) -> None:
    no_gpu = not (CUDAAccelerator.is_available() or MPSAccelerator.is_available())
    if accelerator in ("gpu", "cuda") and no_gpu:
        raise InputError(f"trainer.accelerator={accelerator}: no GPU here that PyTorch can use; allowed: cpu, auto")
    count = devices == "auto" or (str(devices).isdigit() and int(str(devices)) >= 1)
    if not count and (accelerator == "cpu" or devices == 0):
        allowed = "a whole number, at least 1, or auto; of GPUs also a list of their numbers, or -1 for all"
        raise InputError(f"trainer.devices={devices} must be {allowed}")


def check_callbacks(callbacks: Mapping[str, object], logged: bool) -> None:
    """Check a run's callbacks, and note the option of each, so that its errors can name it.

    Args:
        callbacks: by their names in the config.
        logged: whether the run has a logger.

    Raises:
        InputError: one that is no callback, one that cannot do without a logger, or one that a run cannot have.
    """
    for name, callback in callbacks.items():
        if not isinstance(callback, Callback):
            raise InputError(f"callbacks.{name}: {type(callback).__name__} is no callback of pytorch_lightning")
        if isinstance(callback, WANT_A_LOGGER) and not logged:
            raise InputError(f"callbacks.{name}: needs a logger, and there is none; choose logger=wandb")
        for kind, instead in EXCLUDED_CALLBACKS.items():
            if isinstance(callback, kind):
                raise InputError(f"callbacks.{name}: {kind.__name__} is not for a run: {instead}")
        cast(Any, callback).option = f"callbacks.{name}"
