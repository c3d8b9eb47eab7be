"""The runs that there are: list, choose, compare and export them.

    python scripts/runs.py                                       every run
    python scripts/runs.py dataset=cifar10 "test/acc1>90"        those that fulfil all conditions
    python scripts/runs.py compare=RUN,RUN                       two: what differs in their configs, and the paired test
    python scripts/runs.py attention=loupe,cbam out=runs.csv     everything they hold as CSV

    output_dir=outputs      where the runs lie
    sort=NAME               in the order of a quantity or option; -NAME: the largest first
    out=FILE.csv            instead of a table a CSV file with all choices, options, scores and costs
    compare=RUN,RUN         run folders, or what tells a run from all others, such as its hash

A condition is NAME=VALUE (patterns and lists allowed: backbone=resnet*,vit*), NAME!=VALUE, NAME>NUMBER, <, >= or <=;
put quotes around what the shell would read. A name is a group (dataset, attention), an option (attention.reduction), a
score (test/acc1), a cost (cost/params), run, seed or status.

In a notebook: `from zoomexp.results.report.runs import read_runs` and `from zoomexp.results.runs_frame import frame`;
`frame(read_runs(Path("outputs/runs"))[0])` is a pandas DataFrame.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from zoomexp.atomic_file import atomic_file, writing
from zoomexp.errors import InputError
from zoomexp.near import did_you_mean
from zoomexp.results.report.runs import RecordedRun, read_runs
from zoomexp.results.run_comparison import config_table, score_table
from zoomexp.results.runs_frame import frame, run_table
from zoomexp.results.selecting import facts_of, parse, select

OPTIONS = {"output_dir": "outputs", "sort": "", "out": "", "compare": ""}
console = Console(width=None if sys.stdout.isatty() else 100)


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options, conditions = _parted(arguments)
    folder = Path(options["output_dir"]) / "runs"
    if not folder.is_dir():
        raise InputError(f"output_dir={options['output_dir']} must be a folder that holds runs")
    with console.status("reading runs"):
        every, skipped = read_runs(folder)
    runs = ordered(select(every, parse(conditions)), options["sort"])
    if options["compare"]:
        compare(*two(every, options["compare"]))
    elif options["out"]:
        export(runs, Path(options["out"]))
    elif runs:
        console.print(run_table(runs, console.width))
        console.print(f"{len(runs)} of {len(every)} runs", highlight=False)
    else:
        console.print(f"0 of {len(every)} runs", highlight=False)
    for line in skipped:
        sys.stderr.write(f"left out: {line}\n")


def _parted(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options, and the conditions."""
    options, conditions = dict(OPTIONS), []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in OPTIONS and equals:
            options[name] = value
        else:
            conditions.append(argument)
    return options, conditions


def ordered(runs: Sequence[RecordedRun], by: str) -> list[RecordedRun]:
    """The runs in the order of what they hold under a name; those without it last.

    Raises:
        InputError: If none holds it.
    """
    if not by or not runs:
        return list(runs)
    name, last_first = by.removeprefix("-"), by.startswith("-")
    held = {run: facts_of(run) for run in runs}
    known = [run for run in runs if held[run].get(name) is not None]
    if not known:
        names = dict.fromkeys(one for facts in held.values() for one in facts)
        raise InputError(f"sort={by}: no run has this{did_you_mean(name, names)}")
    numbers = all(isinstance(held[run][name], int | float) for run in known)
    known.sort(key=lambda run: held[run][name] if numbers else str(held[run][name]), reverse=last_first)
    return known + [run for run in runs if run not in known]


def two(runs: Sequence[RecordedRun], named: str) -> list[RecordedRun]:
    """The two runs that are named, separated by a comma.

    Raises:
        InputError: If they are not two, or a name fits no run or several.
    """
    names = [name.strip() for name in named.split(",") if name.strip()]
    if len(names) != 2:
        raise InputError(f"compare={named}: must name two runs, separated by a comma")
    return [_one(runs, name) for name in names]


def _one(runs: Sequence[RecordedRun], name: str) -> RecordedRun:
    folder = Path(name).resolve()
    fits = (
        lambda run: run.folder.resolve() == folder,
        lambda run: run.path.startswith(name),
        lambda run: name in run.path,
    )
    found = next((some for one in fits if (some := [run for run in runs if one(run)])), [])
    if len(found) != 1:
        which = ", ".join(run.path for run in found[:4]) + (", ..." if len(found) > 4 else "")
        raise InputError(f"compare: {name} fits {f'{len(found)} runs: {which}' if found else 'no run'}; name one")
    return found[0]


def compare(one: RecordedRun, other: RecordedRun) -> None:
    """Print what differs between two runs."""
    console.print(f"{one.path}  and  {other.path}", soft_wrap=True, markup=False, highlight=False)
    console.print(config_table(one, other))
    console.print(score_table(one, other))


def export(runs: Sequence[RecordedRun], path: Path) -> None:
    """Write the runs as CSV."""
    with writing("out", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            frame(runs).to_csv(partial, index=False)
    console.print(f"written: {path} ({len(runs)} runs)", soft_wrap=True, markup=False, highlight=False)
