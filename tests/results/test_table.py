"""Table files are read strictly; filled tables say only what the runs allow; every form escapes what it shows."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.axes import Axes
from rich.console import Console

from zoomexp.errors import InputError
from zoomexp.results import figure, rendering
from zoomexp.results.curve import MARKED, curves
from zoomexp.results.filling import RunResult, fill, verdict
from zoomexp.results.outputs import write_document, write_table
from zoomexp.results.predictions import Predictions
from zoomexp.results.table import load_table, load_tables

NASTY = "<script>alert(1)</script> a|b 50% & x_1 #2 $3 {y} ~z^2 [red]"


def plain() -> dict:
    return {
        "title": "A table",
        "source": "arXiv 0000.00000, Table 1",
        "baseline": "plain",
        "overrides": ["dataset=cifar10"],
        "scale": {"smoke": ["trainer=smoke"], "small": ["trainer.max_epochs=2"], "paper": []},
        "columns": [{"key": "test/acc1", "name": "Top-1"}, {"key": "cost/params", "name": "Parameters", "unit": ""}],
        "rows": [
            {"name": "plain", "overrides": ["attention=none"], "reported": {"test/acc1": 90.96}},
            {"name": "gated", "overrides": ["attention=cbam"], "reported": {"test/acc1": None}, "caveats": ["one"]},
        ],
    }


def write(folder: Path, data: object) -> Path:
    path = folder / "paper" / "one.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return folder


def load(folder: Path, data: object):
    return load_table(write(folder, data), "paper/one")


def runs(accuracies, seed=0, n=200, sha="abc", params=10, **cost):
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    results = []
    for i, accuracy in enumerate(accuracies):
        correct = np.zeros(n, dtype=bool)
        correct[order[: round(n * accuracy / 100)]] = True
        results.append(
            RunResult({"test/acc1": accuracy}, {"params": params} | cost, i, Predictions({"acc1": correct}), sha)
        )
    return results


def test_a_table_loads(tmp_path):
    table = load(tmp_path, plain())
    assert (table.name, [row.name for row in table.rows]) == ("paper/one", ["plain", "gated"])
    assert table.rows[0].reported == {"test/acc1": 90.96, "cost/params": None}
    assert table.overrides_of(table.rows[0]) == ["dataset=cifar10", "attention=none"]
    assert table.overrides_of(table.rows[0], "small") == ["dataset=cifar10", "attention=none", "trainer.max_epochs=2"]
    assert load_tables(tmp_path) == [table]


def test_what_tables_share_stands_in_a_file_beside_them(tmp_path):
    data = plain()
    data["caveats"], data["scale"]["small"] = ["${shared.why}", "own"], "${shared.short}"
    data["rows"][0]["overrides"] = ["tokens.eta=${oc.select:tokens.eta,0.5}"]  # not for this file to resolve
    write(tmp_path, data)
    (tmp_path / "paper" / "_shared.yaml").write_text("why: because\nshort: [trainer.max_epochs=1]\n")
    (table,) = load_tables(tmp_path)
    assert table.caveats == ("because", "own") and table.scale["small"] == ("trainer.max_epochs=1",)
    assert table.rows[0].overrides == ("tokens.eta=${oc.select:tokens.eta,0.5}",)
    data["caveats"] = ["${shared.wy}"]
    with pytest.raises(InputError, match=r"\$\{shared\.wy\} is not among why, short of _shared\.yaml beside it"):
        load(tmp_path, data)


def test_tables_are_found_recursively_and_an_unknown_one_lists_them(tmp_path):
    load(tmp_path, plain())
    with pytest.raises(InputError, match="known tables: paper/one"):
        load_table(tmp_path, "paper/two")


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda d: d.update(titel="x"), ["titel"]),
        (lambda d: d.pop("source"), ["source"]),
        (lambda d: d["rows"][1].update(override=["x"]), ["gated", "override"]),
        (lambda d: d["rows"][1].update(name="plain"), ["rows", "plain", "more than once"]),
        (lambda d: d["columns"].append(dict(d["columns"][0])), ["columns", "test/acc1", "more than once"]),
        (lambda d: d.update(figure={"x": "cost/macs", "y": "test/acc1"}), ["figure", "cost/macs"]),
        (lambda d: d.update(figure={"x": "cost/params"}), ["figure", "y is missing"]),
        (lambda d: d.update(figure={"y": "test/acc1"}), ["figure", "either x", "or over"]),
        (lambda d: d.update(figure={"y": "test/acc1", "x": "cost/params", "over": "a"}), ["figure", "either x"]),
        (lambda d: d.update(figure={"y": ["test/acc1"] * 2, "x": ["cost/params"] * 2}), ["several x go with one y"]),
        (lambda d: d.update(figure={"y": "test/acc1", "over": "loss.sparsity"}), ["fewer than two rows", "sparsity"]),
        (lambda d: d["rows"][0]["reported"].update({"test/acc9": 1}), ["plain", "reported", "test/acc9"]),
        (lambda d: d["rows"][0]["reported"].update({"test/acc1": "90.96"}), ["plain", "test/acc1", "'90.96'"]),
        (lambda d: d["rows"][0]["reported"].update({"test/acc1": True}), ["plain", "test/acc1", "True"]),
        (lambda d: d["rows"][0]["reported"].update({"test/acc1": float("nan")}), ["plain", "test/acc1"]),
        (lambda d: d["rows"][0].update(reported=[1]), ["plain", "reported"]),
        (lambda d: d["rows"][0].update(overrides="attention=none"), ["plain", "overrides"]),
        (lambda d: d["rows"][0].update(overrides=[{"attention": "none"}]), ["plain", "overrides"]),
        (lambda d: d["rows"][0].update(needs=["a=b"]), ["plain", "needs"]),
        (lambda d: d["rows"][0].update(baseline="other"), ["plain", "baseline", "other"]),
        (lambda d: d.update(baseline="other"), ["baseline", "other"]),
        (lambda d: d["rows"].append("text"), ["row 2"]),
        (lambda d: d.update(rows=[]), ["one.yaml"]),
        (lambda d: d["scale"].update(paper=["x=1"]), ["scale", "paper"]),
        (lambda d: d["scale"].update(tiny=["x=1"]), ["scale", "tiny"]),
        (lambda d: d["columns"][0].update(decimals="2"), ["column 0", "decimals"]),
        (lambda d: d["columns"][0].update(higher_is_better="yes"), ["column 0", "higher_is_better"]),
        (lambda d: d["columns"][0].update(unit=5), ["column 0", "unit"]),
        (lambda d: d.update(title=3), ["title"]),
    ],
)
def test_a_mistake_names_file_row_and_field(tmp_path, change, fields):
    data = plain()
    change(data)
    with pytest.raises(InputError) as error:
        load(tmp_path, data)
    assert all(text in str(error.value) for text in ["one.yaml", *fields])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2", "- 1", "", "title: ${"])
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(InputError, match=r"one\.yaml") as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_an_unknown_scale_is_refused(tmp_path):
    table = load(tmp_path, plain())
    with pytest.raises(InputError, match="scale"):
        table.overrides_of(table.rows[0], "huge")


@pytest.mark.parametrize(
    ("reported", "values", "reason", "expected"),
    [
        (91.0, [90.0, 92.0], None, "reproduced"),
        (91.0, [95.0, 95.1, 95.2], None, "differs"),
        (91.0, [], None, "not run"),
        (None, [], None, "not run"),
        (None, [91.0, 92.0], None, "no reported value"),
        (None, [91.0, 92.0], "shortened", "no reported value"),
        (91.0, [91.0], None, "one seed: no interval"),
        (91.0, [91.0, 91.0], "another data set", "not comparable: another data set"),
        (91.0, [91.0], "another data set", "not comparable: another data set"),
    ],
)
def test_verdicts(reported, values, reason, expected):
    assert verdict(reported, values, reason) == expected


def test_filling(tmp_path):
    table = load(tmp_path, plain())
    filled = fill(table, {"plain": runs([90.0, 92.0]), "gated": runs([80.0, 81.0])}, "paper", "abc")
    first, second = filled.rows
    assert first.cells[0].verdict == "reproduced"
    assert (first.cells[0].mean, first.cells[0].n) == (91.0, 2)
    assert first.cells[0].p_value is None
    assert second.cells[0].verdict == "no reported value"
    assert second.cells[0].p_value < 0.001
    assert second.cells[0].test.difference == pytest.approx(-10.5)
    assert second.cells[1].p_value is None
    assert (second.cells[1].mean, second.baseline, first.baseline) == (10.0, "plain", None)
    assert filled.counts() == {"cells": 4, "reported": 1, "measured": 4, "reproduced": 1}


def test_a_shortened_schedule_is_never_compared(tmp_path):
    filled = fill(load(tmp_path, plain()), {"plain": runs([90.0, 92.0])}, "small", "abc")
    assert filled.rows[0].cells[0].verdict == "not comparable: shortened schedule (scale=small)"


@pytest.mark.parametrize("level", ["table", "row", "column"])
def test_what_must_not_be_compared_says_why(tmp_path, level):
    data = plain()
    {"table": data, "row": data["rows"][0], "column": data["columns"][0]}[level]["not_comparable"] = "other recipe"
    filled = fill(load(tmp_path, data), {"plain": runs([90.0, 92.0])}, "paper", "abc")
    assert filled.rows[0].cells[0].verdict == "not comparable: other recipe"


def test_another_commit_is_stale_and_stays(tmp_path):
    filled = fill(load(tmp_path, plain()), {"plain": runs([90.0, 92.0], sha="old")}, "paper", "abc")
    cell = filled.rows[0].cells[0]
    assert (cell.stale, cell.mean) == (True, 91.0)
    text = rendering.markdown(filled)
    assert (
        text.count("Measured with other data or code than those of abc") == 1 and "stale" not in text
    )  # said once, not in each cell
    mixed = {"plain": runs([90.0, 92.0], sha="old"), "gated": runs([91.0, 92.0], sha="abc")}
    text = rendering.markdown(fill(load(tmp_path, plain()), mixed, "paper", "abc"))
    assert "stale: measured with other data or code than those of abc" in text
    marked = [line for line in text.splitlines() if line.endswith("|") and " stale |" in line]
    assert marked and all(cells.split("|")[4].endswith(" stale ") for cells in marked)
    assert sum(cell.stale for cell in filled.rows[0].cells if cell.n) == len(marked)


def test_without_a_baseline_run_there_is_no_test(tmp_path):
    filled = fill(load(tmp_path, plain()), {"gated": runs([90.0])}, "paper", "abc")
    assert [row.cells[0].p_value for row in filled.rows] == [None, None]
    assert filled.rows[0].cells[0].verdict == "not run"


def test_other_test_images_or_no_predictions_are_not_paired(tmp_path):
    table = load(tmp_path, plain())
    for other in (runs([90.0], n=100), [replace(runs([90.0])[0], predictions=Predictions({}))]):
        filled = fill(table, {"plain": runs([91.0]), "gated": other}, "paper", "abc")
        assert filled.rows[1].cells[0].p_value is None


def test_one_seed_each_is_mcnemar_and_equal_networks_have_p_one(tmp_path):
    filled = fill(load(tmp_path, plain()), {"plain": runs([91.0]), "gated": runs([91.0])}, "paper", "abc")
    assert filled.rows[1].cells[0].test.name == "McNemar"
    assert filled.rows[1].cells[0].p_value == 1.0


def test_p_values_are_corrected_over_the_rows(tmp_path):
    data = plain()
    data["rows"].append({"name": "third"})
    results = {"plain": runs([91.0]), "gated": runs([88.0]), "third": runs([88.0])}
    filled = fill(load(tmp_path, data), results, "paper", "abc")
    cell = filled.rows[1].cells[0]
    assert cell.p_value == pytest.approx(2 * cell.test.p_value)


def test_a_row_that_repeats_another_one_is_said_so_and_not_tested_twice(tmp_path):
    data = plain()
    data["rows"] += [{"name": "third"}, {"name": "fourth"}]
    at = {"plain": "runs/a", "gated": "runs/b", "third": "runs/b", "fourth": "runs/c"}
    results = {name: [replace(run, folder=at[name]) for run in runs([88.0])] for name in at}
    results["plain"] = [replace(run, folder=at["plain"]) for run in runs([91.0])]
    filled = fill(load(tmp_path, data), results, "paper", "abc")
    gated, third, fourth = (row.cells[0] for row in filled.rows[1:])
    assert third.mean == gated.mean == 88.0 and third.test is third.p_value is None
    assert gated.p_value == fourth.p_value == pytest.approx(2 * gated.test.p_value)  # of two rows, not of three
    told = "At this scale the same runs as 'gated', not tested a second time."
    assert [told in row.caveats for row in filled.rows] == [False, False, True, False]


def test_a_quantity_that_was_not_recorded_is_said_so(tmp_path):
    data = plain()
    data["columns"][0]["key"] = "val/epochs_to_error10"
    for row in data["rows"]:
        row["reported"] = {"val/epochs_to_error10": 92 if row["name"] == "plain" else None}
    filled = fill(load(tmp_path, data), {"plain": runs([91.0]), "gated": runs([91.0])}, "paper", "abc")
    assert filled.rows[0].cells[0].verdict.startswith("not comparable: the run records")
    assert filled.rows[1].cells[0].verdict == "no reported value"


def test_unknown_rows_and_repeated_seeds_are_refused(tmp_path):
    table = load(tmp_path, plain())
    with pytest.raises(InputError, match="nobody"):
        fill(table, {"nobody": []}, "paper", "abc")
    with pytest.raises(InputError, match="same seed"):
        fill(table, {"plain": [*runs([91.0]), *runs([90.0])]}, "paper", "abc")


@pytest.fixture
def nasty(tmp_path):
    data = plain()
    data["rows"][1] |= {"caveats": [NASTY], "name": "gated <b>|_", "reported": {"cost/params": 7}}
    return fill(load(tmp_path, data), {"plain": runs([90.5, 91.5])}, "paper", "abc")


def test_html_is_escaped_and_self_contained(nasty):
    page = rendering.html(nasty)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; a|b" in page
    assert "90.96" in page
    assert "91.00 ± 6.35 (n=2)" in page
    assert not any(text in page for text in ("http://", "https://", "src="))


def test_markdown_pipes_are_escaped(nasty):
    text = rendering.markdown(nasty)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
    assert "a\\|b" in text
    assert "<script" not in text
    assert "| plain | Top-1 (%) | 90.96 | 91.00 ± 6.35 (n=2) | - | reproduced |" in text


def test_latex_specials_are_escaped(nasty):
    text = rendering.latex(nasty)
    assert r"50\% \& x\_1 \#2 \$3 \{y\} \textasciitilde{}z\textasciicircum{}2" in text
    assert r"91.00 $\pm$ 6.35" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_csv_round_trips(nasty):
    again = pd.read_csv(io.StringIO(rendering.csv(nasty)))
    assert len(again) == 4
    assert again["caveats"][2] == NASTY
    assert again["reported"][0] == 90.96
    assert again["half_width"][0] == nasty.rows[0].cells[0].half_width
    assert pd.isna(again["mean"][2])


def test_the_terminal_shows_every_cell_and_no_markup(nasty):
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(rendering.terminal(nasty))
    text = console.export_text()
    assert all(part in text for part in ("90.96", "91.00 ± 6.35", "not run", "[red]", "reproduced"))


def test_the_difference_to_the_baseline_is_shown_with_its_p_value(tmp_path):
    filled = fill(load(tmp_path, plain()), {"plain": runs([90.0]), "gated": runs([88.0])}, "paper", "abc")
    assert "| -2.00, p = 0.125 |" in rendering.markdown(filled)  # 4 images against 0: 2 / 2**4


def test_unknown_is_a_dash_not_a_number(tmp_path):
    filled = fill(load(tmp_path, plain()), {}, "paper", "abc")
    assert "| plain | Top-1 (%) | 90.96 | - | - | not run |" in rendering.markdown(filled)


def test_a_quantity_that_a_row_has_no_value_of_has_no_line_there_and_a_note_says_so(tmp_path):
    filled = fill(load(tmp_path, plain()), {"gated": runs([90.0])}, "paper", "abc")
    text = rendering.markdown(filled)
    assert text.count("| Parameters |") == 1 and text.count(rendering.MISSING) == 1  # the plain row has none
    assert rendering.html(filled).count("rowspan") == 2 and 'rowspan="1"' in rendering.html(filled)
    assert len(rendering.frame(filled)) == 4, "the CSV has a line for every cell"
    both = fill(load(tmp_path, plain()), {"gated": runs([90.0]), "plain": runs([90.0])}, "paper", "abc")
    assert rendering.MISSING not in rendering.markdown(both)


def test_quantities_of_which_nothing_is_known_are_named_in_a_note(tmp_path):
    """As the size classes of boxes that a data set has none of; unless there are no others."""
    data = plain()
    data["columns"] += [{"key": "test/ap_large", "name": "AP large"}]
    filled = fill(load(tmp_path, data), {"gated": runs([90.0])}, "paper", "abc")
    text = rendering.markdown(filled)
    assert "\n- No values of: AP large (%).\n" in text and text.count("AP large") == 1
    assert [line.count("|") for line in text.splitlines() if line.startswith("|")] == [7] * 5
    assert rendering.html(filled).count("rowspan") == 2 and len(rendering.frame(filled)) == 6
    data["rows"], data["baseline"] = data["rows"][1:], None
    text = rendering.markdown(fill(load(tmp_path, data), {}, "paper", "abc"))
    assert "|  | AP large (%) | - | - | - | not run |" in text and "No values" not in text


def test_the_row_that_was_compared_with_is_named(tmp_path):
    """The usual one in one note, another in a note of its row."""
    measured = {name: runs([90.0, 91.0]) for name in ("plain", "gated")}
    text = rendering.markdown(fill(load(tmp_path, plain()), measured, "paper", "abc"))
    assert "\n- Against baseline: 'plain'.\n" in text
    data = plain()
    data["rows"] += [{"name": "last", "overrides": ["a=3"], "baseline": "gated"}]
    text = rendering.markdown(fill(load(tmp_path, data), measured | {"last": runs([90.0])}, "paper", "abc"))
    notes = [line for line in text.splitlines() if line.startswith("- ") and "gainst" in line]
    assert notes == ["- (2) Against 'gated'.", "- Against baseline: 'plain', where no note names another."]
    assert "| last (2) |" in text


def test_rows_that_went_stale_alike_have_one_note(tmp_path):
    old = {name: [replace(run, changed="code: a.b") for run in runs([90.0, 92.0, 91.0])] for name in ("plain", "gated")}
    old["gated"][1] = replace(old["gated"][1], changed="data")
    old["gated"][2] = replace(old["gated"][2], changed="")
    lines = rendering.markdown(fill(load(tmp_path, plain()), old, "paper", "abc")).splitlines()
    assert "- (1) Stale: code: a.b changed since." in lines and any("| plain (1) |" in line for line in lines)
    assert (
        "- (3) Stale, seed 0: code: a.b changed since." in lines and "- (4) Stale, seed 1: data changed since." in lines
    )
    both = old | {"gated": old["plain"]}
    text = rendering.markdown(fill(load(tmp_path, plain()), both, "paper", "abc"))
    assert text.count("code: a.b changed since.") == 1 and "| gated (2, 1) |" in text


def test_rows_of_which_nothing_is_known_are_named_in_a_note(tmp_path):
    """Unless there are no others; what cannot be run keeps its line, which says why."""
    data = plain()
    data["rows"] += [{"name": "later"}, {"name": "lost", "unavailable": "no code"}]
    text = rendering.markdown(fill(load(tmp_path, data), {}, "paper", "abc"))
    assert "\n- Not run: gated; later.\n" in text and "| lost (1) |" in text and "(1) Not available: no code" in text
    assert "| gated" not in text and "| later" not in text and " one\n" not in text
    data["rows"] = data["rows"][1:3]
    data["baseline"] = None
    text = rendering.markdown(fill(load(tmp_path, data), {}, "paper", "abc"))
    assert "| gated (1) | Top-1 (%) | - | - | - | not run |" in text and "Not run:" not in text


def with_figure() -> dict:
    return plain() | {"figure": {"x": "cost/params", "y": "test/acc1"}}


def test_an_interval_ends_where_nothing_is_possible(tmp_path, monkeypatch):
    drawn = {}

    def noted(name: str):
        draw = getattr(Axes, name)
        return lambda *given, **options: drawn.setdefault(name, (given, options)) and draw(*given, **options)

    for name in ("fill_between", "errorbar"):
        monkeypatch.setattr(Axes, name, noted(name))
    data = plain() | {"figure": {"over": "a", "y": "test/acc1"}}
    data["rows"] = [{"name": name, "overrides": [f"a={name}"]} for name in "12"]
    data["baseline"] = None
    measured = {"1": runs([90.0, 92.0]), "2": runs([50.0, 51.0])}  # t(0.975, 1) / 2 = 6.3531 of the difference
    filled = fill(load(tmp_path, data), measured, "small", "abc")
    assert "| 91.00 (78.29 to 100.00) (n=2) |" in rendering.markdown(filled)
    assert "| 50.50 ± 6.35 (n=2) |" in rendering.markdown(filled)
    write_table(filled, tmp_path)
    _, _, low, high = drawn["fill_between"][0]
    assert (low, high) == (
        pytest.approx((91 - 12.7062, 50.5 - 6.3531), abs=1e-4),
        pytest.approx((100, 56.8531), abs=1e-4),
    )
    data["figure"] = {"x": "cost/params", "y": "test/acc1"}
    write_table(fill(load(tmp_path, data), measured, "small", "abc"), tmp_path)
    below, above = drawn["errorbar"][1]["yerr"]
    assert (below[0], above[0]) == (pytest.approx(12.7062, abs=1e-4), pytest.approx(9))


def test_a_figure_joins_the_rows_of_a_series_and_stays_the_same(tmp_path):
    data = with_figure() | {"baseline": None}
    data["rows"] = [{"name": name, "overrides": [name]} for name in ("Ours, 2", "Ours, 1", "Other", "Not run")]
    measured = {"Ours, 2": runs([70, 72], params=20), "Ours, 1": runs([60, 62], params=10), "Other": runs([50, 55])}
    filled = fill(load(tmp_path, data), measured, "small", "abc")
    paths = write_table(filled, tmp_path / "a")
    svg = (tmp_path / "a" / "paper" / "one-small.svg").read_text()
    assert paths[-1].name == "one-small.svg"
    assert all(text in svg for text in (">Ours<", ">Other<", ">Top-1 (%)<", ">Parameters<")) and ">Not run<" not in svg
    ours = figure.series(filled, "cost/params")["Ours"]
    assert [x.mean for x, _ in ours] == [10, 20]
    write_table(filled, tmp_path / "b")
    assert (tmp_path / "b" / "paper" / "one-small.svg").read_text() == svg
    document = write_document([filled], tmp_path / "docs" / "results.md", "a command").read_text()
    assert "![paper/one](figures/paper/one-small.svg)" in document
    assert (tmp_path / "docs" / "figures" / "paper" / "one-small.svg").read_text() == svg


def test_a_figure_has_a_panel_for_each_x_that_is_measured_and_one_legend(tmp_path):
    data = plain() | {"baseline": None, "figure": {"x": ["cost/params", "cost/train_s", "cost/macs"], "y": "test/acc1"}}
    data["columns"] += [{"key": key} for key in ("cost/train_s", "cost/macs")]
    data["rows"] = [{"name": name, "overrides": [name]} for name in ("Ours, 1", "Ours, 2")]
    measured = {"Ours, 1": runs([60, 62], params=10, train_s=3), "Ours, 2": runs([70, 72], params=20, train_s=5)}
    write_table(fill(load(tmp_path, data), measured, "small", "abc"), tmp_path)
    svg = (tmp_path / "paper" / "one-small.svg").read_text()
    assert [svg.count(f">{text}<") for text in ("Parameters", "Training (s)", "MACs", "Top-1 (%)", "Ours")] == [
        1,
        1,
        0,
        1,
        1,
    ]
    assert svg.count('id="axes_') == 2


@pytest.mark.parametrize(("values", "scale"), [([5, 51], "log"), ([5, 50], "linear"), ([0, 50], "linear")])
def test_a_wide_axis_is_logarithmic(values, scale):
    axes = figure.Canvas().add_subplot()
    figure._scale(axes, values)
    assert axes.get_xscale() == scale


def test_a_figure_over_a_setting_has_its_numbers_in_order_and_the_others_as_lines(tmp_path):
    data = plain() | {"baseline": None, "figure": {"over": "loss.sparsity", "y": ["test/acc1", "cost/params"]}}
    data["rows"] = [{"name": "none", "overrides": ["attention=none"]}]
    data["rows"] += [{"name": f"lambda {value}", "overrides": [f"loss.sparsity={value}"]} for value in (5, 0, 0.05)]
    measured = {"none": runs([50, 52]), "lambda 5": runs([70, 72]), "lambda 0.05": runs([60, 62, 64])}
    filled = fill(load(tmp_path, data), measured, "small", "abc")
    assert {value: cell.mean for value, cell in curves(filled, "test/acc1")[""].items()} == {0.05: 62, 5: 71}
    write_table(filled, tmp_path)
    svg = (tmp_path / "paper" / "one-small.svg").read_text()
    assert [svg.count(f">{text}<") for text in ("loss.sparsity", "0.05", "5", "none", "95 % over 3 seeds")] == [2] * 5
    assert ">Top-1 (%)<" in svg and ">Parameters<" in svg


@pytest.mark.parametrize("keys", [{"over": "a"}, {"x": "cost/params"}])
def test_the_marker_of_a_row_whose_module_is_shut_is_empty(tmp_path, monkeypatch, keys):
    drawn, scatter = [], Axes.scatter
    monkeypatch.setattr(Axes, "scatter", lambda axes, *at, **look: drawn.append(at) or scatter(axes, *at, **look))
    data = plain() | {"baseline": None, "figure": {"y": "test/acc1"} | keys}
    data["rows"] = [{"name": f"Ours, {a}", "overrides": [f"a={a}"]} for a in "123"]
    measured = {f"Ours, {a}": runs([60 + a, 60 + a], params=a) for a in (1, 2, 3)}
    write_table(fill(load(tmp_path, data), measured, "small", "abc"), tmp_path)
    assert not drawn
    measured["Ours, 2"][1] = replace(measured["Ours, 2"][1], health="module shut: the mask is shut")
    write_table(fill(load(tmp_path, data), measured, "small", "abc"), tmp_path)
    assert drawn[0] == ((1 if "over" in keys else 2,), (62,))
    assert f">{MARKED}<" in (tmp_path / "paper" / "one-small.svg").read_text()


@pytest.mark.parametrize(("small", "told"), [(["dataset=digits"], "scale=small, another data set"),
                                             (["trainer.max_epochs=2"], "scale=small")])  # fmt: skip
def test_a_figure_says_that_a_scale_has_other_data(tmp_path, small, told):
    data = with_figure() | {"baseline": None, "scale": {"small": small}}
    measured = {name: runs([60, 61], params=count) for name, count in (("plain", 1), ("gated", 2))}
    write_table(fill(load(tmp_path, data), measured, "small", "abc"), tmp_path)
    assert f">A table [{told}]<" in (tmp_path / "paper" / "one-small.svg").read_text()


def two_curves() -> dict:
    data = plain() | {"baseline": None, "figure": {"over": "a", "by": "b", "y": "test/acc1"}}
    settings = [("2", "x"), ("1", "x"), ("1", "y"), ("3", "y"), ("3", "z")]
    data["rows"] = [{"name": a + b, "overrides": [f"a={a}", f"b={b}"]} for a, b in settings]
    return data | {"rows": [*data["rows"], {"name": "none", "overrides": ["c=1"]}]}


def test_a_curve_for_each_value_of_another_setting(tmp_path):
    """Places are those of all curves together; a curve of one number is left out."""
    names = [row["name"] for row in two_curves()["rows"]]
    results = {name: runs([10 * i, 10 * i + 2]) for i, name in enumerate(names)}
    filled = fill(load(tmp_path, two_curves()), results, "small", "abc")
    means = {curve: {value: cell.mean for value, cell in points.items()}
             for curve, points in curves(filled, "test/acc1").items()}  # fmt: skip
    assert means == {"b = x": {1: 11, 2: 1}, "b = y": {1: 21, 3: 31}}
    write_table(filled, tmp_path)
    svg = (tmp_path / "paper" / "one-small.svg").read_text()
    shown = ("1", "2", "3", "none", "b = x, 95 % over 2 seeds", "b = y, 95 % over 2 seeds", "b = z, 95 % over 2 seeds")
    assert [svg.count(f">{text}<") for text in shown] == [1, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"figure": {"x": "cost/params", "by": "b", "y": "test/acc1"}}, "by goes with over"),
        ({"rows": [{"name": a, "overrides": [f"a={a}"]} for a in "12"]}, "row '1' gives no value to 'b'"),
    ],
)
def test_what_curves_are_told_apart_by_is_checked(change, reason, tmp_path):
    with pytest.raises(InputError, match=f"figure: {reason}$"):
        load(tmp_path, two_curves() | change)


def test_a_curve_of_one_measured_number_is_not_drawn(tmp_path):
    data = plain() | {"baseline": None, "figure": {"over": "a", "y": "test/acc1"}}
    data["rows"] = [{"name": name, "overrides": [name]} for name in ("a=1", "a=2")]
    paths = write_table(fill(load(tmp_path, data), {"a=1": runs([70, 72])}, "small", "abc"), tmp_path)
    assert [path.suffix for path in paths] == [".md", ".tex", ".csv", ".html"]


def test_a_figure_of_one_measured_row_is_not_drawn(tmp_path):
    filled = fill(load(tmp_path, with_figure()), {"plain": runs([70, 72])}, "small", "abc")
    assert [path.suffix for path in write_table(filled, tmp_path)] == [".md", ".tex", ".csv", ".html"]
    assert "![" not in write_document([filled], tmp_path / "results.md", "a command").read_text()
