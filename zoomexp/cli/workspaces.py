"""W&B workspaces: one over all runs of a project, one for each sweep of `configs/sweep`. Nothing is sent here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.utils import get_class

from zoomexp.cli.config_files import CONFIGS
from zoomexp.cli.wandb_panels import bars, costs, curves, library, maps, points, seen, together
from zoomexp.cli.wandb_sweep import axes, check, grid, place
from zoomexp.errors import InputError
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.table import table_names
from zoomexp.run.labels import TAGGED

LABELS = (*TAGGED, "seed")  # that logged runs are tagged with


def over_all(options: Mapping[str, str]) -> Any:
    """The workspace over all runs: curves, cost, every sweep, maps, tables.

    Raises:
        InputError: If the library is not installed, or a tag is none that runs have.
    """
    task = _task_named(options["task"])
    shown = [one for one in task.quantities if one.shown]
    swept = [_along(path, shown) for path in sweep_files()]
    parts = {
        "Training": [*curves(task.main), *costs(task.main)],
        **{f"Sweep: {path.stem}": panels for path, panels in zip(sweep_files(), swept, strict=True)},
        "Maps": maps(),
        "Runs": seen(),
        **_tables(),
    }
    return _workspace(options, parts, filters(options["tags"]))


def of_sweep(options: Mapping[str, str]) -> Any:
    """The workspace of one sweep: its runs alone, results along what it goes through, cost, curves, maps.

    Raises:
        InputError: If the library is not installed, or there is no such sweep.
    """
    path = sweep_named(options["sweep"])
    found, along = grid(path), axes(path)
    task = check(found)
    parts = {
        "Results": _along(path, [one for one in task.quantities if one.shown]),
        "Cost": costs(task.main, tokens=any(axis.startswith("tokens.") for axis in along)),
        "Curves": curves(task.main, along[0]),
        "Maps": maps(along[0]),
        "Runs": seen(),
    }
    if len(along) > 1:
        parts["Results"] += together(along, task.main)
    return _workspace(options, parts, [*_of_the_sweep(found), *filters(options["tags"], tables=False)])


def sweep_files() -> list[Path]:
    """The sweeps there are."""
    return sorted((CONFIGS / "sweep").glob("*.yaml"))


def sweep_named(name: str) -> Path:
    """The file of a sweep.

    Raises:
        InputError: If there is none of that name.
    """
    known = {path.stem: path for path in sweep_files()}
    if name not in known:
        raise InputError(f"sweep={name}: no such sweep; allowed: {', '.join(known)}")
    return known[name]


def _along(path: Path, shown: Sequence[Quantity]) -> list[Any]:
    """Test results along each axis of a sweep: means over seeds, and every run where the axis has numbers."""
    values = {".".join(place(key)): given for key, given in grid(path).items()}
    panels = []
    for axis in axes(path):
        panels += bars(shown, axis)
        panels += points(shown, axis) if all(isinstance(value, int | float) for value in values[axis]) else []
    return panels


def _of_the_sweep(found: Mapping[str, Sequence[Any]]) -> list[Any]:
    """The runs tagged with the sweep's choices; other runs of the project may have the same."""
    from wandb_workspaces import expr

    chosen = [[f"{key}:{value}" for value in given] for key, given in found.items() if key in TAGGED]
    return [expr.Tags().isin(tags) for tags in chosen]


def _workspace(options: Mapping[str, str], parts: Mapping[str, Sequence[Any]], chosen: Any) -> Any:
    """A workspace of sections, the first of them open."""
    ws, _ = library()
    first = next(iter(parts))
    return ws.Workspace(
        entity=options["entity"],
        project=options["project"],
        name=options["name"] or options["sweep"] or options["project"],
        sections=[ws.Section(name=name, panels=list(panels), is_open=name == first) for name, panels in parts.items()],
        runset_settings=ws.RunsetSettings(
            filters=chosen, order=[ws.Ordering(ws.Metric("CreatedTimestamp"), ascending=False)]
        ),
    )


def _task_named(choice: str) -> Any:
    """The class of a choice of `configs/task`.

    Raises:
        HydraException: If there is none of that name.
    """
    return get_class(compose("train", [f"task={choice}"]).task._target_)


def tags_by_label(text: str) -> dict[str, list[str]]:
    """Label -> the tags asked for, in the order typed."""
    found: dict[str, list[str]] = {}
    for tag in (tag.strip() for tag in text.split(",") if tag.strip()):
        label, colon, value = tag.partition(":")
        if label not in LABELS or not colon or not value:
            raise InputError(f"tags: {tag} must be label:value with a label of {', '.join(LABELS)}")
        found.setdefault(label, []).append(tag)
    return found


def filters(text: str, tables: bool = True) -> Any:
    """The runs with the tags asked for, and, with `tables`, the logged tables, which have none of them."""
    from wandb_workspaces import expr

    tagged = [expr.Tags().isin(tags) for tags in tags_by_label(text).values()]
    if not tables:
        return tagged
    return expr.Or(expr.And(*tagged), expr.Metric("JobType") == "table") if tagged else []


def _tables() -> dict[str, list[Any]]:
    """The tables that scripts/reproduce.py logs, one section for each paper."""
    _, wr = library()
    papers: dict[str, list[Any]] = {}
    for name in table_names(CONFIGS / "table"):
        panel = wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=24, h=10))
        papers.setdefault(f"Tables: {name.partition('/')[0]}", []).append(panel)
    return papers
