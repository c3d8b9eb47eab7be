"""Other loggers than W&B, several at once, one of a user's own, and what cannot be."""

import csv

import pandas as pd
import pytest
import yaml

from tests.train.conftest import SMALL

BASE = tuple(word for word in SMALL if not word.startswith("logger"))
OWN = """
from pytorch_lightning.loggers import CSVLogger

class Notes(CSVLogger):
    def __init__(self, colour: str, save_dir: str) -> None:
        super().__init__(save_dir, name=colour, version="")
"""


def last_values(path) -> dict[str, float]:
    table = pd.read_csv(path)
    return {name: table[name].dropna().iloc[-1] for name in table if table[name].notna().any()}


def test_a_list_of_loggers_each_get_all_numbers(train, folders, facts, offline_run):
    ended = train("attention=none", "logger=[wandb,csv]", base=BASE)
    assert ended.code == 0, ended.err
    (folder,), known = folders(), facts()
    written = last_values(folder / "csv" / "metrics.csv")
    assert {name: written[name] for name in known["metrics"] if name.startswith("test/")} == pytest.approx(
        {name: value for name, value in known["metrics"].items() if name.startswith("test/")}
    )
    assert {"val/acc1", "train/loss", "lr", "cost/macs", "val/acc1_best"} <= set(written)
    assert yaml.safe_load((folder / "csv" / "hparams.yaml").read_text())["dataset"]["train_size"] == 128
    (stored,) = folder.glob("wandb/offline-run-*/*.wandb")
    run = offline_run(stored)
    assert run.summary["test/acc1"] == known["metrics"]["test/acc1"]
    # tables and charts of the test images
    kinds, media = ("mistakes", "confusion", "calibration"), "wandb/offline-run-*/files/media/table"
    tables = {name: list(folder.glob(f"{media}/{name}*")) for name in kinds}
    assert all(tables.values()), tables
    (mistakes,) = (yaml.safe_load(path.read_text()) for path in tables["mistakes"])
    with (folder / "predictions.csv").open() as file:
        wrong = [row for row in csv.DictReader(file) if row["right"] == "False"]
    wrong = sorted(wrong, key=lambda row: -float(row["confidence"]))[:24]
    assert mistakes["columns"] == ["index", "image", "class", "predicted", "confidence"]
    assert [row[0] for row in mistakes["data"]] == [int(row["index"]) for row in wrong]
    assert [row[2:4] for row in mistakes["data"]] == [[int(row["class"]), int(row["predicted"])] for row in wrong]


def test_a_logger_of_ones_own_needs_nothing_of_w_and_b(train, folders, own_modules):
    (own_modules / "own" / "logger").mkdir(parents=True)
    (own_modules / "own" / "logger" / "notes.yaml").write_text("_target_: own_notes.Notes\ncolour: red\n")
    (own_modules / "own_notes.py").write_text(OWN)
    ended = train(f"--config-dir={own_modules / 'own'}", "attention=none", "logger=notes", base=BASE)
    assert ended.code == 0, ended.err
    (folder,) = folders()
    assert "test/acc1" in last_values(folder / "red" / "metrics.csv")
    assert not (folder / "wandb").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["logger=csv", "+logger.csv.colour=red"], r"error: logger\.csv: 'colour': no such option$"),
        (["logger=csv", "+logger.colour=red"], r"error: logger\.colour: no such option; allowed: loggers by name"),
        (["logger=csv", "logger.csv._target_=no.such"], r"error: logger\.csv\._target_='no\.such': no such class"),
        (["logger=none", "+logger.x._target_=builtins.dict"], r"error: logger\.x: dict is no logger of pytorch_light"),
        (["logger=wandb", "logger.log_model=some"], r"error: .*log_model='some' must be true, false or all"),
    ],
)
def test_what_is_no_logger_is_one_line_and_nothing_is_written(train, tmp_path, overrides, message):
    import re

    ended = train("attention=none", *overrides, base=BASE)
    lines = ended.err.splitlines()
    assert (ended.code, len(lines)) == (2, 1), ended.err
    assert re.search(message, lines[0]), lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_a_logger_whose_package_is_missing(train, tmp_path, monkeypatch, name, module):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ended = train("attention=none", f"logger={name}", base=BASE)
    assert ended.code == 2
    assert ended.err == f"error: logger.{name}: {module} is not installed; pip install {module}\n"
    assert not (tmp_path / "out").exists()


def test_tensorboard(train, folders):
    pytest.importorskip("tensorboard.summary", reason="needs tensorboard")
    ended = train("attention=none", "logger=tensorboard", base=BASE)
    assert ended.code == 0, ended.err
    (folder,) = folders()
    assert len(list((folder / "tensorboard").glob("events.out.tfevents.*"))) >= 1
