"""Rebuild a paper's table: run what is missing, then show reported beside measured.

    python scripts/reproduce.py --list                              every table, and how much of it is done
    python scripts/reproduce.py table=cnntention/mnist scale=small  run what is missing of a table, then show it
    python scripts/reproduce.py --report scale=small                docs/results.md from what is measured; runs nothing.
                                                                    Published records (docs/records) count as one's own

    table=<paper>/<table>        which table; several, or patterns ("table=zoomvit/fig6*"), one after the other
    seeds=3                      how many seeds: 0, 1, 2
    scale=small                  smoke (does it run?) | small (fits two cores) | paper (the recipe itself)
    rows="name;name" rows="1;3"  only these rows, by name or by number from 1
    rerun=false                  true: do finished runs again | stale: those whose data or code have changed since
    data_dir=data output_dir=outputs
    hydra/launcher=joblib        how the runs are started; hydra.* settings go along
    trainer=gpu logger=none      hardware and logging of all runs: trainer=, trainer.precision=, compile=, logger...

Finished runs are never repeated and interrupted ones resume, so the command can be killed and given again.
"""

import fnmatch
import sys
import threading
import time
from collections.abc import Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir

from zoomexp.cli.config_files import CHECKOUT, CONFIGS, RECORDS
from zoomexp.cli.known_runs import KnownRuns
from zoomexp.cli.script_options import check_choice, split, whole_numbers
from zoomexp.cli.table_runs import console, progress, restored, row_runs, seeded_runs
from zoomexp.errors import InputError
from zoomexp.results.collect import finished_runs
from zoomexp.results.filling import FilledTable, fill
from zoomexp.results.outputs import list_table, log_to_wandb, write_document, write_table
from zoomexp.results.provenance import git_state
from zoomexp.results.rendering import terminal
from zoomexp.results.table import SCALES, Row, Table, load_table, load_tables, table_names
from zoomexp.run.compose import HANDED_ON, Run

OPTIONS = {"seeds": "3", "scale": "small", "rows": "", "rerun": "false"}
ALLOWED = ("hydra", "logger", *(f"{name}=" for name in HANDED_ON if name not in ("seed", "logger")))


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    wanted = [argument.removeprefix("table=") for argument in arguments if argument.startswith("table=")]
    options, overrides = parse([argument for argument in arguments if not argument.startswith("table=")])
    seeds, scale = int(options["seeds"]), options["scale"]
    if {"--list", "--report"} & set(arguments):
        if any(not word.startswith("output_dir=") for word in overrides):
            seeded_runs(overrides, 1)  # what does not compose is said at once
        if "--report" in arguments:
            restored(RECORDS, folder_of(overrides).resolve())
        compare = "--list" in arguments  # a document tells the commits instead: it is to be the same on any later day
        known = KnownRuns(folder_of(overrides), seeds, scale, overrides)
        done = [filled(table, known, compare) for table in progress(load_tables(CONFIGS / "table"))]
        known.save()
    if "--list" in arguments:
        console.print(list_table(done, scale))
    elif "--report" in arguments:
        if not any(table.counts()["measured"] for table in done):
            raise InputError(f"output_dir={folder_of(overrides)}: no finished run of any table; nothing was written")
        command = f"python scripts/reproduce.py {' '.join(arguments)}"
        path = write_document(done, (CHECKOUT or Path.cwd()) / "docs" / "results.md", command)
        console.print(f"written: {path}")
    else:
        tables, rerun = [load_table(CONFIGS / "table", name) for name in named(wanted)], options["rerun"]
        rows = [chosen(table, options["rows"]) for table in tables]
        whole = [reproduce(*one, seeds, scale, overrides, rerun) for one in zip(tables, rows, strict=True)]
        sys.exit(0 if all(whole) else 1)


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """This script's own options, and the overrides that every run gets."""
    options, overrides = split(arguments, OPTIONS, ALLOWED, flags=("table=", "--list", "--report"))
    whole_numbers(options, "seeds")
    check_choice(options, "scale", SCALES)
    check_choice(options, "rerun", ("true", "false", "stale"))
    return options, overrides


def named(wanted: Sequence[str]) -> list[str]:
    """The tables of these names and patterns, each once.

    Raises:
        InputError: If nothing was named, or a pattern fits no table.
    """
    if not wanted:
        raise InputError("table: must be given, for example table=cnntention/mnist; --list shows them all")
    known, found = table_names(CONFIGS / "table"), dict[str, None]()
    for pattern in wanted:
        names = fnmatch.filter(known, pattern) if set(pattern) & set("*?[") else [pattern]
        if not names:
            raise InputError(f"table={pattern}: fits no table; known tables: {', '.join(known)}")
        found |= dict.fromkeys(names)
    return list(found)


