"""Rebuild a paper's table: run what is missing, then show reported beside measured.

    python scripts/reproduce.py --list                              every table, and how much of it is done
    python scripts/reproduce.py table=cnntention/mnist scale=small  run what is missing of a table, then show it
    python scripts/reproduce.py --report scale=small                docs/results.md from what is measured; runs nothing

    table=<paper>/<table>        which table
    seeds=3                      how many seeds: 0, 1, 2
    scale=small                  smoke (does it run?) | small (fits two cores) | paper (the recipe itself)
    rows="name;name" rows="1;3"  only these rows, by name or by number from 1
    rerun=false                  true: do finished runs again
    data_dir=data output_dir=outputs
    hydra/launcher=joblib        how the runs are started; hydra.* settings go along
    trainer=gpu logger=none      hardware and logging of all runs: trainer=, trainer.precision=, logger...

Finished runs are never repeated and interrupted ones resume, so the command can be killed and given again.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # for jobs in other processes

from hydra import compose, initialize_config_dir  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import DictConfig, OmegaConf  # noqa: E402
from rich.console import Console  # noqa: E402

from zoomexp.command_line import explain, reported  # noqa: E402
from zoomexp.errors import InputError  # noqa: E402
from zoomexp.results.collect import finished_runs  # noqa: E402
from zoomexp.results.filling import FilledTable, fill  # noqa: E402
from zoomexp.results.outputs import list_table, log_to_wandb, write_document, write_table  # noqa: E402
from zoomexp.results.record import git_state, run_path  # noqa: E402
from zoomexp.results.rendering import terminal  # noqa: E402
from zoomexp.results.table import SCALES, Row, Table, load_table, load_tables  # noqa: E402

OPTIONS = {"table": "", "seeds": "3", "scale": "small", "rows": "", "rerun": "false"}
PASSED_ON = ("hydra", "trainer=", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
             "trainer.precision", "logger", "data_dir=", "output_dir=")  # fmt: skip
console = Console(width=None if sys.stdout.isatty() else 180)


@dataclass(frozen=True)
class Job:
    """One run of a table: what `train.py` is called with, and where its record lies."""

    overrides: tuple[str, ...]
    folder: Path


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options, overrides = parse(arguments)
    seeds, scale = int(options["seeds"]), options["scale"]
    if {"--list", "--report"} & set(arguments):
        done = [filled(table, seeds, scale, overrides) for table in progress(load_tables(ROOT / "configs/table"))]
    if "--list" in arguments:
        console.print(list_table(done, scale))
    elif "--report" in arguments:
        path = write_document(done, ROOT / "docs" / "results.md", f"python scripts/reproduce.py {' '.join(arguments)}")
        console.print(f"written: {path}")
    else:
        table = load_table(ROOT / "configs/table", options["table"])
        reproduce(table, chosen(table, options["rows"]), seeds, scale, overrides, rerun=options["rerun"] == "true")


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """This script's own options, and the overrides that every run gets."""
    options, overrides = dict(OPTIONS), []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in OPTIONS and equals:
            options[name] = value
        elif argument.startswith(PASSED_ON):
            overrides.append(argument)
        elif argument not in ("--list", "--report"):
            allowed = ", ".join([*(f"{key}=" for key in OPTIONS), *PASSED_ON, "--list", "--report"])
            raise InputError(f"{argument}: not an option here, rows say what is run; allowed: {allowed}")
    if not options["seeds"].isdigit() or int(options["seeds"]) < 1:
        raise InputError(f"seeds={options['seeds']} must be a whole number, at least 1")
    if options["scale"] not in SCALES:
        raise InputError(f"scale={options['scale']} is unknown; allowed: {', '.join(SCALES)}")
    if options["rerun"] not in ("true", "false"):
        raise InputError(f"rerun={options['rerun']} is unknown; allowed: true, false")
    if not options["table"] and not {"--list", "--report"} & set(arguments):
        raise InputError("table: must be given, for example table=cnntention/mnist; --list shows them all")
    return options, overrides


def chosen(table: Table, rows: str) -> list[Row]:
    """The rows named or numbered in `rows`, separated by semicolons (names have commas); all if there are none."""
    names = [name.strip() for name in rows.split(";") if name.strip()]
    numbers = {str(i): row for i, row in enumerate(table.rows, start=1)}
    return [numbers[name] if name in numbers else table.row(name) for name in names] or list(table.rows)


def progress(tables: list[Table]) -> Iterator[Table]:
    """Go through the tables with a line that says where we are."""
    with console.status("reading tables") as status:
        for i, table in enumerate(tables, start=1):
            status.update(f"reading {table.name} ({i} of {len(tables)})")
            yield table


