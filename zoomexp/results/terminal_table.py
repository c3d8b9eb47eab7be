"""Tables for a terminal: what tells rows apart always, then as many columns of numbers as there is room for."""

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

BETWEEN = 2  # columns of the terminal between two of the table
LONGEST = 60  # a longer text is folded


def fitted(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Mapping[str, Sequence[str]], width: int
) -> Table:
    """A table no wider than `width`, if what tells its rows apart leaves room; what was left out is said below it.

    Args:
        headings: of the columns that are always shown.
        rows: their texts.
        numbers: heading -> a text for each row, the most important first.
        width: columns of the terminal.
    """
    table = Table(box=None, pad_edge=False, caption_justify="left")
    for i, name in enumerate(headings):
        table.add_column(
            escape(name), overflow="fold", max_width=LONGEST, no_wrap=_widest([name, *(r[i] for r in rows)]) <= LONGEST
        )
    taken = sum(min(LONGEST, _widest([name, *(row[i] for row in rows)])) + BETWEEN for i, name in enumerate(headings))
    shown: list[str] = []
    for name, texts in numbers.items():
        needed = _widest([name, *texts]) + BETWEEN
        if shown and taken + needed > width + BETWEEN:
            break
        taken += needed
        shown.append(name)
        table.add_column(escape(name), justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        table.add_row(*map(escape, row), *(escape(numbers[name][i]) for name in shown))
    if left_out := [name for name in numbers if name not in shown]:
        table.caption = escape(f"no room for: {', '.join(left_out)}")
    return table


def _widest(texts: Sequence[str]) -> int:
    return max(map(len, texts), default=0)
