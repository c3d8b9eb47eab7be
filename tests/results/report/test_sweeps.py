"""Sweeps that are found by themselves."""

from zoomexp.results.report.sweeps import find_sweeps


def test_sweeps_are_what_differs_in_one_value(tmp_path, record, groups_of):
    for threshold in (0.9, 0.3):
        for seed in (0, 1):
            record(tmp_path, "gate", seed, 100 * threshold + seed, {"attention.threshold": threshold})
    record(tmp_path, "gate", 0, 50.0, {"attention.threshold": 0.3, "optimizer.lr": 0.2})
    record(tmp_path, "gate", 0, 50.0, {"attention.threshold": 0.7, "optimizer.lr": 0.4})  # differs in two: in none
    record(tmp_path, "none", 0, 50.0)  # another module: in none
    found = {sweep.key: sweep for sweep in find_sweeps(groups_of(tmp_path))}
    assert {key: sweep.values for key, sweep in found.items()} == {
        "attention.threshold": (0.3, 0.9), "optimizer.lr": (0.1, 0.2),
    }  # fmt: skip
    means = [group.interval("test/acc1").mean for group in found["attention.threshold"].groups]
    assert means == [30.5, 90.5]
    assert found["attention.threshold"].name == "digits: resnet20 + gate"


def test_values_that_follow_from_one_another_are_one(tmp_path, record, groups_of):
    for epochs in (4, 8):
        record(tmp_path, "gate", 0, 50.0, {"trainer.max_epochs": epochs, "scheduler.epochs": epochs})
    (sweep,) = find_sweeps(groups_of(tmp_path))
    assert (sweep.key, sweep.values) == ("scheduler.epochs = trainer.max_epochs", (4, 8))


def test_sweeps_of_one_value_are_told_apart(tmp_path, record, groups_of):
    for lr in (0.1, 0.2):
        for threshold in (0.3, 0.5):
            record(tmp_path, "gate", 0, 50.0, {"attention.threshold": threshold, "optimizer.lr": lr})
    assert sorted((sweep.key, sweep.name) for sweep in find_sweeps(groups_of(tmp_path))) == [
        ("attention.threshold", "digits: resnet20 + gate (lr=0.1)"),
        ("attention.threshold", "digits: resnet20 + gate (lr=0.2)"),
        ("optimizer.lr", "digits: resnet20 + gate (threshold=0.3)"),
        ("optimizer.lr", "digits: resnet20 + gate (threshold=0.5)"),
    ]


def test_models_are_not_swept(tmp_path, record, groups_of):
    for name, lr in (("resnet20", 0.1), ("vgg16", 0.2)):
        choices = {"dataset": "digits", "backbone": name, "attention": "gate", "insertion": "default"}
        record(tmp_path, "gate", 0, 50.0, {"optimizer.lr": lr}, choices=choices)
    assert find_sweeps(groups_of(tmp_path)) == []


def test_classes_are_not_swept(tmp_path, record, groups_of):
    for name in ("one.Gate", "another.Gate"):
        record(tmp_path, "gate", 0, 50.0, {"attention._target_": name})
    assert len(groups_of(tmp_path)) == 2
    assert find_sweeps(groups_of(tmp_path)) == []
