"""Variants beside the one they are compared with: timed in turn, shown as ratios."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from zoomexp.metrics.speed import interleaved, ratio

WIDTH = 170


@dataclass(frozen=True)
class Line:
    """One variant.

    Attributes:
        name: what it is.
        macs: its multiply-accumulates in units of the first line's.
        ratio, least, most: how many times as fast as the first line it is, median and spread over rounds.
        ms: milliseconds an image, the median.
    """

    name: str
    macs: float
    ratio: float
    least: float
    most: float
    ms: float

    @property
    def of_ideal(self) -> float:
        """Which part of the saving in multiply-accumulates there is in time: 1 if all of it."""
        return self.ratio * self.macs

    def cells(self) -> list[str]:
        """The line as a table shows it."""
        ratios = [f"{value:.2f}" for value in (self.ratio, self.least, self.most, self.of_ideal)]
        return [self.name, f"{self.macs:.3f}", *ratios, f"{1e3 / self.ms:,.0f}", f"{self.ms:#.3g}"]


def timed(
    variants: Mapping[str, Callable[[], object]],
    macs: Sequence[float],
    batch_size: int,
    rounds: int,
    device: torch.device,
    least: float = 0.0,
) -> list[Line]:
    """Time the variants; the first is what the others are compared with.

    Args:
        variants: what to run, by name.
        macs: of each, in any unit.
        batch_size: images that one call takes.
        rounds: how often.
        device: where it runs.
        least: seconds that a stretch should take at least (see `interleaved`).
    """
    times = interleaved(variants, rounds, device, least)
    first, lines = next(iter(times.values())), []
    for (name, seconds), count in zip(times.items(), macs, strict=True):
        lines.append(Line(name, count / macs[0], *ratio(first, seconds), 1e3 * median(seconds) / batch_size))
    return lines


def show(title: str, lines: Sequence[Line], **extra: Sequence[Any]) -> list[dict[str, Any]]:
    """Print lines, with columns of one value for each beside them; returns them as figures by name."""
    columns = ["", "MACs", "times as fast", "least", "most", "of the ideal", "img/s", "ms an image"]
    table = Table(*columns, *(name.replace("_", " ") for name in extra), title=title)
    more = [dict(zip(extra, values, strict=True)) for values in zip(*extra.values(), strict=True)] or [{}] * len(lines)
    for line, facts in zip(lines, more, strict=True):
        table.add_row(*line.cells(), *(shown(value) for value in facts.values()))
    Console(width=WIDTH).print(table)
    return [
        {"table": title, **asdict(line), "of_ideal": line.of_ideal, **facts}
        for line, facts in zip(lines, more, strict=True)
    ]


def shown(value: Any) -> str:
    """A figure as a table shows it.

    >>> shown(12345), shown(0.5), shown(None), shown([197, 138.0, 97.25])
    ('12,345', '0.50', '-', '197 138 97')
    """
    if isinstance(value, list):
        return " ".join(f"{one:.0f}" for one in value)
    if isinstance(value, float):
        return f"{value:,.2f}"
    return "-" if value is None else f"{value:,}"
