"""The table at the end of a sweep: what varied, mean and interval over seeds, the best marked."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from rich.table import Table

from zoomexp.health.findings import mark
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.derived import declared, value_of
from zoomexp.results.recorded_quantities import main_of, overview
from zoomexp.results.statistics import mean_interval
from zoomexp.results.terminal_table import fitted

SHOWN_COST = ("cost/params", "cost/macs_m", "cost/img_per_s")
FINISHED = "finished"
Job = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """Jobs that differ in their seeds alone; `values` are their other overrides by name."""

    values: Mapping[str, str]
    jobs: tuple[Job, ...]

    @property
    def numbers(self) -> str:
        """The jobs' numbers from 1: "1-3", "4", "2,5"."""
        found = sorted(job["job"] + 1 for job in self.jobs)
        whole = len(found) > 1 and found == list(range(found[0], found[-1] + 1))
        return f"{found[0]}-{found[-1]}" if whole else ",".join(map(str, found))

    @property
    def status(self) -> str:
        """How its jobs ended, each way once, with marks and how many of several."""
        ends = [
            ", ".join(filter(None, [_end(job), mark(job), "stale" if job.get("changed") else ""])) for job in self.jobs
        ]
        several = len(self.jobs) > 1 and len(set(ends)) > 1
        return "; ".join(f"{ends.count(end)} {end}" if several else end for end in dict.fromkeys(ends))

    def mean(self, name: str) -> float | None:
        """Over the jobs that have it; None if none has."""
        values = self._values(name)
        return sum(values) / len(values) if values else None

    def text(self, name: str, quantity: Quantity) -> str:
        """Mean and half width of the 95 % interval over seeds; "-" where nothing was measured."""
        values = self._values(name)
        if not values:
            return "-"
        interval = mean_interval(values)
        if not interval.half_width:  # one seed, or seeds that cannot differ, as of parameters
            return quantity.number(interval.mean)
        return interval.text(quantity.number, quantity.bounds)

    def _values(self, name: str) -> list[float]:
        values = [value_of(name, job.get("metrics", {}), job.get("cost", {})) for job in self.jobs]
        return [value for value in values if value is not None and math.isfinite(value)]


def sweep_table(jobs: Sequence[Job], width: int = 100) -> Table:
    """A line for all jobs that differ in their seeds alone.

    Args:
        jobs: what the jobs' files say.
        width: columns of the terminal.
    """
    rows = _rows(jobs)
    varying = _varying(rows)
    quantities = _main_first(overview(jobs), jobs) | {name: cast(Quantity, declared(name)) for name in SHOWN_COST}
    seeds = any(len(row.jobs) > 1 for row in rows)
    unfinished = any(row.status != FINISHED for row in rows)
    headings = ["job", *varying, *(["seeds"] if seeds else []), *(["status"] if unfinished else [])]
    texts = [
        [row.numbers, *(row.values.get(name, "") for name in varying), *([str(len(row.jobs))] if seeds else []),
         *([row.status] if unfinished else [])]
        for row in rows
    ]  # fmt: skip
    numbers = {one.heading: _column(rows, name, one) for name, one in quantities.items()}
    table = fitted(headings, texts, numbers, width)
    said = ["mean ± 95 % over seeds" if seeds else "", "* best" if len(rows) > 1 else "", str(table.caption or "")]
    table.caption = "; ".join(filter(None, said)) or None
    return table


def told_jobs(jobs: Sequence[Job]) -> list[str]:
    """A line for each job: where its run lies, or why it has none."""
    return [
        f"job {job['job'] + 1}: {job['run'] if job['status'] == FINISHED and job.get('run') else job['status']}"
        for job in jobs
    ]


def _rows(jobs: Sequence[Job]) -> list[Row]:
    found: dict[tuple[Any, ...], list[Job]] = {}
    for job in jobs:
        values = dict(override.lstrip("+").partition("=")[::2] for override in job["overrides"])
        found.setdefault(tuple((name, value) for name, value in values.items() if name != "seed"), []).append(job)
    return [Row(dict(values), tuple(members)) for values, members in found.items()]


def _varying(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row.values)
    return [name for name in names if len({row.values.get(name) for row in rows}) > 1]


def _main_first(quantities: Mapping[str, Quantity], jobs: Sequence[Job]) -> dict[str, Quantity]:
    """The jobs' main quantities before all others."""
    mains = [f"test/{main_of(job)}" for job in jobs]
    return {name: quantities[name] for name in sorted(quantities, key=lambda name: name not in mains)}


def _column(rows: Sequence[Row], name: str, quantity: Quantity) -> list[str]:
    """The rows' texts of a quantity, the best with a star where there is a better and a worse."""
    means = [row.mean(name) for row in rows]
    known = [value for value in means if value is not None]
    choose = {True: max, False: min, None: None}[quantity.higher_is_better]
    best = choose(known) if choose and len(set(known)) > 1 else None
    starred = best is not None
    return [
        row.text(name, quantity) + ("" if not starred else " *" if value == best else "  ")
        for row, value in zip(rows, means, strict=True)
    ]


def _end(job: Job) -> str:
    return job["status"].partition(":")[0]
