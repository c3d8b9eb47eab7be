"""The columns for what varied between runs."""

from zoomexp.results.report.runs import read_runs
from zoomexp.results.report.varied import chosen, varied


def test_an_option_that_was_typed_and_differs_has_a_column_with_its_value_in_every_run(tmp_path, record):
    record(
        tmp_path, "gate", 0, 1.0, {"attention.threshold": 0.3}, overrides=["attention=gate", "attention.threshold=0.3"]
    )
    record(tmp_path, "gate", 1, 1.0, overrides=["attention=gate", "seed=1", "trainer.devices=1", "optimizer.lr=0.1"])
    record(tmp_path, "none", 0, 1.0, overrides=["attention=none", "output_dir=x"])
    runs, _ = read_runs(tmp_path / "runs")
    expected = ["" if "none" in run.path else str(run.config["attention"]["threshold"]) for run in runs]
    assert varied(runs) == {"attention.threshold": expected} and set(expected) == {"", "0.3", "0.5"}


def test_choices_have_columns_where_there_are_any(tmp_path, record):
    common = {"dataset": "digits", "insertion": "default", "experiment": None}
    record(tmp_path, "none", 0, 1.0, choices={**common, "backbone": "resnet20", "attention": "none", "recipe": "a"})
    record(tmp_path, "none", 1, 1.0, {"backbone": {"name": "vit_tiny"}}, choices={**common, "backbone": "timm"})
    assert chosen(read_runs(tmp_path / "runs")[0]) == {
        "Data set": ["digits", "digits"], "Backbone": ["resnet20", "vit_tiny"], "Module": ["none", ""],
        "Place": ["default", "default"], "Recipe": ["a", ""],
    }  # fmt: skip


def test_a_group_shows_its_choice(tmp_path, record):
    choices = {"dataset": "digits", "backbone": "resnet20", "attention": "gate", "insertion": "default"}
    for seed, loss in enumerate(("sparse_gate", "cross_entropy")):
        record(tmp_path, "gate", seed, 1.0, choices=choices | {"loss": loss}, overrides=["loss=sparse_gate"])
    assert varied(read_runs(tmp_path / "runs")[0]) == {"loss": ["sparse_gate", "cross_entropy"]}
