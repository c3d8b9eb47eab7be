"""Panels of W&B: curves, results along what a sweep goes through, cost, maps. Quantities say what is drawn of them."""

from collections.abc import Sequence
from typing import Any

from zoomexp.errors import InputError
from zoomexp.metrics.declared import GATES, LOSS, MACS, PARAMS, SPEED, TOKENS
from zoomexp.metrics.quantity import Quantity

OVER_SEEDS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}


def library() -> tuple[Any, Any]:
    """`wandb_workspaces.workspaces` and `wandb_workspaces.reports.v2`.

    Raises:
        InputError: If they are not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise InputError("wandb_workspaces is not installed; pip install 'zoomexp[dashboard]'") from error
    return ws, wr


def curves(main: Quantity, by: str | None = None) -> list[Any]:
    """Validation and training along the epochs: of every run, or means over the runs that have the same `by`."""
    _, wr = library()
    names = dict.fromkeys((f"val/{main.key}", f"train/{main.key}", f"val/{LOSS.key}", f"train/{LOSS.key}"))
    grouped = {"groupby": _named(by), **OVER_SEEDS} if by else {}
    return [wr.LinePlot(title=name, x="epoch", y=[name], **grouped) for name in names]


def bars(quantities: Sequence[Quantity], by: str) -> list[Any]:
    """Mean and standard error of test results for each value of `by`, a config entry or "Group"."""
    _, wr = library()
    return [
        wr.BarPlot(title=f"{one.title} along {by}", metrics=[f"test/{one.key}"], groupby=_named(by), **OVER_SEEDS)
        for one in quantities
    ]


def points(quantities: Sequence[Quantity], along: str) -> list[Any]:
    """Test results of every run against a number of its config."""
    _, wr = library()
    return [
        wr.ScatterPlot(title=f"{one.title} along {along}", x=wr.Config(along), y=wr.SummaryMetric(f"test/{one.key}"))
        for one in quantities
    ]


def costs(main: Quantity, tokens: bool = False) -> list[Any]:
    """The main quantity against what it costs: MACs, parameters, speed, and tokens where a host drops some."""
    _, wr = library()
    known = {f"cost/{one.key}": one for one in (MACS, PARAMS, SPEED)}
    known |= {f"test/{TOKENS.key}": TOKENS} if tokens else {}
    y = wr.SummaryMetric(f"test/{main.key}")
    return [
        wr.ScatterPlot(title=f"{main.name} against {one.name}", x=wr.SummaryMetric(name), y=y)
        for name, one in known.items()
    ]


def together(axes: Sequence[str], main: Quantity) -> list[Any]:
    """Several axes at once, each run a line through its values; and which of them matters."""
    _, wr = library()
    metrics = [*map(wr.Config, axes), wr.SummaryMetric(f"cost/{MACS.key}"), wr.SummaryMetric(f"test/{main.key}")]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=one) for one in metrics]
    importance = wr.ParameterImportancePlot(with_respect_to=f"test/{main.key}")
    return [wr.ParallelCoordinatesPlot(title="all axes", columns=columns), importance]


def maps(by: str | None = None) -> list[Any]:
    """What inserted modules do while they train."""
    _, wr = library()
    grouped = {"groupby": _named(by), **OVER_SEEDS} if by else {}
    return [wr.LinePlot(title=one.title, x="epoch", metric_regex=f"gate/.*/{one.key}", **grouped) for one in GATES]


def seen() -> list[Any]:
    """Pictures, tables and charts of single runs."""
    _, wr = library()
    return [
        wr.MediaBrowser(title="pictures"),
        wr.RunComparer(diff_only="split"),
        wr.WeavePanelSummaryTable(table_name="mistakes", layout=wr.Layout(w=24, h=10)),
    ]


def _named(by: str) -> Any:
    _, wr = library()
    return "Group" if by == "Group" else wr.Config(by)
