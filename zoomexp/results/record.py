"""The run record: one folder per run, named by what decides its result (`zoomexp.results.identity`)."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from zoomexp.atomic_file import write_text
from zoomexp.errors import InputError
from zoomexp.processes import first_process
from zoomexp.results.identity import config_hash, run_folder, run_path
from zoomexp.results.origin import Origin, data_changes, told_code, told_data
from zoomexp.results.prediction_table import write_table
from zoomexp.results.predictions import save_predictions
from zoomexp.results.provenance import git_state, host, versions
from zoomexp.results.stored import RecordError, facts_if_finished, read_facts
from zoomexp.run.faults import as_fault

OF_HYDRA = re.compile("^hydra|@")  # groups of Hydra's own, and those that a file puts elsewhere
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # the checkpoint to resume from, and the one that serves if it is damaged


class RunRecord:
    """A run's folder and its `metrics.json`. Of several processes that share a run, only the first one writes.

    Args:
        output_dir: Root of all outputs.
        config: The resolved config, plain containers.
        choices: The config groups' choices, e.g. {"attention": "loupe"}; subgroups are left out.
        overrides: What was typed.

    Attributes:
        choices: With subgroups, without Hydra's own.
    """

    def __init__(
        self, output_dir: str | Path, config: Mapping[str, Any], choices: Mapping[str, str], overrides: list[str]
    ) -> None:
        self.choices = {group: choice for group, choice in choices.items() if not OF_HYDRA.search(group)}
        choices = {group: choice for group, choice in choices.items() if "/" not in group}
        self.config = config
        outputs = Path(output_dir).resolve()
        self.folder = run_folder(outputs, run_path(config, choices))
        self.path = self.folder.relative_to(outputs / "runs")
        self.origin: Origin | None = None
        self.facts = {
            "run": str(self.path),
            "status": "running",
            "choices": dict(choices),
            "overrides": list(overrides),
            "seed": config["seed"],
            "identity": {"config": config_hash(config), "data": None, "files": None, "code": None},
            "metrics": {},
            "cost": {},
            "health": None,
            "versions": versions(),
            "git": git_state(),
            "host": host(),
        }

    def finished(self) -> bool:
        """Whether this very run has been done; then `facts` are those of the finished run."""
        stored = facts_if_finished(self.folder)
        self.facts = stored or self.facts
        return stored is not None

    def made_from(self, origin: Origin) -> None:
        """Say what the run is made from, before it is claimed."""
        self.origin = origin
        self.facts["identity"] |= origin.entry()

    @contextlib.contextmanager
    def claimed(self, config_yaml: str, rerun: bool = False) -> Iterator[bool]:
        """Do the run inside: its folder is made, no other process does it, and an error that leaves it is recorded.

        Args:
            config_yaml: The resolved config, for the folder.
            rerun: Forget what an earlier run left.

        Yields:
            Whether the run is to be done; not if another process, which this one waited for, has finished it.

        Raises:
            InputError: If the folder cannot be written, or the data have changed since the run was begun.
            FaultError: In the place of an error inside that says that disk, memory or a worker gave way.
        """
        if not first_process():
            yield True
            return
        with self._lock():
            if not rerun and self.finished():
                yield False
                return
            if not rerun:
                self._goes_on()
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

    def _goes_on(self) -> None:
        """See that an interrupted run goes on with the data it was begun with; say so where it is not the same code."""
        begun = self.folder / "checkpoints" / LAST
        if self.origin is None or not (begun.exists() or begun.with_name(PREVIOUS).exists()):
            return
        with contextlib.suppress(RecordError):
            before = read_facts(self.folder).get("identity") or {}
            if changed := told_data(data_changes(before, self.config)):
                raise InputError(f"{changed} changed after {self.path} was begun; rerun=true begins it anew")
            if changed := told_code(self.folder):
                sys.stderr.write(f"{changed} changed after the run was begun; it goes on with what is there now\n")
                self.facts["identity"]["begun_with"] = before.get("begun_with") or before.get("code")

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
        if self.origin is not None:
            self.origin.write(self.folder)
        self._write("running")

    def finish(
        self,
        metrics: Mapping[str, float],
        cost: Mapping[str, Any],
        weights: str | None,
        shape: Mapping[str, int],
        quantities: Mapping[str, Any] | None = None,
        **told: Any,
    ) -> None:
        """Write the results and say that the run is finished.

        Args:
            metrics: By name.
            cost: By name.
            weights: The checkpoint that was tested, within the folder; None where the run has none of its own.
            shape: What the network was built for: `num_classes`, `in_chans`, `image_size`.
            quantities: What the task says of its quantities (see `recorded_quantities.entry`).
            told: What else to keep: `classes`, their names; `seeing`, how an image becomes the network's input.
        """
        self.facts |= {"metrics": dict(metrics), "cost": dict(cost), "weights": weights, "shape": dict(shape)}
        self.facts |= {**(quantities or {}), **told}
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
            predictions: what the task keeps of every test image (see `results.predictions`).
            table: see `results.prediction_table.as_table`; None: no CSV file.
        """
        if not first_process():
            return
        save_predictions(predictions, self.folder)
        if table is not None:
            write_table(table, self.folder / "predictions.csv")

    def save_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Write further tables of the test images, each as a CSV file of that name."""
        for name, table in tables.items() if first_process() else ():
            write_table(table, self.folder / f"{name}.csv")

    def _write(self, status: str) -> None:
        self.facts["status"] = status
        if first_process():
            write_text(self.folder / "metrics.json", json.dumps(self.facts, indent=2) + "\n")


def told_by(error: BaseException) -> str:
    """What told a run to stop: the signal, or Ctrl-C, which Lightning turns into an exit."""
    if isinstance(error.__context__, KeyboardInterrupt):
        return "KeyboardInterrupt"
    return type(error).__name__ if type(error) in (KeyboardInterrupt, SystemExit) else str(error)
