"""Shows a filled table: terminal, Markdown, LaTeX, CSV and a self-contained HTML page.

Every form has one line per cell (row, column, reported, measured, against the baseline, verdict), so that reported and
measured stand side by side at any number of columns. Caveats are numbered notes below the table.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.markup import escape as escape_rich
from rich.table import Table as RichTable

from zoomexp.results.filling import Cell, FilledRow, FilledTable
from zoomexp.results.statistics import p_text

TEMPLATES = Path(__file__).with_name("templates")
MISSING = "A quantity that a row does not show has no value in it, reported or measured."
HEADINGS = ("System", "Quantity", "Reported", "Measured, 95 % CI over seeds", "Against baseline", "Verdict")
TEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "λ": r"$\lambda$"},
    **{"\u03b3": r"$\gamma$", "\u00d7": r"$\times$", "≤": r"$\le$", "\u2212": "$-$"},
}
MARKDOWN = {c: f"\\{c}" for c in "\\`*_[]|~#"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


@dataclass(frozen=True)
class Line:
    """One cell as texts. `system` is empty on a row's further lines; `notes` are numbers of caveats."""

    system: str
    notes: str
    quantity: str
    reported: str
    measured: str
    against: str
    verdict: str
    kind: str
    span: int


def terminal(filled: FilledTable) -> RichTable:
    """A rich table, for a console to print."""
    lines, notes = _lines(filled)
    shown = RichTable(title=escape_rich(heading(filled)), caption=escape_rich("\n".join(notes)), caption_justify="left")
    for name in HEADINGS:
        shown.add_column(name, justify="right" if name in HEADINGS[2:5] else "left", overflow="fold")
    for i, line in enumerate(lines):
        last = i + 1 == len(lines) or bool(lines[i + 1].system)
        texts = (f"{line.system} {line.notes}".strip(), line.quantity, line.reported, line.measured, line.against)
        colour = {"reproduced": "green", "differs": "red", "not-learned": "red", "module-shut": "red"}.get(
            line.kind, "dim"
        )
        verdict = f"[{colour}]{escape_rich(line.verdict)}[/]"
        shown.add_row(*map(escape_rich, texts), verdict, end_section=last)
    return shown


def markdown(filled: FilledTable) -> str:
    """A Markdown table with numbered notes."""
    return _render("table.md.j2", filled, partial(escaped, table=MARKDOWN))


def latex(filled: FilledTable) -> str:
    """A LaTeX `tabular` between booktabs rules, with numbered notes."""
    return _render("table.tex.j2", filled, partial(escaped, table=TEX))


def html(filled: FilledTable) -> str:
    """A page of its own: no script, no outside file, light and dark."""
    return _render("table.html.j2", filled, None)


def csv(filled: FilledTable) -> str:
    """One line per cell with unrounded numbers; an empty field is an unknown."""
    return frame(filled).to_csv(index=False)


def frame(filled: FilledTable) -> pd.DataFrame:
    """The cells as a data frame, one line each."""
    return pd.DataFrame([_record(filled, row, cell) for row in filled.rows for cell in row.cells])


def heading(filled: FilledTable) -> str:
    """Title with scale."""
    return f"{filled.title} [{filled.name}, {filled.measured_at}]"


def _record(filled: FilledTable, row: FilledRow, cell: Cell) -> dict[str, object]:
    test = cell.test
    return {
        "table": filled.name,
        "scale": filled.scale,
        "row": row.name,
        "column": cell.column.key,
        "unit": cell.column.unit,
        "reported": cell.reported,
        "mean": cell.mean,
        "half_width": cell.half_width,
        "n": cell.n,
        "stale": cell.stale,
        "baseline": row.baseline,
        "difference": test.difference if test else None,
        "difference_low": test.low if test else None,
        "difference_high": test.high if test else None,
        "test": test.name if test else None,
        "p_holm": cell.p_value,
        "verdict": cell.verdict,
        "health": cell.mark,
        "caveats": " ".join(row.caveats),
    }


def _lines(filled: FilledTable) -> tuple[list[Line], list[str]]:
    """The lines and the numbered notes; a caveat that several rows share is written once."""
    shown, wanted, left_out = _shown(filled)
    usual, against = _baselines(shown)
    caveats = [(*row.caveats, *against.get(row.name, ())) for row in shown]
    notes = list(dict.fromkeys(caveat for of_row in caveats for caveat in of_row))
    lines, all_stale = [], _all_stale(filled)
    for row, of_row in zip(shown, caveats, strict=True):
        numbers = ", ".join(str(1 + notes.index(caveat)) for caveat in of_row)
        asked = list(compress(row.cells, wanted))
        cells = [cell for cell in asked if _known(cell)] or asked
        name, span = (row.name, f"({numbers})" if numbers else ""), len(cells)
        if len(cells) < len(asked) and MISSING not in left_out:
            left_out.append(MISSING)
        for cell in cells:
            lines.append(_line(cell, *name, span, cell.stale and not all_stale))
            name, span = ("", ""), 0
    numbered = [f"({number}) {text}" for number, text in enumerate(notes, start=1)]
    return lines, [*numbered, *usual, *filled.caveats, *left_out]


