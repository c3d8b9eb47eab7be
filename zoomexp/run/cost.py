"""What a run took."""

import os
import resource
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytorch_lightning as pl
import torch

from zoomexp import data_protocols, protocols
from zoomexp.data_protocols import RunData
from zoomexp.metrics.cost import macs, macs_over, parameters
from zoomexp.metrics.targets import sides
from zoomexp.results.provenance import processor
from zoomexp.run.denormals import flushes_denormals
from zoomexp.tasks.training import TrainedModel

COUNTED = 64  # test images over which the work of a network that chooses its tokens is averaged


def run_cost(trainer: pl.Trainer, task: TrainedModel, data: RunData, history: list[dict[str, Any]]) -> dict[str, Any]:
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
        "insertion_sites": cast(protocols.HasInsertions, task.model).insertion_sites,
        "train_s": round(seconds, 3),
        "img_per_s": round(images / seconds, 3) if seconds else None,
        "batch": data.batch_size,
        "effective_batch": data.batch_size * trainer.accumulate_grad_batches,
        "dtype": str(trainer.precision),
        "device": torch.cuda.get_device_name() if on_gpu else processor(),
        "devices": trainer.world_size,
        "threads": torch.get_num_threads(),
        "instruction_set": instruction_set(),
        "flush_denormal": flushes_denormals(),
        "peak_mib": round(peak_bytes(on_gpu) / 2**20, 1),
    }


def instruction_set() -> str:
    """What PyTorch's and oneDNN's kernels use here: with the threads it decides how sums are rounded."""
    limits = [f"{name}={os.environ[name]}" for name in ("ONEDNN_MAX_CPU_ISA",) if name in os.environ]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *limits])


def count_macs(task: TrainedModel, data: RunData) -> dict[str, float]:
    """`macs` of an image; of a network that chooses its tokens the mean over test images (see `macs_over`).

    These are the first `COUNTED`, of the first batch alone where all images have one size.
    """
    like = next(task.model.parameters())  # in single precision, or whatever else trainer.precision made of it
    if not protocols.chooses_tokens(task.model):
        return {"macs": macs(task.model, like.new_zeros(1, data.channels, *sides(data.image_size)))}
    return macs_over(task.model, _examples(task, data, like))


def _examples(task: TrainedModel, data: RunData, like: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """What the network reads of each test image that is counted, batches of one, on its device."""
    left = COUNTED
    for batch in data.test_dataloader():
        inputs = [values[:left].to(like if values.is_floating_point() else like.device).split(1)
                  for values in task.read(batch).values()]  # fmt: skip
        yield from zip(*inputs, strict=True)
        left -= len(inputs[0])
        if left == 0 or not data_protocols.sizes_vary(data):
            return


def peak_bytes(on_gpu: bool) -> int:
    """Peak memory so far: allocated on the GPU, or resident in this process."""
    if on_gpu:
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
