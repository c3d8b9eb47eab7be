"""Training as `train.py` does it, everything switched on: eager, replayed as one graph a step, and compiled besides."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from zoomexp.cli.benchmarks.machine import pick_device, where
from zoomexp.cli.benchmarks.options import some_of, wholes
from zoomexp.errors import InputError
from zoomexp.results.record import RunRecord
from zoomexp.run.build import build
from zoomexp.run.compose import compose_run
from zoomexp.run.epochs import epochs_of
from zoomexp.run.explain import building
from zoomexp.run.labels import labels_of
from zoomexp.run.logger import made_loggers, opened

OPTIONS = {"epochs": "4", "forms": "eager,graph", "experiments": "", "together": "false"}
UNVALIDATED = ("trainer.limit_val_batches=0", "evaluate=last", "++callbacks.early_stopping=null")
FORMS = {
    "eager": ("trainer.graph=false",),
    "graph": ("trainer.graph=auto",),
    "compiled": ("trainer.graph=false", "compile=true"),
    "graph-compiled": ("trainer.graph=auto", "compile=true"),
}


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Train for some epochs in each form; the first epoch, which warms up and captures, does not count.

    With `together=true` the experiments then train all at once, each in a process of its own, in the last form.

    Returns:
        A row for every experiment and form, and one of all together; what failed says why in `error`.

    Raises:
        InputError: For unknown forms, fewer than two epochs, or fewer than two experiments to train together.
    """
    (epochs,) = wholes(options, "epochs")
    if epochs < 2:
        raise InputError(f"epochs={epochs} must be at least 2: the first does not count")
    forms = some_of(options, "forms", list(FORMS))
    experiments = [f"experiment={name}" for name in options["experiments"].split(",") if name]
    if options["together"] not in ("true", "false"):
        raise InputError(f"together={options['together']} must be true or false")
    together = options["together"] == "true"
    if together and len(experiments) < 2:
        raise InputError("together=true needs at least two experiments: experiments=NAME,NAME")
    rows = []
    print(f"training, {epochs} epochs, {where(pick_device())}")
    for experiment in experiments or [""]:
        for form in forms:
            words = [*([experiment] if experiment else []), *overrides, *FORMS[form], f"trainer.max_epochs={epochs}"]
            which = experiment.removeprefix("experiment=") or "this config"
            rows.append({"name": f"{which}, {form}", "experiment": which, "form": form} | tried(words))
            print(told(rows), flush=True)
    if together:
        names = [experiment.removeprefix("experiment=") for experiment in experiments]
        alone = [row for row in rows if row["form"] == forms[-1]]
        rows.append(at_once(names, forms[-1], [*overrides, f"epochs={epochs}"], alone))
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def at_once(names: Sequence[str], form: str, words: Sequence[str], alone: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How long the last of some experiments trains that share a device, and that in times of the slowest alone."""
    row = {"name": f"together, {form}", "experiment": "together", "form": form, "runs": len(names)}
    with tempfile.TemporaryDirectory() as folder:
        asked = [[f"experiments={name}", f"forms={form}", *words, f"output_dir={folder}/{name}"] for name in names]
        command = [sys.executable, "-m", "zoomexp", "benchmark", "graph"]
        started = [subprocess.Popen([*command, *one], stdout=subprocess.DEVNULL) for one in asked]
        codes = [one.wait() for one in started]
        if any(codes):
            return row | {"error": f"exit codes {codes}"}
        files = [next(Path(folder, name).glob("benchmarks/*.json")) for name in names]
        found = [json.loads(path.read_text())["rows"][0] for path in files]
    if failed := [one for one in [*found, *alone] if "error" in one]:
        return row | {"error": f"{failed[0]['name']}: {failed[0]['error']}"}
    longest = max(one["train_s"] for one in found)
    return row | {"train_s": longest, "of_slowest": longest / max(one["train_s"] for one in alone)}


def tried(overrides: list[str]) -> dict[str, Any]:
    """What the epochs of one run took, or the first line of its error: the other runs are done."""
    try:
        return measured(overrides)
    except InputError:
        raise
    except Exception as error:
        lines = str(error).splitlines() or [""]
        return {"error": f"{type(error).__name__}: {lines[0]}"}


def measured(overrides: list[str]) -> dict[str, Any]:
    """Images a second of a run's epochs, without its validation, and its last loss."""
    torch.compiler.reset()
    with tempfile.TemporaryDirectory() as folder:
        with building():
            one = compose_run([*overrides, f"output_dir={folder}", *UNVALIDATED])
            record = RunRecord(folder, one.config, one.choices, overrides)
            trainer, task, data = build(one.cfg, record.folder)
            trainer.loggers = made_loggers(one.config["logger"], record, labels_of(one))
        with (
            record.claimed(OmegaConf.to_yaml(one.cfg, resolve=True)),
            opened(trainer.loggers, record),
        ):
            trainer.fit(task, datamodule=cast(pl.LightningDataModule, data))
    history = epochs_of(trainer)
    speeds = [row["img_per_s"] for row in history.rows[1:]]
    return {
        "img_per_s": median(speeds), "least": min(speeds), "most": max(speeds), "batch": data.batch_size,
        "train_s": sum(row["epoch_s"] for row in history.rows[1:]),
        "ms_per_step": 1e3 * data.batch_size / median(speeds), "train_loss": history.rows[-1]["train/loss"],
        "precision": str(trainer.precision),
    }  # fmt: skip


def told(rows: list[dict[str, Any]]) -> str:
    """The last row in words, beside the first form of its experiment."""
    row = rows[-1]
    start = f"{row['name']}: "
    if "error" in row:
        return start + f"FAILED {row['error']}"
    first = next(one for one in rows if one["experiment"] == row["experiment"])
    times = row["img_per_s"] / first["img_per_s"] if "img_per_s" in first else float("nan")
    spread = f"({row['least']:,.0f} to {row['most']:,.0f})"
    return start + (
        f"{row['img_per_s']:,.0f} images/s {spread}, {row['ms_per_step']:.2f} ms a step of {row['batch']}, "
        f"{times:.2f}x {first['form']}, loss {row['train_loss']:.5f}"
    )
