"""What the page of one run shows of its folder."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from zoomexp.health.findings import told
from zoomexp.results.recorded_quantities import main_of, meaning
from zoomexp.results.report.dynamics import dynamics_curves
from zoomexp.results.report.figures import Picture, pictures
from zoomexp.results.report.found import story
from zoomexp.results.report.learning import run_curves
from zoomexp.results.report.plots import Plot
from zoomexp.results.report.reliability import reliability
from zoomexp.results.report.runs import RecordedRun
from zoomexp.results.summary import from_here

WORST = 20  # mistakes shown
SQUARE = 20  # classes up to which the confusions are shown as a square; of more the commonest ones
WORST_SHEET = "worst_mistakes.png"  # what `scripts/visualize.py images=worst` draws
KEPT = ("index", "file", "class", "predicted", "confidence", "label_confidence")
NAMES = {"index": "Image", "file": "File", "class": "Class", "predicted": "Predicted", "confidence": "Confidence",
         "label_confidence": "Confidence in the class", "images": "Images", "accuracy": "Accuracy (%)",
         "precision": "Precision (%)", "f1": "F1 (%)"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """A small table: headings, and rows of texts and numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, eq=False)
class RunView:
    """One run, ready to be shown.

    Args:
        run: its record.
        sentences: what came out; of a run that is not finished what is the matter.
        scores: heading -> value as text, those of the test first.
        plots: its learning curves.
        pictures: of its figures folder.
        mistakes: the wrong test images, the surest first, or those with the worst value.
        confusions: how often which class was taken for which; square where there are few classes.
        square: whether `confusions` is: a row and a column for each class.
        classes: a row for each class.
        config: as it was written.
    """

    run: RecordedRun
    sentences: Sequence[str]
    scores: Mapping[str, str]
    plots: Sequence[Plot]
    pictures: Sequence[Picture]
    mistakes: Frame | None
    confusions: Frame | None
    square: bool
    classes: Frame | None
    config: str

    @property
    def typed(self) -> str:
        """The run as `scripts/visualize.py` is told it; nothing where it has no weights to look at."""
        return shlex.join([f"run={from_here(self.run.folder)}"]) if self.run.facts.get("weights") else ""

    @property
    def seen(self) -> str | None:
        """The picture of the mistakes, if it has been drawn."""
        return next((one.name for one in self.pictures if one.name == WORST_SHEET), None)


def view(run: RecordedRun, skipped: list[str]) -> RunView:
    """Read what the page of a run needs; one line more in `skipped` for each picture that could not be read."""
    confusions, config = _read(run, "confusion.csv"), run.folder / "config.yaml"
    square = confusions is not None and len(confusions) <= SQUARE
    return RunView(
        run=run,
        sentences=story(run) if run.state == "finished" else _unfinished(run.facts),
        scores=_scores(run.facts),
        plots=[*run_curves(run), *reliability(run), *dynamics_curves(run)],
        pictures=pictures(run, skipped),
        mistakes=_mistakes(run),
        confusions=_frame(confusions if square else _commonest(confusions)),
        square=square,
        classes=_frame(_read(run, "classes.csv")),
        config=config.read_text(),
    )


def _unfinished(facts: Mapping[str, Any]) -> list[str]:
    return [f"This run is not finished: {facts['status']}.", *([f"Beware: {told(facts)}."] if told(facts) else [])]


def _scores(facts: Mapping[str, Any]) -> dict[str, str]:
    """Every number of the record, under its full name and meaning."""
    ordered = sorted(facts["metrics"].items(), key=lambda item: not item[0].startswith("test/"))
    found = {name: meaning(name, [facts]).text(value) for name, value in ordered}
    costs = {f"cost/{name}": value for name, value in facts["cost"].items()}
    for name, value in costs.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found[name] = meaning(name, [facts]).text(value) if number else _told(value)
    return found


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(run: RecordedRun, name: str) -> pd.DataFrame | None:
    try:
        return pd.read_csv(run.folder / name, dtype={"class": str, "predicted": str, "file": str})
    except (OSError, ValueError):  # not there, or damaged: pandas' errors of parsing are ValueErrors
        return None


def _mistakes(run: RecordedRun) -> Frame | None:
    table = _read(run, "predictions.csv")
    if table is None:
        return None
    main = main_of(run.facts)
    if {"right", "confidence"} <= set(table):
        worst = table[~table["right"]].sort_values("confidence", ascending=False, kind="stable")
        return _frame(worst[[name for name in KEPT if name in table]].head(WORST))
    if main in table and meaning(f"test/{main}", [run.facts]).higher_is_better is not None:
        rising = bool(meaning(f"test/{main}", [run.facts]).higher_is_better)
        worst = table.sort_values(main, ascending=rising, kind="stable")
        return _frame(worst[[name for name in (*KEPT, main) if name in table]].head(WORST))
    return None


def _commonest(confusions: pd.DataFrame | None) -> pd.DataFrame | None:
    """Class, what it was taken for, and how often: the commonest first."""
    if confusions is None:
        return None
    long = confusions.melt("class", var_name="predicted", value_name="images")
    wrong = long[(long["class"] != long["predicted"]) & (long["images"] > 0)]
    return wrong.sort_values("images", ascending=False, kind="stable").head(WORST)


def _frame(table: pd.DataFrame | None) -> Frame | None:
    if table is None or table.empty:
        return None
    return Frame(
        tuple(NAMES.get(name, str(name)) for name in cast(Iterable[str], table)),
        tuple(table.itertuples(index=False, name=None)),
    )
