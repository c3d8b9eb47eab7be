"""What comes before a run: its fields checked, generators seeded, weights to start from, what only the whole tells."""

import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl

from zoomexp import data_protocols, protocols, training_protocols
from zoomexp.backbones.start_weights import StartWeights, check_weights
from zoomexp.data_protocols import RunData
from zoomexp.errors import InputError
from zoomexp.run.calibrating import take_temperature
from zoomexp.run.denormals import flush_denormals
from zoomexp.run.readiness import check_batches, check_training, check_validation
from zoomexp.tasks.training import TrainedModel
from zoomexp.upstream.allocator import keep_memory
from zoomexp.upstream.trainer_parts import callbacks_of
from zoomexp.weights.checkpoint import load_weights, read_checkpoint
from zoomexp.weights.class_names import check_tested, classes_of, others, run_of


def prepare(seed: int, evaluate: str, on_oom: str = "halve", flush_denormal: bool = True) -> None:
    """Check the run's own fields, seed every generator, and keep the libraries' advice off the screen.

    Raises:
        InputError: For a seed that is no whole number >= 0, an `evaluate` other than best, last and start, or an
            `on_oom` other than halve and fail, a `flush_denormal` other than true and false.
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
    flush_denormals(flush_denormal)
    pl.seed_everything(seed, workers=True, verbose=False)


def check_ready(
    trainer: pl.Trainer,
    task: TrainedModel,
    data: RunData,
    checkpoint: str | None,
    evaluate: str,
) -> None:
    """Load the weights to start from and check what only the whole can tell, before anything is written.

    Raises:
        InputError: For no epochs, a checkpoint of another model, a test without training or weights, maps that are not
            there, batches that cannot be made, scores of validation that there will not be, or what a callback's
            `check_run` refuses.
    """
    if not protocols.gives_boxes(task.model) and protocols.needs_boxes(protocols.scorer(task.model)):
        raise InputError("tokens.scorer=boxes: needs the images' boxes; choose task=detection, or another scorer")
    listed = data if data_protocols.lists_images(data) else None
    if (
        protocols.gives_boxes(task.model)
        and listed is not None
        and getattr(listed.part("train"), "boxes", None) is None
    ):
        raise InputError("dataset: its images have no boxes; choose coco, cub200, digit_scenes or cluttered_digits")
    if getattr(task, "logit_classes", None) is not None and data_protocols.lists_scenes(data):
        raise InputError("dataset: its images have several objects and no label of their own; choose task=detection")
    _check_pixels(task, data)
    start, names = run_of(checkpoint), class_names(data) or ()
    anew = start is not None and evaluate != "start" and others(classes_of(start), names)
    load_weights(task.model, checkpoint, None if listed is None else listed.num_classes, new_head=anew)
    if "map" in task.inputs and not data_protocols.has_maps(data):
        raise InputError("relevance=none: this task or scorer needs the maps of a teacher; choose relevance=lrp")
    if data_protocols.has_dense_labels(data):
        check_dense_labels(task)
    if hasattr(task.loss, "weigh"):
        labels = cast(data_protocols.ListsImages, data).part("train").labels
        cast(Any, task.loss).weigh(np.bincount(labels, minlength=data.num_classes).tolist())
    for callback in callbacks_of(trainer):
        if hasattr(callback, "check_run"):
            callback.check_run(trainer, task, data)
    data.trainer = trainer  # says how many processes share the images
    check_batches("test", trainer.limit_test_batches, data.test_dataloader())
    if evaluate == "start":
        check_weights(task.model, checkpoint)
        _check_classes(task, checkpoint, names)
        if checkpoint is not None:
            task.on_load_checkpoint(read_checkpoint(checkpoint))  # what the task keeps beside the weights
        else:
            take_temperature(task)
        return
    check_training(trainer, task, data)
    check_validation(trainer, data, evaluate)


def _check_pixels(task: TrainedModel, data: RunData) -> None:
    """Refuse a segmenter without classes of pixels, and other networks where there are no others.

    Raises:
        InputError: either.
    """
    if protocols.gives_pixels(task.model) == data_protocols.lists_masks(data):
        return
    if protocols.gives_pixels(task.model):
        raise InputError("dataset: its images have no classes of their pixels; choose digit_masks or oxford_pet")
    raise InputError("dataset: every pixel of its images has a class, and no image; choose task=segmentation")


def check_dense_labels(task: TrainedModel) -> None:
    """Refuse a task that would not learn a teacher's labels of single patches.

    Raises:
        InputError: a network without logits of all its patches, or images that are mixed without their labels.
    """
    if not training_protocols.learns_patches(task.model):
        raise InputError("relevance=dense_labels: no logits of patches; choose backbone=lv_vit_s and tokens=uniform")
    if getattr(task, "mixing", None) is not None:
        raise InputError("mixing: would mix images without their dense labels; choose mixing=none")


def _check_classes(task: TrainedModel, checkpoint: str | None, names: Sequence[str]) -> None:
    """Refuse to test a classifier on classes that are none of those it was trained on; say so where some are not.

    Raises:
        InputError: none is.
    """
    begun: StartWeights | None = getattr(task.model, "start_weights", None)
    if getattr(task, "logit_classes", None) is None or begun is None:
        return
    start = run_of(checkpoint) or begun.source
    check_tested(f"checkpoint={checkpoint}" if checkpoint else f"backbone.run={start}", classes_of(start), names)


def class_names(data: RunData) -> list[str] | None:
    """The names of the images' classes; None where an image has none of its own."""
    return list(data.classes) if data_protocols.lists_images(data) else None


def shape_of(data: RunData) -> dict[str, Any]:
    """What a network must be built for."""
    return {"num_classes": data.num_classes, "in_chans": data.channels, "image_size": data.image_size}
