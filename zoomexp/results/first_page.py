"""What of the papers holds: each claim of the tables, as it was reported and as it was measured."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from zoomexp.results.claims import HOLDS, NO_EVIDENCE, NO_PAIR, NOT_MEASURED, OPPOSITE, UNDECIDED, Judgement
from zoomexp.results.filling import FilledTable
from zoomexp.results.rendering import MARKDOWN, escaped

VERDICTS = (HOLDS, OPPOSITE, UNDECIDED, NO_EVIDENCE, NOT_MEASURED)
ABOUT = (
    "A claim is an order: one system ahead of another. A paper's gives both values; where its tables state no order in "
    "words, it is that of its values. The others are of controls and open questions that no paper measured. A claim is "
    "decided where neither other test images nor other seeds would leave it open at 5 %; networks that have not "
    "learned, or whose module is shut, are no evidence. At another scale than paper the order may be judged, and the "
    "size of the difference may not."
)
HEADINGS = ("Claim", "Reported", "Measured", "Scale", "Verdict")
REPORTED, OURS = "reported", "not reported"


@dataclass(frozen=True)
class ClaimLine:
    """A claim as texts; `table` is the one it stands in, `reported` is empty where the paper does not give both."""

    table: str
    title: str
    claim: str
    reported: str
    measured: str
    scale: str
    verdict: str

    @property
    def paper(self) -> str:
        """The folder of the paper's tables."""
        return self.table.partition("/")[0]

    @property
    def origin(self) -> str:
        """Whether the paper reports both values."""
        return REPORTED if self.reported else OURS


def claim_lines(tables: Sequence[FilledTable]) -> list[ClaimLine]:
    """Every claim of the tables, in their order."""
    return [_line(table, one) for table in tables for one in table.judgements]


def counts(lines: Sequence[ClaimLine]) -> dict[tuple[str, str], Counter[str]]:
    """Paper, and whether it reports both values, -> how many of the claims have which verdict."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for line in lines:
        found.setdefault((line.paper, line.origin), Counter())[line.verdict] += 1
    return dict(sorted(found.items()))


def by_origin(lines: Sequence[ClaimLine]) -> dict[str, Counter[str]]:
    """The same over all papers."""
    return {whose: Counter(line.verdict for line in lines if line.origin == whose) for whose in (REPORTED, OURS)}


def summary(tables: Sequence[FilledTable]) -> str:
    """Markdown: per paper how many claims have which verdict, then every one that was measured."""
    lines = claim_lines(tables)
    found = counts(lines)
    parts = ["## What of the papers holds", ABOUT, _table(("Paper", "Claims", *VERDICTS), [
        (*whose, *(str(by_verdict[name]) for name in VERDICTS)) for whose, by_verdict in found.items()
    ])]  # fmt: skip
    if decided := [line for line in lines if line.verdict != NOT_MEASURED]:
        rows = [(line.paper, line.claim, line.reported, line.measured, line.scale, line.verdict) for line in decided]
        parts.append(_table(("Paper", *HEADINGS), rows))
    return "\n\n".join(parts)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return markdown_table(headings, [[escaped(text, MARKDOWN) for text in row] for row in rows])


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(table: FilledTable, one: Judgement) -> ClaimLine:
    names = {cell.column.key: cell.column.name for row in table.rows for cell in row.cells}
    claim = f"{one.claim.better} {one.order} {one.claim.than} in {names.get(one.claim.column, one.claim.column)}"
    reported = "" if one.reported is None else f"{one.reported:+.2f} {one.unit}".rstrip()
    verdict = NOT_MEASURED if one.verdict == NO_PAIR else one.verdict
    return ClaimLine(table.name, table.title, claim, reported, _measured(one), table.scale, verdict)


def _measured(one: Judgement) -> str:
    return "too few seeds" if one.verdict == NO_PAIR else one.measured