def chosen(table: Table, rows: str) -> list[Row]:
    """The rows named or numbered in `rows`, separated by semicolons (names have commas); all if there are none."""
    names = [name.strip() for name in rows.split(";") if name.strip()]
    numbers = {str(i): row for i, row in enumerate(table.rows, start=1)}
    return [numbers[name] if name in numbers else table.row(name) for name in names] or list(table.rows)


def filled(table: Table, known: KnownRuns, compare: bool = True) -> FilledTable:
    """The table with the runs that are finished now; `compare`: marked where their data or code have changed since."""
    wanted = known.folders(table, folders_there(known.output_dir / "runs"))
    runs = {row.name: finished_runs(wanted.get(row.name, ()), compare) for row in table.rows}
    return fill(table, runs, known.scale, git_state()["sha"] or "")


def folders_there(runs: Path) -> set[str]:
    """The folders of runs' folders."""
    return {folder.relative_to(runs).as_posix() for folder in runs.glob("*/*")}


def reproduce(table: Table, rows: Sequence[Row], seeds: int, scale: str, overrides: Sequence[str], rerun: str) -> bool:
    """Run what is missing of a table, show it and write it in every form; returns whether all of it is there."""
    launcher = [override for override in overrides if override.startswith("hydra")]
    runnable = [row for row in rows if not row.unavailable]
    wanted = {run.folder: run for row in runnable for run in row_runs(table, row, seeds, scale, overrides)}
    every = {one.folder: one for run in wanted.values() for one in run.chain()}
    with watched(table.name, [run.folder for runs in _due(every.values(), rerun, wanted) for run in runs]):
        for depth in sorted({run.depth for run in every.values()}):  # first what others need
            again, missing = _due([run for run in every.values() if run.depth == depth], rerun, wanted)
            for runs, options in ((again, ["rerun=true", "stale=show"]), (missing, ["stale=show"])):
                if runs:
                    launch(table.name, runs, launcher, options)
    done = filled(table, KnownRuns(folder_of(overrides), seeds, scale, overrides))
    console.print(terminal(done))
    output_dir = folder_of(overrides)
    files = write_table(done, output_dir / "tables")
    log_to_wandb(done, output_dir, [override for override in overrides if override.startswith("logger")])
    console.print("written: " + "  ".join(str(file) for file in files), soft_wrap=True)
    failed = [folder for folder in wanted if not finished_runs([folder], compare=False)]
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(wanted)} runs did not finish; give the command again to go on\n")
    return not failed


def _due(runs: Collection[Run], rerun: str, in_rows: Container[Path]) -> tuple[list[Run], list[Run]]:
    """Those that are to be done again, and those that are not finished."""
    again = [run for run in runs if _is_again(run, rerun, run.folder in in_rows)]
    return again, [run for run in runs if run not in again and not finished_runs([run.folder], compare=False)]


def _is_again(run: Run, rerun: str, in_a_row: bool) -> bool:
    """Whether a run is to be repeated, as `rerun` says: those that others are built on only where they are stale."""
    if rerun == "stale":
        return any(one.changed for one in finished_runs([run.folder]))
    return rerun == "true" and in_a_row


def folder_of(overrides: Sequence[str]) -> Path:
    """Where these overrides write."""
    return Path(next((o.partition("=")[2] for o in overrides if o.startswith("output_dir=")), "outputs"))


def launch(name: str, runs: Sequence[Run], launcher: Sequence[str], options: Sequence[str]) -> None:
    """Start runs through the chosen Hydra launcher."""
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    from zoomexp.cli.train import job
    from zoomexp.upstream.submitit_repair import repair_submitit

    output_dir = Path(runs[0].cfg.output_dir).resolve()
    sweep = output_dir / "sweeps" / f"{name.replace('/', '-')}-{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("train", create_config_search_path(str(CONFIGS)))
    try:
        config = hydra.compose_config(
            "train", [*launcher, "hydra.mode=MULTIRUN", f"hydra.sweep.dir={sweep}"], RunMode.MULTIRUN
        )
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        starter = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=job, config=config)
        repair_submitit(config.hydra.launcher._target_)
        returns = starter.launch([[*run.overrides, *options] for run in runs], initial_job_idx=0)
        for returned in returns:
            returned.return_value  # noqa: B018  raises what kept a job from starting
    finally:
        GlobalHydra.instance().clear()
        initialize_config_dir(str(CONFIGS), version_base="1.3")


@contextmanager
def watched(name: str, folders: Sequence[Path]) -> Iterator[None]:
    """Print a line with the time left whenever another of these runs has finished, whichever process ran it."""
    if not folders:
        yield
        return
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
