"""Runs put together over seeds, and told apart."""

from zoomexp.results.report.groups import distinguish


def test_groups_hold_all_seeds_of_one_config(six, groups_of):
    groups = groups_of(six[0])
    assert [(group.name, [run.facts["seed"] for run in group.runs]) for group in groups] == [
        ("resnet20 + gate", [0, 1, 2]), ("resnet20", [0, 1, 2]),
    ]  # fmt: skip
    assert [round(group.interval("test/acc1").half_width, 4) for group in groups] == [2.4841, 2.4841]
    assert groups[0].interval("test/pointing_game") is None
    assert "trainer.devices" not in groups[0].config


def test_students_of_teachers_that_differ_in_the_seed_stay_together(tmp_path, record, groups_of):
    for seed in (0, 1):
        teacher = record(tmp_path, "none", seed, 90.0)
        other = record(tmp_path, "none", seed, 90.0, {"optimizer.lr": 0.2})
        record(tmp_path, "gate", seed, 95.0, {"checkpoint": str(teacher)})
        record(tmp_path, "gate", seed, 95.0, {"checkpoint": str(other)})
    sizes = [(group.name, len(group.runs)) for group in groups_of(tmp_path)]
    assert sorted(sizes) == [("resnet20", 2)] * 2 + [("resnet20 + gate", 2)] * 2


def test_many_differences_are_cut():
    one, two = ({f"a.{name}": value for name in "bcdefg"} for value in (1, 2))
    assert distinguish([one, two]) == ["b=1, c=1, d=1, e=1 and 2 more", "b=2, c=2, d=2, e=2 and 2 more"]
    assert distinguish([one]) == [""]


def test_a_group_of_which_nothing_is_chosen_does_not_count(tmp_path, record, groups_of):
    record(tmp_path, "gate", 0, 50.0)
    record(tmp_path, "gate", 1, 50.0, {"tokens": {}, "needs": None})
    assert [len(group.runs) for group in groups_of(tmp_path)] == [2]
