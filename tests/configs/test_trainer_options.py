"""Every option of the trainers' files changes the trainer, or is refused in one line that names it."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from tests.configs.described import described
from tests.configs.other_values import OTHER
from zoomexp.errors import InputError
from zoomexp.graphs.loop import StepGraphs
from zoomexp.run.build import _trainer

ROOT = Path(__file__).parents[2]
CPU = OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / "trainer" / "cpu.yaml"))
FILES = sorted((ROOT / "configs" / "trainer").glob("*.yaml"))
OPTIONS = sorted({key for file in FILES for key in OmegaConf.load(file) if key not in ("_target_", "defaults")})
NAMES = (
    "max_epochs", "max_steps", "limit_train_batches", "limit_val_batches", "limit_test_batches", "precision",
    "accumulate_grad_batches", "gradient_clip_val", "log_every_n_steps", "num_sanity_val_steps", "world_size",
    "num_nodes", "check_val_every_n_epoch", "num_devices",
)  # fmt: skip
VALUES = {"accelerator": "gpu", "num_nodes": 2, "max_steps": 3, "on_oom": "fail"}
# What shows elsewhere: by which test, or for whom it is.
ELSEWHERE = {
    "flush_denormal": "tests/run/test_denormals.py",
    "on_oom": "tests/run/test_out_of_memory.py", "use_distributed_sampler": "data modules of one's own",
}  # fmt: skip


def made(options: dict[str, Any], folder: Path) -> Any:
    """What of a trainer its options decide."""
    cfg = OmegaConf.create({"trainer": options, "callbacks": {}, "logger": {}})
    trainer: pl.Trainer = _trainer(cfg, folder)
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    callbacks = [type(callback).__name__ for callback in trainer.callbacks]
    graphs = next(callback for callback in trainer.callbacks if isinstance(callback, StepGraphs))
    kinds = [type(one).__name__ for one in (trainer.profiler, trainer.strategy, trainer.accelerator)]
    return {name: getattr(trainer, name) for name in NAMES}, deterministic, callbacks, kinds, described(vars(graphs))


def other(name: str) -> Any:
    if name in VALUES or f"trainer.{name}" in OTHER:
        return VALUES.get(name, OTHER.get(f"trainer.{name}"))
    value = CPU[name]
    return not value if isinstance(value, bool) else value + 1


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ELSEWHERE])
def test_another_value_is_another_trainer(name, tmp_path):
    try:
        assert made(CPU | {name: other(name)}, tmp_path) != made(CPU, tmp_path)
    except InputError as error:
        assert str(error).startswith(f"trainer.{name}")
