"""A cross-validation's runs put together, on records written by hand."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from zoomexp.errors import InputError
from zoomexp.results.folds import fold_runs, fold_table, joined_predictions

SCORES = {0: 80.0, 1: 90.0, 2: 70.0}


@pytest.fixture
def runs(tmp_path):
    """Three folds of four, four and two images; a run with another seed, and one without folds."""
    home = tmp_path / "out" / "runs" / "birds" / "net"
    tested = {0: [0, 3, 6, 9], 1: [1, 4, 7, 8], 2: [2, 5]}
    for fold, index in tested.items():
        folder = write(home / f"seed0-{fold}", {"seed": 0, "dataset": {"folds": 3, "fold": fold, "name": "birds"}})
        (folder / "metrics.json").write_text(
            json.dumps(
                {"status": "finished", "metrics": {"val/acc1": 1.0, "test/acc1": SCORES[fold], "test/loss": 0.5}}
            )
        )
        right = [place > 0 for place in range(len(index))]
        pd.DataFrame({"index": index, "label": 0, "right": right}).to_csv(folder / "predictions.csv", index=False)
    write(home / "seed1-0", {"seed": 1, "dataset": {"folds": 3, "fold": 0, "name": "birds"}})
    write(home / "seed0-none", {"seed": 0, "dataset": {"folds": None, "fold": None, "name": "birds"}})
    return home


def write(folder, config):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"output_dir": "somewhere", **config}))
    return folder


def test_the_folds_of_one_cross_validation(runs):
    found = fold_runs(runs / "seed0-1")
    assert found == {fold: runs / f"seed0-{fold}" for fold in range(3)}
    joined = joined_predictions(found)
    assert joined["index"].tolist() == list(range(10))
    assert joined["fold"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 1, 0]
    table = fold_table(found, joined).set_index("fold")
    assert table["test/acc1"][["0", "1", "2", "mean", "all images"]].tolist() == [80, 90, 70, 80, 70]
    assert table["test/acc1"]["+- 95 %"] == pytest.approx(4.302653 * 10 / np.sqrt(3))  # t(0.975, 2) s / sqrt(n)
    assert table["test/loss"]["mean"] == 0.5 and np.isnan(table["test/loss"]["all images"]) and len(table.columns) == 2


def test_what_is_missing_is_named(runs):
    with pytest.raises(InputError, match=r"seed0-none: not of a cross-validation"):
        fold_runs(runs / "seed0-none")
    with pytest.raises(InputError, match=r"fold 0, 1, 2 of 3 not finished: -m dataset.fold=0,1,2"):
        fold_runs(runs / "seed1-0")
    (runs / "seed0-2" / "metrics.json").write_text('{"status": "running"}')
    with pytest.raises(InputError, match=r"fold 2 of 3 not finished: -m dataset.fold=2"):
        fold_runs(runs / "seed0-0")
    with pytest.raises(InputError, match=r"run=.*nowhere: no run's folder"):
        fold_runs(runs / "nowhere")


def test_data_that_changed_in_between(runs):
    table = pd.read_csv(runs / "seed0-2" / "predictions.csv")
    table.assign(index=[0, 5]).to_csv(runs / "seed0-2" / "predictions.csv", index=False)
    with pytest.raises(InputError, match=r"image 0 is in two folds: the data changed in between"):
        joined_predictions(fold_runs(runs / "seed0-0"))
