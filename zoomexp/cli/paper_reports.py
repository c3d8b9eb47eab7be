"""A W&B report for a paper's table: claims, reported beside measured, the runs behind it. Nothing is sent here.

Sets of runs name no project, and so are of the report's own: of one that they name, the library asks W&B.
"""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from zoomexp.cli.config_files import CONFIGS
from zoomexp.cli.script_options import check_choice
from zoomexp.cli.table_runs import seeded_runs
from zoomexp.cli.wandb_panels import bars, costs, curves, library
from zoomexp.errors import InputError
from zoomexp.metrics.quantity import find
from zoomexp.results.table import SCALES, Table, load_table
from zoomexp.run.compose import Run
from zoomexp.run.labels import labels_of

LONGEST = 128  # letters of a title, by the library


def of_table(options: Mapping[str, str]) -> Any:
    """The report of one table, at one scale.

    Raises:
        InputError: If the library is not installed, or there is no such table or scale.
    """
    check_choice(options, "scale", SCALES)
    _, wr = library()
    table, scale = load_table(CONFIGS / "table", options["report"]), options["scale"]
    runs = {row.name: seeded_runs(table.overrides_of(row, scale), 1)[0] for row in table.rows if not row.unavailable}
    if not runs:
        raise InputError(f"report={table.name}: none of its rows can be run")
    blocks = [*_words(table, scale), *_measured(table), *_behind(runs, table)]
    return wr.Report(
        project=options["project"],
        entity=options["entity"],
        title=f"{table.title} ({table.name}, scale={scale})"[:LONGEST],
        description=table.source,
        blocks=[wr.TableOfContents(), *blocks],
    )


def _words(table: Table, scale: str) -> list[Any]:
    """Source, claims, what must be known, and the command."""
    _, wr = library()
    claims = [f"{one.better} above {one.than} in {one.column}" for one in table.claims]
    known = [*([table.not_comparable] if table.not_comparable else []), *table.caveats]
    command = f"python scripts/reproduce.py table={table.name} scale={scale} logger.mode=online"
    return [
        wr.P(f"Source: {table.source}."),
        wr.CodeBlock(command, language="markdown"),
        *([wr.H1("Claims"), wr.UnorderedList(claims)] if claims else []),
        *([wr.H1("To be known"), wr.UnorderedList(known)] if known else []),
    ]


def _measured(table: Table) -> list[Any]:
    """The table that `scripts/reproduce.py` has logged."""
    _, wr = library()
    from wandb_workspaces import expr

    panel = wr.WeavePanelSummaryTable(table_name=table.name, layout=wr.Layout(w=24, h=12))
    logged = wr.Runset(name="table", filters=[expr.Metric("JobType") == "table", expr.Metric("Name") == table.name])
    return [wr.H1("Reported beside measured"), wr.PanelGrid(runsets=[logged], panels=[panel])]


def _behind(runs: Mapping[str, Run], table: Table) -> list[Any]:
    """The rows' runs: results and curves, mean and standard error over seeds."""
    _, wr = library()
    from wandb_workspaces import expr

    groups = {name: labels_of(run).group for name, run in runs.items()}
    task: Any = get_class(next(iter(runs.values())).cfg.task._target_)
    keys = [column.key.removeprefix("test/") for column in table.columns if column.key.startswith("test/")]
    shown = [one for key in keys if (one := find(key, task.quantities))]
    chosen = wr.Runset(name="runs", filters=[expr.Metric("Group").isin(sorted(set(groups.values())))])
    panels = [*bars(shown, "Group"), *curves(task.main, "Group"), *costs(task.main)]
    return [
        wr.H1("The runs behind it"),
        wr.P("A group is a row, without its seeds:"),
        wr.UnorderedList([f"{name}: {group}" for name, group in groups.items()]),
        wr.PanelGrid(runsets=[chosen], panels=panels),
    ]
