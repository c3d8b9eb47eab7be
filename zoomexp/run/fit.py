"""Train and test a run, and record what came out."""

import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger

from zoomexp import data_protocols
from zoomexp.callbacks.effects import Effects
from zoomexp.callbacks.gate_monitor import health_of
from zoomexp.data_protocols import RunData
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.inventory import inventory_of
from zoomexp.datasets.mask_inventory import mask_inventory_of
from zoomexp.datasets.scene_files import SceneFiles
from zoomexp.datasets.scene_inventory import scene_inventory_of
from zoomexp.datasets.scene_seeing import seeing_of_data
from zoomexp.processes import first_process
from zoomexp.results.prediction_table import as_table
from zoomexp.results.record import LAST, RunRecord
from zoomexp.results.recorded_quantities import entry
from zoomexp.run.calibrating import fit_temperature
from zoomexp.run.checkpoint_files import to_resume
from zoomexp.run.cost import run_cost
from zoomexp.run.epochs import epochs_of, latest
from zoomexp.run.library_errors import named_errors
from zoomexp.run.opening import say_opening
from zoomexp.run.prepare import shape_of
from zoomexp.run.stopping import placed
from zoomexp.tasks.training import TrainedModel
from zoomexp.upstream.trainer_parts import callbacks_of

FILES = (ImageFiles, SceneFiles)


def fit_and_test(
    trainer: pl.Trainer,
    task: TrainedModel,
    data: RunData,
    *,
    loggers: list[Logger],
    record: RunRecord,
    evaluate: str,
) -> None:
    """Train (from the last checkpoint if there is one), test once, and record metrics, predictions and cost.

    `evaluate` says which weights are tested: "best", "last", or "start", those before any training; then none is done.
    """
    with placed(trainer), named_errors(trainer, task):
        started, trainer.loggers = time.perf_counter(), loggers
        listed = data if data_protocols.lists_images(data) or data_protocols.lists_masks(data) else None
        keep_inventory(data, record)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()  # other jobs of this process are not this run's
        weights: str | None = None
        metrics: dict[str, float] = {}
        history: list[dict[str, Any]] = []
        if evaluate == "start":
            say_opening(None, task, data, record)
            fit_temperature(trainer, task, data)
        else:
            weights, metrics, history = fit(trainer, task, data, record, evaluate)
        test_started, cpu_started = time.perf_counter(), time.process_time()
        scores = trainer.test(
            task, datamodule=cast(pl.LightningDataModule, data), ckpt_path=weights, verbose=False, weights_only=True
        )[0]
        test_s, cpu_s = time.perf_counter() - test_started, time.process_time() - cpu_started
        predictions = gathered(task.predictions)
        names = getattr(data, "classes", ()), file_names(data)
        record.save_predictions(predictions, as_table(predictions, *names))
        if listed is not None:
            tables, further = task.tables(predictions, listed.classes)
            record.save_tables(tables)
            metrics |= further
        speed = speed_of_test(trainer, len(predictions["index"]), test_s, cpu_s)
        cost = run_cost(trainer, task, data, history) | speed | {"session_s": round(time.perf_counter() - started, 3)}
        if (begun := getattr(task.model, "start_weights", None)) is not None:
            record.facts["start_weights"] = begun.source
        tested = weights and str(Path(weights).relative_to(record.folder))
        known = {"quantities": entry(task.main, task.quantities)} | _shown_to(data)
        record.finish({**metrics, **scores}, cost, weights=tested, shape=shape_of(data), **known)
        trainer.strategy.barrier()  # a run that needs this one may follow at once, and it must find it finished


def speed_of_test(trainer: pl.Trainer, images: int, seconds: float, cpu_seconds: float) -> dict[str, float]:
    """Images per second by the clock, and of one process on a CPU its milliseconds for an image, all threads together.

    What else the machine does moves the clock manifold and CPU time hardly, so costs are compared by the latter.
    Nothing is left out of either: images are read, and modules and scores worked out.
    """
    on_cpu = trainer.strategy.root_device.type == "cpu"
    own = {"test_cpu_ms": round(1e3 * cpu_seconds / images, 3)} if on_cpu and trainer.world_size == 1 else {}
    return {"test_img_per_s": round(images / seconds, 3)} | own


