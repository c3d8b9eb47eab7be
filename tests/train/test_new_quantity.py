"""A metric that nobody knows but the one file that declares and computes it: it shows wherever numbers are shown."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_f1_score

from zoomexp.cli.config_files import configs
from zoomexp.cli.wandb_sweep import sweep_file
from zoomexp.results.collect import finished_run
from zoomexp.results.filling import fill
from zoomexp.results.rendering import markdown
from zoomexp.results.report.page import Facts, index_page
from zoomexp.results.report.runs import read_runs
from zoomexp.results.sweep_table import sweep_table
from zoomexp.results.table import load_table

ROOT = Path(__file__).parents[2]
MINE = '''
"""Classification that is also, and mainly, scored by an F1."""

import torch
from torchmetrics.classification import MulticlassF1Score
from torchmetrics.functional.classification import multiclass_f1_score

from zoomexp.metrics.quantity import Quantity
from zoomexp.tasks.classification import Classifier


def of_predictions(predictions):
    top1, label = (torch.tensor(predictions[name]) for name in ("top1", "label"))
    return 100 * multiclass_f1_score(top1, label, 10).item()


F1 = Quantity("f1", "hard F1", "%", True, 1, (0.0, 100.0), test="bootstrap", measure="mine.of_predictions", shown=True)


class Mine(Classifier):
    quantities = (*Classifier.quantities, F1)
    main = F1

    def __init__(self, *, num_classes, **common):
        super().__init__(num_classes=num_classes, **common)
        for kept in self.scores.values():
            kept.add_metrics({"f1": MulticlassF1Score(num_classes)})
'''
TABLE = """
title: t
source: s
baseline: plain
overrides: [a=1]
columns: [{key: test/f1, name: F1, unit: "%", higher_is_better: true, decimals: 1}, {key: test/ece}, {key: test/nll}]
rows: [{name: plain, overrides: [b=1]}, {name: gate, overrides: [b=2]}]
"""


@pytest.fixture
def runs(train, folders, own_modules):
    """Two runs of the task, what the first one printed, and their records."""
    (own_modules / "mine.py").write_text(MINE)
    first = train("task._target_=mine.Mine", "attention=none")
    assert first.code == 0, first.err
    assert train("task._target_=mine.Mine", "attention=cbam").code == 0
    return first, sorted(folders(), key=str), own_modules


def test_a_metric_in_one_file_shows_everywhere(runs):
    first, (gate, plain), root = runs
    facts = [json.loads((folder / "metrics.json").read_text()) for folder in (plain, gate)]
    metrics = facts[0]["metrics"]
    kept = np.load(plain / "predictions.npz")
    top1, label = (np.asarray(kept[name]) for name in ("top1", "label"))
    expected = 100 * multiclass_f1_score(torch.tensor(top1), torch.tensor(label), 10).item()
    assert metrics["test/f1"] == pytest.approx(expected, abs=1e-3)
    assert metrics["val/f1_best"] == metrics["val/f1"]  # checkpoints are chosen by it
    assert f"val/f1 {metrics['val/f1']:.1f}" in first.err  # progress
    ends = {
        "hard F1": f"{metrics['test/f1']:.1f} %",
        "expected calibration error": f"{metrics['test/ece']:.2f} %",
        "negative log-likelihood": f"{metrics['test/nll']:.3f} nats",
    }
    for name, shown in ends.items():
        assert any(f"test {name}" in line and shown in line for line in first.out.splitlines()), name
    jobs = [{"job": i, "overrides": [], **one} for i, one in enumerate(facts)]
    assert {"acc1", "nll", "ece", "f1"} <= {column.header for column in sweep_table(jobs).columns}
    found, skipped = read_runs(root / "out" / "runs")
    text = index_page([], found, [], skipped, Facts("small", 1, "", "", ""))
    assert all(text.count(title) >= 2 for title in ("Hard F1 (%)", "Expected calibration error (%)"))
    assert "Hard F1 against MACs per image" in text


def test_a_table_tests_it_as_it_declares(runs):
    _, (gate, plain), root = runs
    (root / "t.yaml").write_text(TABLE)
    results = {"plain": [finished_run(plain)], "gate": [finished_run(gate)]}
    filled = fill(load_table(root, "t"), results, "paper", "")
    names = [cell.test.name for cell in filled.rows[1].cells]
    assert names == ["bootstrap over images", "bootstrap over images", "paired t"]
    f1 = filled.rows[1].cells[0]
    values = [results[row][0].metrics["test/f1"] for row in ("gate", "plain")]
    assert f1.test.difference == pytest.approx(values[0] - values[1], abs=1e-3)
    assert "| F1 (%) |" in markdown(filled) and "| Negative log-likelihood (nats) |" in markdown(filled)


def test_a_sweep_of_it_is_about_its_main_quantity(own_modules):
    (own_modules / "mine.py").write_text(MINE)
    file = ROOT / "configs/sweep/loupe_lambda.yaml"
    with configs():
        emitted = sweep_file(file, ["backbone=resnet20", "task._target_=mine.Mine"])
        assert emitted["metric"] == {"name": "val/f1_best", "goal": "maximize"}
        emitted = sweep_file(file, ["backbone=resnet20", "task=distill_zoomer"])
        assert emitted["metric"] == {"name": "val/mse_best", "goal": "minimize"}
