"""Which plots are made of sweeps and of costs, and what stands on their axes."""

import pytest

from zoomexp.results.report.curves import common_axes, cost_panels, front
from zoomexp.results.report.sweeps import find_sweeps


def test_only_the_same_data_and_schedule_share_a_panel(six, record, groups_of):
    root, _ = six
    record(root, "gate", 0, 10.0, {"trainer.max_epochs": 1})
    record(root, "none", 0, 12.0, {"trainer.max_epochs": 1})
    record(root, "none", 0, 12.0, {"dataset.train_size": 7})  # alone on its data: no panel
    panels = cost_panels(groups_of(root))
    assert [(panel.name, panel.labels) for panel in panels] == [
        ("digits (max_epochs=1)", ("resnet20", "resnet20 + gate")),
        ("digits (max_epochs=4)", ("resnet20", "resnet20 + gate")),
    ]
    short, long = (panel.plots[0].spec["data"]["values"] for panel in panels)
    assert [(row["x"], row["y"], row["series"], row["front"]) for row in long] == [
        (2.0, 91.0, "no module", True), (5.0, 81.0, "gate", False),
    ]  # fmt: skip
    # half width by hand: t(0.975, 2) / sqrt(3) * 1 = 4.3027 / 1.7321 = 2.4841
    assert (long[0]["low"], long[0]["high"]) == pytest.approx((91 - 2.4841, 91 + 2.4841), abs=1e-3)
    assert (short[0]["low"], panels[0].plots[0].columns["x"]) == (None, "MACs per image (M)")
    times = panels[1].plots[1]
    assert (times.title, times.spec["data"]["values"][0]["x"]) == (
        "Top-1 accuracy against training time per image (ms), digits (max_epochs=4), CPU", 10.0,
    )  # fmt: skip


def test_times_of_different_devices_are_not_compared(tmp_path, record, groups_of):
    cost = {"params": 1, "macs": 1e6, "img_per_s": 100.0}
    for attention, device in (("none", "CPU"), ("gate", "GPU")):
        record(tmp_path, attention, 0, 50.0, cost=cost | {"device": device})
    (panel,) = cost_panels(groups_of(tmp_path))
    assert len(panel.plots) == 1


@pytest.mark.parametrize(
    ("points", "higher", "expected"),
    [
        ([(1, 5.0), (1, 6.0), (2, 6.0), (3, 7.0)], True, {1, 3}),
        ([(1, 5.0), (2, 4.0), (3, 4.5)], False, {0, 1}),
        ([(1, 5.0)], None, set()),
    ],
)
def test_the_front_is_what_nothing_beats_at_no_more_cost(points, higher, expected):
    assert front(points, higher) == expected


@pytest.mark.parametrize(
    ("values", "names", "joined"),
    [
        ((0, 0.005, 0.05, 5), ["0", "0.005", "0.05", "5"], True),  # spans much and has a zero
        (("stage1", "stem"), ["stage1", "stem"], False),
        ((False, True), ["false", "true"], False),
        ((None, 1.0), ["1.0", "null"], False),
    ],
)
def test_values_without_a_scale_are_equally_spaced(tmp_path, values, names, joined, record, groups_of):
    for value in values:
        record(tmp_path, "gate", 0, 50.0, {"attention.threshold": value})
    (axes,) = common_axes(find_sweeps(groups_of(tmp_path)))
    (plot,) = axes.plots
    assert plot.spec["encoding"]["x"]["sort"] == names
    assert any(layer["mark"]["type"] == "line" for layer in plot.spec["layer"]) == joined


def test_modules_share_axes_on_the_same_data_and_schedule(tmp_path, record, groups_of):
    for attention in ("gate", "loupe"):
        for threshold in (0.3, 0.5):
            record(tmp_path, attention, 0, 50.0, {"attention.threshold": threshold})
    for threshold in (0.3, 0.5):
        record(tmp_path, "gate", 0, 50.0, {"attention.threshold": threshold, "trainer.max_epochs": 9})
    found = [axes for axes in common_axes(find_sweeps(groups_of(tmp_path))) if axes.key == "attention.threshold"]
    one, other = sorted(found, key=lambda axes: len(axes.sweeps))
    series = {row["series"].partition(" (")[0] for row in other.plots[0].spec["data"]["values"]}
    assert series == {"resnet20 + gate", "resnet20 + loupe"}
    assert [len(axes.sweeps) for axes in (one, other)] == [1, 2]


def test_pointing_is_drawn_where_all_groups_hold_it(tmp_path, record, groups_of):
    metrics = {"test/acc1": 50.0, "test/pointing_game": 30.0}
    for threshold in (0.3, 0.5):
        record(tmp_path, "gate", 0, 0.0, {"attention.threshold": threshold}, metrics=metrics)
    (axes,) = common_axes(find_sweeps(groups_of(tmp_path)))
    assert [plot.columns["y"] for plot in axes.plots] == [
        "Test top-1 accuracy (%)", "Test pointing game, map's peak in the box (%)",
    ]  # fmt: skip