def _shown_to(data: RunData) -> dict[str, Any]:
    """What is needed to name images of no data set: the classes' names, and how an image becomes an input."""
    kinds = (data_protocols.lists_images, data_protocols.lists_scenes, data_protocols.lists_masks)
    if not any(kind(data) for kind in kinds):
        return {}
    data = cast(data_protocols.ListsMasks, data)
    seeing = {"seeing": seeing_of_data(data).facts()} if hasattr(data, "mean") else {}  # a user's own may not say
    return {"classes": list(data.classes)} | seeing


def keep_inventory(data: RunData, record: RunRecord) -> None:
    """Record what the data set was found to hold; said once, too, where it is made of files, which may be missing."""
    held: Any = inventory_of(data) if data_protocols.lists_images(data) else None
    if data_protocols.lists_scenes(data):
        held = scene_inventory_of(data)
    elif data_protocols.lists_masks(data):
        held = mask_inventory_of(data)
    if held is None:
        return
    again = "data" in record.facts
    record.keep_data(held.summary(), held.full())
    if isinstance(tested_images(data), FILES) and first_process() and not again:
        encoding = sys.stdout.encoding or "utf-8"  # of a terminal that may not have all letters of the names
        print(held.line().encode(encoding, "backslashreplace").decode(encoding), flush=True)  # noqa: T201


def tested_images(data: RunData) -> Any:
    """The test images of a data module that says what its splits hold; else None."""
    if data_protocols.lists_images(data):
        return data.part("test")
    if data_protocols.lists_masks(data):
        return data.masked("test")
    return data.scenes("test") if data_protocols.lists_scenes(data) else None


def file_names(data: RunData) -> dict[int, str] | None:
    """The files of the test images by index; None where they are no files."""
    files = tested_images(data)
    if not isinstance(files, FILES):
        return None
    index = files.index.tolist() if isinstance(files, ImageFiles) else range(len(files))
    return {number: files.name(position) for position, number in enumerate(index)}


def fit(
    trainer: pl.Trainer, task: TrainedModel, data: RunData, record: RunRecord, evaluate: str
) -> tuple[str, dict[str, float], list[dict[str, Any]]]:
    """Train; returns the checkpoint to test, the latest metrics (and the best), and the history."""
    begun = to_resume(record.folder)
    say_opening(trainer, task, data, record, begun)
    try:
        trainer.fit(task, datamodule=cast(pl.LightningDataModule, data), ckpt_path=begun, weights_only=True)
    finally:
        record.facts["health"] = health_of(trainer)
    history = epochs_of(trainer).rows
    metrics = latest(history) | {"epochs": len(history)}
    best, last = best_of(trainer), record.folder / "checkpoints" / LAST
    metrics |= next((callback.found for callback in callbacks_of(trainer) if isinstance(callback, Effects)), {})
    if best:
        metrics[f"{best.monitor}_best"] = float(cast(torch.Tensor, best.best_model_score))
    if evaluate == "best" and not best and first_process():
        sys.stderr.write("evaluate=best: no validated epoch was kept as the best; the last one is tested\n")
    weights = best.best_model_path if evaluate == "best" and best else str(last if last.exists() else begun)
    return weights, metrics, history


def best_of(trainer: pl.Trainer) -> ModelCheckpoint | None:
    """The callback that keeps the best epoch, where one does."""
    keeps = (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
    return next((one for one in keeps if one.best_model_path and one.best_model_score is not None), None)


def gathered(predictions: dict[str, list[torch.Tensor]]) -> dict[str, np.ndarray]:
    """The predictions of all processes as arrays."""
    own = {name: torch.cat(parts).numpy() for name, parts in predictions.items()}
    if not torch.distributed.is_initialized():
        return own
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return {name: np.concatenate([part[name] for part in parts]) for name in own}
