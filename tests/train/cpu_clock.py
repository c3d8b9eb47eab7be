"""A callback that tells how much processor time each epoch's training took on each process."""

import json
import time
from pathlib import Path

import pytorch_lightning as pl


class CpuClock(pl.Callback):
    """Writes `<folder>/<rank>.json`, seconds per epoch; other processes on the machine do not count."""

    def __init__(self, folder: str) -> None:
        self.folder, self.spent = Path(folder), []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.process_time()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.spent.append(time.process_time() - self.started)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.spent))
