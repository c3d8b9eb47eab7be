"""Specifications of plots: what Vega-Lite makes of them, and what hovering and the tables of values hold."""

import json

import pytest
import vl_convert

from zoomexp.results.report.plots import Axis, Point, curves, scatter

TWO = [Point(x, y, series, y - 5, y + 5, 3) for series, y in (("a", 60.0), ("b", 97.0)) for x in (0.1, 0.4)]


def marks(plot):
    """The marks of the drawn plot by the kind that Vega gives them: the scene graph of the real library."""
    scene, found = json.loads(json.dumps(vl_convert.vegalite_to_scenegraph({**plot.spec, "width": 300}))), []

    def walk(node):
        if isinstance(node, dict):
            if "marktype" in node:
                found.append((node["marktype"], node.get("role"), node.get("items", [])))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(scene)
    return [(kind, items) for kind, role, items in found if role == "mark"]


def test_lines_bands_and_dots_are_drawn_where_the_values_say():
    plot = curves("t", Axis("threshold"), Axis("accuracy (%)", bounds=(0.0, 100.0)), TWO)
    drawn = marks(plot)
    assert [kind for kind, _ in drawn].count("area") == 2 and [kind for kind, _ in drawn].count("line") == 2
    dots = next(items for kind, items in drawn if kind == "symbol")
    assert len({(dot["x"], dot["y"]) for dot in dots}) == 4
    assert dots[0]["y"] > dots[2]["y"]  # 60 lies below 97: pixels count from above
    assert dots[0]["x"] < dots[1]["x"]


def test_intervals_end_where_the_quantity_ends_and_stand_in_the_values():
    plot = curves("t", Axis("threshold"), Axis("accuracy (%)", bounds=(0.0, 100.0)), TWO)
    assert [row["high"] for row in plot.spec["data"]["values"]] == [65.0, 65.0, 100.0, 100.0]
    assert plot.columns == {
        "series": "Series", "x": "threshold", "y": "accuracy (%)", "low": "95 % from", "high": "to", "seeds": "Seeds",
    }  # fmt: skip


def test_one_seed_has_neither_band_nor_whisker():
    plot = curves("t", Axis("x"), Axis("y"), [Point(1, 2.0, "a"), Point(2, 3.0, "a")], joined=False)
    assert [items for kind, items in marks(plot) if kind == "rule"] == [[]]
    assert plot.columns == {"x": "x", "y": "y"}


@pytest.mark.parametrize(("values", "kind"), [((1.0, 1000.0), "log"), ((1.0, 3.0), None), ((0.0, 1000.0), None)])
def test_a_wide_axis_is_logarithmic(values, kind):
    plot = curves("t", Axis("x"), Axis("y"), [Point(x, 50.0, "") for x in values])
    assert plot.spec["encoding"]["x"]["scale"].get("type") == kind


def test_names_keep_their_order_and_whole_numbers_have_no_fractions_between():
    named = curves(
        "t", Axis("place", names=("stem", "last")), Axis("y"), [Point("stem", 1.0, ""), Point("last", 2.0, "")]
    )
    assert named.spec["encoding"]["x"]["sort"] == ["stem", "last"]
    epochs = curves("t", Axis("Epoch", 0), Axis("y"), [Point(1, 1.0, ""), Point(2, 2.0, "")])
    assert epochs.spec["encoding"]["x"]["axis"] == {"tickMinStep": 1}


def test_the_front_joins_what_is_on_it_and_few_points_have_numbers():
    points = [Point(x, y, "m", number=i, front=i != 2) for i, (x, y) in enumerate([(1, 90.0), (2, 80.0), (3, 95.0)], 1)]
    drawn = marks(scatter("t", Axis("MACs"), Axis("accuracy"), points))
    line = next(items for kind, items in drawn if kind == "line")
    assert len(line) == 2
    assert [item["text"] for item in next(items for kind, items in drawn if kind == "text")] == [1, 2, 3]
