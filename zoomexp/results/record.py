"""The run record: one folder per run, its path made from the choices and a hash of what decides the result."""

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from zoomexp.errors import InputError
from zoomexp.faults import as_fault
from zoomexp.results.predictions import write_table
from zoomexp.whole_file import whole_file

# What does not decide the numbers: where things lie, who watches, how the work is spread over the hardware.
NOT_SCIENCE = (
    "output_dir", "data_dir", "rerun", "compile", "logger", "dataset.data_dir", "dataset.num_workers",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.log_every_n_steps",
    "trainer.enable_progress_bar", "trainer.on_oom", "trainer.profiler", "callbacks.progress", "callbacks.gates",
    "callbacks.history", "callbacks.pictures", "recipe",
)  # fmt: skip
# Classes that add checks to those in whose place they came: the numbers are the same, and so is the run.
STANDS_FOR = {
    "zoomexp.callbacks.early_stopping.EarlyStopping": "pytorch_lightning.callbacks.EarlyStopping",
    "zoomexp.callbacks.averaging.ema": "pytorch_lightning.callbacks.EMAWeightAveraging",
}
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # the checkpoint to resume from, and the one that serves if it is damaged
PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "hydra-core", "zoomexp")


class RunRecord:
    """A run's folder and its `metrics.json`. Of several processes that share a run, only the first one writes.

    Args:
        output_dir: Root of all outputs.
        config: The resolved config, plain containers.
        choices: The config groups' choices, e.g. {"attention": "loupe"}; subgroups are left out.
        overrides: What was typed.
    """

    def __init__(
        self, output_dir: str | Path, config: Mapping[str, Any], choices: Mapping[str, str], overrides: list[str]
    ) -> None:
        choices = {group: choice for group, choice in choices.items() if "/" not in group}
        self.config = config
        self.path = run_path(config, choices)
        self.folder = Path(output_dir).resolve() / "runs" / self.path
        self.facts = {
            "run": str(self.path),
            "status": "running",
            "choices": dict(choices),
            "overrides": list(overrides),
            "seed": config["seed"],
            "metrics": {},
            "cost": {},
            "health": None,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
            "git": git_state(),
            "host": {"machine": platform.machine(), "processor": processor(), "cores": os.cpu_count()},
        }

    def finished(self) -> bool:
        """Whether this very run has been done; then `facts` are those of the finished run."""
        with contextlib.suppress(OSError, json.JSONDecodeError):
            stored = json.loads((self.folder / "metrics.json").read_text())
            if stored["status"] == "finished":
                self.facts = stored
                return True
        return False

    @contextlib.contextmanager
    def alone(self, config_yaml: str, rerun: bool = False) -> Iterator[bool]:
        """Do the run inside: its folder is made, no other process does it, and an error that leaves it is recorded.

        Args:
            config_yaml: The resolved config, for the folder.
            rerun: Forget what an earlier run left.

        Yields:
            Whether the run is to be done; not if another process, which this one waited for, has finished it.

        Raises:
            InputError: If the folder cannot be written.
            FaultError: In the place of an error inside that says that disk, memory or a worker gave way.
        """
        if not first_process():
            yield True
            return
        with self._lock():
            if not rerun and self.finished():
                yield False
                return
            try:
                self._start(config_yaml, rerun)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                yield True
            except (SystemExit, KeyboardInterrupt) as error:
                with contextlib.suppress(OSError):
                    self._write(f"interrupted: {told_by(error)}")
                raise
            except BaseException as error:
                told = as_fault(error, self.folder) or error
                reason = str(told).strip().splitlines()[0] if str(told).strip() else "no message"
                with contextlib.suppress(OSError):  # on a full disk the old record stays
                    self._write(f"failed: {type(told).__name__}: {reason}")
                if told is error:
                    raise
                raise told from error

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the run; wait, and say so, while another process has it."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder.parent / f".{self.folder.name}.lock")
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
        except OSError as error:
            raise self._unwritable(error) from error
        if not lock.is_locked:
            sys.stderr.write(f"waiting for another process that does {self.path}\n")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"output_dir: cannot write {self.folder} ({error.strerror}); name a writable one")

    def _start(self, config_yaml: str, rerun: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        left = [*self.folder.glob("*.partial"), *self.folder.glob("checkpoints/*.partial")]  # of a killed process
        if rerun:
            left += [*self.folder.glob("checkpoints/*.ckpt"), *self.folder.glob("history.csv")]
        for old in left:
            old.unlink()
        write_text(self.folder / "config.yaml", config_yaml)
        self._write("running")

    def finish(
        self, metrics: Mapping[str, float], cost: Mapping[str, Any], weights: str | None, shape: Mapping[str, int]
    ) -> None:
        """Write the results and say that the run is finished.

        Args:
            metrics: By name.
            cost: By name.
            weights: The checkpoint that was tested, within the folder; None where the run has none of its own.
            shape: What the network was built for: `num_classes`, `in_chans`, `image_size`.
        """
        self.facts |= {"metrics": dict(metrics), "cost": dict(cost), "weights": weights, "shape": dict(shape)}
        self._write("finished")
        if first_process():
            (self.folder / "checkpoints" / PREVIOUS).unlink(missing_ok=True)

    def keep_data(self, summary: Mapping[str, Any], full: Mapping[str, Any]) -> None:
        """Write down what the data set holds: the summary in `metrics.json`, all of it in `data.json`."""
        self.facts["data"] = dict(summary)
        self._write("running")
        if first_process():
            write_text(self.folder / "data.json", json.dumps(full, indent=1) + "\n")

    def save_predictions(self, predictions: Mapping[str, np.ndarray], table: pd.DataFrame | None = None) -> None:
        """Write `predictions.npz`, by index, and the table of the same as `predictions.csv`.

        Args:
            predictions: `index`, `label` and, of a classifier, `top1`, `confidence` (of that class) and
                `label_confidence` (of the true one) in 0..1, of every test image.
            table: see `zoomexp.results.predictions.as_table`; None: no CSV file.
        """
        if not first_process():
            return
        order = np.argsort(predictions["index"], kind="stable")
        content = io.BytesIO()
        np.savez_compressed(content, **{name: values[order] for name, values in predictions.items()})
        with whole_file(self.folder / "predictions.npz") as partial:
            partial.write_bytes(content.getbuffer())
        if table is not None:
            write_table(table, self.folder / "predictions.csv")

    def _write(self, status: str) -> None:
        self.facts["status"] = status
        if first_process():
            write_text(self.folder / "metrics.json", json.dumps(self.facts, indent=2) + "\n")


def told_by(error: BaseException) -> str:
    """What told a run to stop: the signal, or Ctrl-C, which Lightning turns into an exit."""
    if isinstance(error.__context__, KeyboardInterrupt):
        return "KeyboardInterrupt"
    return type(error).__name__ if type(error) in (KeyboardInterrupt, SystemExit) else str(error)


def first_process() -> bool:
    """Whether this is the only process of the run, or the first of those that share it."""
    from pytorch_lightning.utilities import rank_zero_only

    return rank_zero_only.rank == 0


def run_path(config: Mapping[str, Any], choices: Mapping[str, str]) -> Path:
    """`<dataset>/<backbone>-<attention>-<insertion>/seed<n>-<hash>`."""
    host = "-".join(str(choices.get(group) or "none") for group in ("backbone", "attention", "insertion"))
    return Path(str(choices["dataset"])) / host / f"seed{config['seed']}-{config_hash(config)}"


def config_hash(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name the scientific part of a resolved config.

    A group of which nothing was chosen does not count, so that a new group leaves the old runs where they are.

    >>> config_hash({"seed": 0, "data_dir": "here"}) == config_hash({"seed": 0, "data_dir": "there"})
    True
    >>> config_hash({"seed": 0, "tokens": {}}) == config_hash({"seed": 0})
    True
    >>> config_hash({"seed": 0}) == config_hash({"seed": 1})
    False
    """
    science = _without(config.get("output_dir"), json.loads(json.dumps(config, default=str)))
    for dotted in NOT_SCIENCE:
        *parents, key = dotted.split(".")
        node = science
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(key, None)
    science = {name: node for name, node in science.items() if node not in ({}, None)}
    return hashlib.sha256(json.dumps(science, sort_keys=True).encode()).hexdigest()[:8]


def _without(folder: str | None, node: Any) -> Any:
    """`node` as it counts: paths below `folder` made relative to it, since where the outputs lie decides no numbers."""
    if isinstance(node, dict):
        return {key: _without(folder, value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without(folder, value) for value in node]
    if not isinstance(node, str):
        return node
    return STANDS_FOR.get(node, node.removeprefix(f"{folder}/") if folder else node)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as partial:
        partial.write_text(text)


@lru_cache
def git_state() -> dict[str, Any]:
    """The commit the code is at, and whether files differ from it; nulls where there is no repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"sha": None, "dirty": None}


@lru_cache
def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
