"""Put the runs of a cross-validation together: a table over the folds, and every image's out-of-fold prediction.

    python train.py -m dataset=image_folder dataset.folds=5 dataset.fold=0,1,2,3,4
    python scripts/folds.py run=FOLDER

    run=FOLDER           the folder of any of its runs
    out=FOLDER           where folds.csv and out_of_fold.csv go; folds/ beside runs/ unless given

folds.csv            the test metrics of each fold, their mean with its 95 % interval, and of all images together
out_of_fold.csv      each image's file, class, prediction and confidence, by the run that did not train on it
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from zoomexp.atomic_file import writing
from zoomexp.cli.script_options import split
from zoomexp.errors import InputError
from zoomexp.results.folds import fold_runs, fold_table, joined_predictions
from zoomexp.results.prediction_table import write_table

if TYPE_CHECKING:
    import pandas as pd

OPTIONS = {"run": "", "out": ""}


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    options, _ = split(arguments, OPTIONS)
    if not options["run"]:
        raise InputError("run: must be given, the folder of a run with dataset.fold")
    folder = Path(options["run"]).resolve()
    runs = fold_runs(folder)
    predictions = joined_predictions(runs)
    table = fold_table(runs, predictions)
    first = runs[0]
    out = Path(options["out"]) if options["out"] else first.parents[3] / "folds" / first.relative_to(first.parents[2])
    with writing("out", out):
        out.mkdir(parents=True, exist_ok=True)
        write_table(table, out / "folds.csv")
        write_table(predictions, out / "out_of_fold.csv")
    show(table)
    print(out / "folds.csv", out / "out_of_fold.csv", sep="\n")


def show(table: "pd.DataFrame") -> None:
    """Print the table."""
    shown = Table(box=None, pad_edge=False)
    for name in table:
        shown.add_column(str(name).removeprefix("test/"))
    for row in table.itertuples(index=False):
        shown.add_row(row[0], *("-" if value != value else f"{value:.2f}" for value in row[1:]))
    Console(width=None if sys.stdout.isatty() else 200).print(shown)
