"""What the page says was found, of records with known numbers."""

import os

from zoomexp.results.report.curves import cost_panels
from zoomexp.results.report.found import comparisons, newest, story
from zoomexp.results.report.runs import read_runs
from zoomexp.results.statistics import paired_bootstrap

METRICS = {"test/acc1": 95.5, "epochs": 4, "test/pointing_game": 80.0, "test/pointing_game/centre_prior": 25.0,
           "test/pointing_game/random_prior": 9.0}  # fmt: skip


def told(record, root, **facts):
    record(root, "loupe", 0, 0.0, **facts)
    return story(read_runs(root / "runs")[0][0])


def test_a_run_is_told_in_sentences(tmp_path, record):
    cost = {"train_s": 90.0, "insertion_sites": ["layer2"]}
    data = {"images": {"train": 4499, "test": 1000}}
    said = told(record, tmp_path, metrics=METRICS, cost=cost, data=data, shape={"num_classes": 10})
    assert said == [
        "The network resnet20 with the attention module loupe after layer2 saw 4,499 images of digits 4 times, which "
        "took 1.5 minutes.",
        "Of 1,000 test images, which it had not seen before, it names 95.50 % correctly; guessing among 10 classes "
        "would give 10.00 %.",
        "The module's map has its peak inside the object's box in 80.0 % of them, the image's centre in 25.0 % and the "
        "peak of a random map in 9.0 %: so the module looks at the object.",
    ]


def test_a_map_that_finds_no_more_than_the_centre_is_said_to(tmp_path, record):
    assert told(record, tmp_path, metrics=METRICS | {"test/pointing_game": 24.0})[-1].endswith("does not find it.")


def test_other_tasks_and_records_without_data_are_told_too(tmp_path, record):
    said = told(record, tmp_path, metrics={"test/mse": 0.125}, main="mse", cost={})
    assert said == [
        "The network resnet20 with the attention module loupe was tested on digits, without a training of its own.",
        "On the test images, which it had not seen before, it reaches 0.1250 (MSE).",
    ]


def test_the_newest_is_the_one_finished_last(six):
    runs, _ = read_runs(six[0] / "runs")
    os.utime(runs[2].folder / "metrics.json", (2e9, 2e9))
    assert newest(runs) is runs[2] and newest([]) is None


def test_the_best_is_compared_with_the_same_network_without_a_module(six, record, groups_of):
    root, correct = six
    for seed in range(3):  # the gate is ahead now
        folder = next(root.glob(f"runs/digits/*gate*/seed{seed}-*")) / "metrics.json"
        folder.write_text(folder.read_text().replace(f"8{seed}", f"9{seed + 5}"))
    test = paired_bootstrap(correct["gate"], correct["none"])
    (said,) = comparisons(cost_panels(groups_of(root)))
    assert said == (
        "digits: of 2 systems resnet20 + gate is best with 96.00 ± 2.48 % (3 seeds); resnet20 without a module has "
        f"91.00 ± 2.48 % (3 seeds), a difference of {test.difference:+.2f} points on the same images "
        f"(p < 0.001, 95 % {test.low:+.2f} to {test.high:+.2f})."
    )


def test_where_no_module_is_best_nothing_is_compared(six, groups_of):
    (said,) = comparisons(cost_panels(groups_of(six[0])))
    assert said == "digits: of 2 systems resnet20 is best with 91.00 ± 2.48 % (3 seeds); it has no module."
