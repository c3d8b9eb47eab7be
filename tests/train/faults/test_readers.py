"""Processes that read images and stop doing so."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets import stream_loader

AGAIN = "same command: goes on after the last epoch"


@pytest.fixture
def stuck_disk(tmp_path, monkeypatch):
    """`stuck_disk(act)`: a run on files that stop answering when training begins; `act(file)` is then called."""
    for number in range(16):
        folder = tmp_path / "images" / ("test" if number % 2 else "train") / f"class{number // 8}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), number, np.uint8)).save(folder / f"{number}.png")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it to read waits for a writer, for ever

    def prepare(act) -> tuple[str, ...]:
        def stop(folder: Path) -> None:
            for path in tmp_path.glob("images/train/*/*.png"):
                path.unlink()
                path.hardlink_to(pipe)
            act(pipe)

        monkeypatch.setattr("zoomexp.run.fit.to_resume", stop)
        return ("dataset=image_folder", f"data_dir={tmp_path}", "dataset.image_size=32", "dataset.batch_size=4",
                "dataset.num_workers=1", "dataset.val_fraction=0", "trainer.max_epochs=1", "logger=none",
                "attention=none", "evaluate=last")  # fmt: skip

    return prepare


def test_stuck(train, facts, stuck_disk, monkeypatch, row):
    monkeypatch.setattr(stream_loader, "TIMEOUT", 5)
    ended = train(base=stuck_disk(lambda pipe: None))
    assert (ended.code, ended.err.count("error: ")) == (1, 1), ended.err
    assert facts()["status"].startswith("failed: FaultError: worker 0 of dataset.num_workers=1 gave no batch for 5 s, ")
    row("reader stuck", "images that never open", ended.code, ended.err, AGAIN)


def test_killed(train, facts, stuck_disk, row):
    def kill(pipe: Path) -> None:
        with pipe.open("wb"):  # opens when the worker has opened its end
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, signal.SIGKILL)

    ended = train(base=stuck_disk(lambda pipe: threading.Thread(target=kill, args=(pipe,), daemon=True).start()))
    assert (ended.code, ended.err.count("error: ")) == (1, 1), ended.err
    assert facts()["status"].startswith("failed: FaultError: a process that reads images was killed")
    row("reader killed", "SIGKILL of the worker process", ended.code, ended.err, AGAIN)