def filled(table: Table, seeds: int, scale: str, overrides: Sequence[str]) -> FilledTable:
    """The table with the runs that are finished now."""
    runs = {}
    for row in table.rows:
        jobs = [] if row.unavailable else row_jobs(table, row, seeds, scale, overrides)
        runs[row.name] = finished_runs(job.folder for job in jobs)
    return fill(table, runs, scale, git_state()["sha"] or "")


def row_jobs(table: Table, row: Row, seeds: int, scale: str, overrides: Sequence[str]) -> list[Job]:
    """A row's runs, one per seed."""
    try:
        return jobs([*table.overrides_of(row, scale), *overrides], seeds)
    except InputError as error:
        raise InputError(f"table {table.name}, row {row.name!r}: {error}") from error


def jobs(overrides: Sequence[str], seeds: int) -> list[Job]:
    """The runs of one system: its config is composed once and read with every seed.

    Raises:
        InputError: If the overrides do not compose.
    """
    own = [override for override in overrides if not override.startswith("hydra")]
    try:
        cfg = compose("train", overrides=own, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
        plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        return [Job((*own, f"seed={seed}"), folder_of(plain, choices, seed)) for seed in range(seeds)]
    except Exception as error:
        raise InputError(explain(error)) from error


def folder_of(cfg: DictConfig, choices: dict[str, str], seed: int) -> Path:
    """Where the run of this config and seed keeps its record."""
    cfg.seed = seed
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return Path(cfg.output_dir).resolve() / "runs" / run_path(config, choices)


def reproduce(table: Table, rows: Sequence[Row], seeds: int, scale: str, overrides: Sequence[str], rerun: bool) -> None:
    """Run what is missing of a table, show it and write it in every form."""
    launcher = [override for override in overrides if override.startswith("hydra")]
    runnable = [row for row in rows if not row.unavailable]
    needed = [job for row in runnable for need in row.needs for job in jobs([*need, *overrides], 1)]
    wanted = [job for row in runnable for job in row_jobs(table, row, seeds, scale, overrides)]
    for group in (needed, wanted):
        missing = [job for job in dict.fromkeys(group) if rerun or not finished_runs([job.folder])]
        if missing:
            launch(table.name, missing, launcher, rerun)
    done = filled(table, seeds, scale, overrides)
    console.print(terminal(done))
    output_dir = Path(next((o.partition("=")[2] for o in overrides if o.startswith("output_dir=")), "outputs"))
    files = write_table(done, output_dir / "tables")
    log_to_wandb(done, output_dir, [override for override in overrides if override.startswith("logger")])
    console.print("written: " + "  ".join(str(file) for file in files), soft_wrap=True)
    failed = [job for job in wanted if not finished_runs([job.folder])]
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(wanted)} runs did not finish; give the command again to go on\n")
        sys.exit(1)


def launch(name: str, missing: Sequence[Job], launcher: Sequence[str], rerun: bool) -> None:
    """Start runs through the chosen Hydra launcher and say how far they are."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    import train

    output_dir = missing[0].folder.parents[3]
    sweep = output_dir / "sweeps" / f"{name.replace('/', '-')}-{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(ROOT / "configs")))
    try:
        config = hydra.compose_config(
            "train", [*launcher, "hydra.mode=MULTIRUN", f"hydra.sweep.dir={sweep}"], RunMode.MULTIRUN
        )
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        starter = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=train.main.__wrapped__, config=config
        )
        again = ["rerun=true"] if rerun else []
        with watched(name, [job.folder for job in missing]):
            returns = starter.launch([[*job.overrides, *again] for job in missing], initial_job_idx=0)
        for returned in returns:
            returned.return_value  # noqa: B018  raises what kept a job from starting
    finally:
        GlobalHydra.instance().clear()
        initialize_config_dir(str(ROOT / "configs"), version_base="1.3")


@contextmanager
def watched(name: str, folders: Sequence[Path]) -> Iterator[None]:
    """Print a line with the time left whenever another run has finished, whichever process ran it."""
    started, stop = time.time(), threading.Event()

    def finished() -> int:
        files = [folder / "predictions.npz" for folder in folders]
        return sum(file.exists() and file.stat().st_mtime >= started for file in files)

    def watch() -> None:
        shown = -1
        while not stop.wait(1.0):
            if (done := finished()) != shown:
                shown, elapsed = done, time.time() - started
                left = f", about {(len(folders) - done) * elapsed / done / 60:.1f} min left" if done else ""
                console.print(f"[bold]{name}: {done} of {len(folders)} runs done{left}[/bold]", highlight=False)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


if __name__ == "__main__":
    with reported(), initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        main(sys.argv[1:])
