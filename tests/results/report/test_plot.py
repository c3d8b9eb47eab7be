"""Points, band and ticks agree with one another."""

import numpy as np

from zoomexp.results.report.plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, draw


def scale_of(ticks, transform=float):
    """Slope and offset of an axis from its ticks; all ticks must agree."""
    numbers = np.array([transform(float(tick.text.replace(",", ""))) for tick in ticks])
    places = np.array([tick.at for tick in ticks])
    slope, offset = np.polyfit(numbers, places, 1)
    np.testing.assert_allclose(slope * numbers + offset, places, atol=0.02)
    return slope, offset


def test_points_and_band_stand_where_the_ticks_say():
    points = [Point(0.3, 60, "a", 50, 70), Point(0.5, 80, "b"), Point(0.9, 70, "c", 66, 110)]
    plot = draw("title", "x", "y", points, joined=True, bounds=(0.0, 100.0))
    (x1, x0), (y1, y0) = scale_of(plot.x_ticks), scale_of(plot.y_ticks)

    def place(x, y):
        return x1 * x + x0, y1 * y + y0

    def read(text):
        return np.array([pair.split(",") for pair in text.split()], float)

    line = [place(p.x, p.y) for p in points]
    np.testing.assert_allclose(read(plot.line), line, atol=0.1)
    np.testing.assert_allclose([(p.x, p.y) for p in plot.points], line, atol=0.1)
    upper, lower = [70, 80, 100], [50, 80, 66]  # cut off at 100; without an interval the mean itself
    band = [place(p.x, y) for p, y in zip(points, upper, strict=True)]
    band += [place(p.x, y) for p, y in zip(points[::-1], lower[::-1], strict=True)]
    np.testing.assert_allclose(read(plot.band), band, atol=0.1)
    assert y1 < 0 < x1
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in read(plot.band))


def test_a_wide_axis_is_logarithmic():
    values = [1.0, 10.0, 100.0, 1000.0]
    plot = draw("title", "x", "y", [Point(x, 50, "") for x in values])
    np.testing.assert_allclose(np.diff([point.x for point in plot.points], 2), 0, atol=0.02)
    slope, offset = scale_of(plot.x_ticks, np.log10)
    np.testing.assert_allclose([p.x for p in plot.points], slope * np.log10(values) + offset, atol=0.1)


def test_texts_beside_points_do_not_meet():
    points = [Point(x, y, "", text=str(i)) for i, (x, y) in enumerate([(1, 50), (1, 50.5), (1.01, 50), (3, 80)], 1)]
    texts = draw("title", "x", "y", points).texts
    assert [text.text for text in texts] == ["1", "2", "3", "4"]
    places = [(text.x + (3.5 if text.anchor == "start" else -3.5), text.y) for text in texts]
    for i, (x, y) in enumerate(places):
        assert all(abs(x - u) > 7 or abs(y - v) > 8 for u, v in places[:i])
