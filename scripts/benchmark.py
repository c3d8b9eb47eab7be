"""Measure speed as ratios within one run.

    python scripts/benchmark.py step dataset=cifar10 data_dir=DIR    training step: this project against a bare loop

    steps=40 rounds=5    steps in a stretch, stretches of each side; everything else goes to the config as in train.py

On a CPU one thread runs and CPU time is measured, so that other work on the machine does not count; on a GPU wall time
with synchronisation at both ends. The two sides take turns, and the ratio is that of two neighbouring stretches.
"""

import copy
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hydra import compose, initialize_config_dir  # noqa: E402

from zoomexp.command_line import building, reported  # noqa: E402
from zoomexp.errors import InputError  # noqa: E402


def main(arguments: list[str]) -> None:
    """Run the benchmark that the first argument names."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    if arguments[0] != "step":
        raise InputError(f"{arguments[0]}: no such benchmark; allowed: step")
    own = {"steps": "40", "rounds": "5"}
    own |= dict(argument.split("=", 1) for argument in arguments[1:] if argument.split("=")[0] in own)
    if not all(value.isdigit() and int(value) > 0 for value in own.values()):
        raise InputError(f"steps={own['steps']} rounds={own['rounds']} must be whole numbers, at least 1")
    overrides = [argument for argument in arguments[1:] if argument.split("=")[0] not in own]
    step(overrides, steps=int(own["steps"]), rounds=int(own["rounds"]))


def step(overrides: list[str], steps: int, rounds: int) -> None:
    """Compare the training step of `train.py`, everything switched on, with a bare PyTorch loop.

    Both sides have the same network, data, batches, dtype, loss and optimizer. The bare loop runs between the epochs
    of the Lightning run, so that both meet the same machine.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    import train
    from zoomexp.results.record import RunRecord, processor
    from zoomexp.running import make_logger

    with building(), tempfile.TemporaryDirectory() as folder:
        fixed = [f"output_dir={folder}", f"trainer.max_epochs={rounds + 1}", f"trainer.limit_train_batches={steps}"]
        cfg = compose("train", [*overrides, *fixed, "trainer.limit_val_batches=0"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
        cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        record = RunRecord(folder, OmegaConf.to_container(cfg, resolve=True), choices, overrides)
        data, task, trainer = train.build(cfg, record.folder)
        record.start(OmegaConf.to_yaml(cfg, resolve=True))
        trainer.callbacks.append(stretches := make_stretches(task, data, steps, str(cfg.trainer.precision)))
        with make_logger(instantiate(cfg.logger), record) as trainer.logger:
            trainer.fit(task, datamodule=data)
    ours, bare = stretches.ours[1:], stretches.bare[1:]  # the first stretch of each warms up
    images = steps * data.batch_size
    ratios = [b / o for o, b in zip(ours, bare, strict=True)]
    speeds = f"{images / median(ours):.0f} img/s here, {images / median(bare):.0f} img/s bare loop"
    print(f"{speeds}, {cfg.trainer.precision}, batch {data.batch_size}, {processor()}, one thread")
    print(f"ratio {median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f}, {rounds} rounds of {steps} steps)")
    print(f"overhead {1e6 * median(o - b for o, b in zip(ours, bare, strict=True)) / steps:.0f} us a step")


def make_stretches(task, data, steps: int, precision: str):
    """A callback that times each epoch, and after it the same number of steps of a bare loop."""
    import pytorch_lightning as pl
    import torch

    class Stretches(pl.Callback):
        def __init__(self) -> None:
            self.ours, self.bare = [], []
            self.model = copy.deepcopy(task.model)
            self.optimizer = task._make_optimizer(self.model)

        def on_train_epoch_start(self, trainer, module) -> None:
            self.started = clock(trainer)

        def on_train_epoch_end(self, trainer, module) -> None:
            self.ours.append(clock(trainer) - self.started)
            self.model.to(module.device).train()
            started = clock(trainer)
            self.loop(trainer.train_dataloader, module.device)
            self.bare.append(clock(trainer) - started)

        def loop(self, loader, device) -> None:
            autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
            for _, batch in zip(range(steps), loader, strict=False):
                with autocast:
                    loss = torch.nn.functional.cross_entropy(self.model(batch["image"]), batch["label"])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()

    return Stretches()


def clock(trainer) -> float:
    """Seconds: of CPU time, or of wall time once the GPU is done."""
    import torch

    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


if __name__ == "__main__":
    with reported(), initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        main(sys.argv[1:])
