"""Which plots are made of sweeps and of costs, and what stands on their axes."""

import numpy as np
import pytest

from zoomexp.results.report.curves import cost_panels, sweep_plots
from zoomexp.results.report.sweeps import find_sweeps


def test_only_the_same_data_and_schedule_share_a_panel(six, record, groups_of):
    root, _ = six
    record(root, "gate", 0, 10.0, {"trainer.max_epochs": 1})
    record(root, "none", 0, 12.0, {"trainer.max_epochs": 1})
    record(root, "none", 0, 12.0, {"dataset.train_size": 7})  # alone on its data: no panel
    assert [(panel.name, panel.labels) for panel in cost_panels(groups_of(root))] == [
        ("digits (max_epochs=1)", ("resnet20", "resnet20 + gate")),
        ("digits (max_epochs=4)", ("resnet20", "resnet20 + gate")),
    ]
    short, long = (panel.plots[0] for panel in cost_panels(groups_of(root)))
    assert [point.hollow for point in long.points] == [True, False]
    assert [(text.text) for text in long.texts] == ["1", "2"]
    assert (short.points[0].low, short.x_label) == (None, "MACs per image (M)")
    pixels = (long.y_ticks[0].at - long.y_ticks[1].at) / (float(long.y_ticks[1].text) - float(long.y_ticks[0].text))
    assert (long.points[0].low - long.points[0].high) / pixels == pytest.approx(2 * 2.4841, abs=0.01)
    assert "91.00 % (± 2.48, n=3)" in long.points[0].label


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
    (sweep,) = find_sweeps(groups_of(tmp_path))
    (plot,) = sweep_plots(sweep)
    assert [tick.text for tick in plot.x_ticks] == names
    np.testing.assert_allclose(np.diff([point.x for point in plot.points], 2), 0, atol=0.02)
    assert bool(plot.line) == joined


def test_pointing_is_drawn_where_all_groups_hold_it(tmp_path, record, groups_of):
    metrics = {"test/acc1": 50.0, "test/pointing_game": 30.0}
    for threshold in (0.3, 0.5):
        record(tmp_path, "gate", 0, 0.0, {"attention.threshold": threshold}, metrics=metrics)
    (sweep,) = find_sweeps(groups_of(tmp_path))
    assert [plot.y_label for plot in sweep_plots(sweep)] == [
        "Test top-1 accuracy (%)", "Test pointing game, map's peak in the box (%)",
    ]  # fmt: skip