def _baselines(rows: Sequence[FilledRow]) -> tuple[list[str], dict[str, list[str]]]:
    """A note on the row that most are tested against, and one for each row that was tested against another."""
    tested = {row.name: row.baseline for row in rows if row.baseline and any(cell.test for cell in row.cells)}
    if not tested:
        return [], {}
    (usual, _), *others = Counter(tested.values()).most_common()
    note = f"Against baseline: {usual!r}{', where no note names another' if others else ''}."
    return [note], {name: [f"Against {baseline!r}."] for name, baseline in tested.items() if baseline != usual}


def _shown(filled: FilledTable) -> tuple[list[FilledRow], list[bool], list[str]]:
    """The rows that are shown, which of their cells are, and notes that name the others.

    The others are rows that could be run, and quantities, of which nothing is reported or measured; unless all are so.
    """
    rows = [row for row in filled.rows if not row.runs or any(map(_known, row.cells))] or list(filled.rows)
    wanted = [any(map(_known, cells)) for cells in zip(*(row.cells for row in rows), strict=True)]
    wanted = wanted if any(wanted) else [True] * len(wanted)
    others = {
        "Not run": [row.name for row in filled.rows if row not in rows],
        "No values of": [cell.column.title for cell, known in zip(rows[0].cells, wanted, strict=True) if not known],
    }
    return rows, wanted, [f"{what}: {'; '.join(names)}." for what, names in others.items() if names]


def _known(cell: Cell) -> bool:
    return cell.reported is not None or cell.mean is not None


def _line(cell: Cell, system: str, notes: str, span: int, mark: bool) -> Line:
    number = f"{{:,.{cell.column.decimals}f}}".format
    reported = "-" if cell.reported is None else number(cell.reported)
    kind = cell.verdict.partition(":")[0].replace(" ", "-")
    measured = _measured(cell, number) + f" [{cell.mark}]" * bool(cell.mark) + " stale" * mark
    return Line(system, notes, cell.column.title, reported, measured, _against(cell), cell.verdict, kind, span)


def _against(cell: Cell) -> str:
    """How far above the baseline (below: negative) in the column's unit, with the corrected p value."""
    if cell.test is None or cell.p_value is None:
        return "-"
    return f"{cell.test.difference:+.{max(2, cell.column.decimals)}f}, {p_text(cell.p_value)}"


def _measured(cell: Cell, number: Callable[[float], str]) -> str:
    if cell.mean is None:
        return "-"
    spread = cell.interval.text(number, cell.column.bounds)
    return f"{spread} (n={cell.n}{', no interval' if cell.n == 1 else ''})"


def _render(template: str, filled: FilledTable, escape: Callable[[str], str] | None) -> str:
    """Fills a template; HTML is escaped by Jinja2 itself, the other forms by `escape` as a filter named `e`."""
    loader = FileSystemLoader(TEMPLATES, encoding="utf-8")
    trim: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    marks: dict[str, Any] = {"variable_start_string": "<<", "variable_end_string": ">>"} if escape else {}
    marks |= {"block_start_string": "<%", "block_end_string": "%>"} if escape else {}
    page = Environment(autoescape=escape is None, loader=loader, undefined=StrictUndefined, **trim, **marks)
    if escape:
        page.filters["e"] = escape
    lines, notes = _lines(filled)
    texts = {"heading": heading(filled), "source": filled.source, "headings": HEADINGS, "age": _age(filled)}
    return page.get_template(template).render(lines=lines, notes=notes, **texts)


def _all_stale(filled: FilledTable) -> bool:
    """Whether every measured cell is stale: then it is said once, and not in each of them."""
    return all(cell.stale for row in filled.rows for cell in row.cells if cell.n)


def _age(filled: FilledTable) -> str:
    """What a table says of the data and code that its cells were measured with; empty if all are what they are now."""
    if not any(cell.stale for row in filled.rows for cell in row.cells):
        return ""
    if _all_stale(filled):
        return f"Measured with other data or code than those of {filled.git_sha}."
    return f"stale: measured with other data or code than those of {filled.git_sha}."


def escaped(text: str, table: dict[str, str]) -> str:
    """`text` on one line, each special character replaced."""
    return "".join(table.get(character, character) for character in " ".join(text.split()))
