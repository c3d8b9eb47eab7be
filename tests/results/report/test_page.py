"""The page on run folders with known numbers; in a browser where there is one."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from zoomexp.results.filling import fill
from zoomexp.results.report.figures import read_sheets
from zoomexp.results.report.page import Facts, page
from zoomexp.results.report.runs import read_runs
from zoomexp.results.statistics import paired_bootstrap
from zoomexp.results.table import Column, Row, Table

FACTS = Facts("paper", 3, "c" * 40, "2026-01-02 03:04", "python scripts/report.py")
TABLE = Table(
    "paper/table", "A <table>", "arXiv 0000.00000",
    (Column("test/acc1", "Top-1", "%"), Column("cost/params", "Parameters")),
    (
        Row("plain", reported={"test/acc1": 91.4, "cost/params": None}),
        Row("gate", reported={"test/acc1": 95.0, "cost/params": None}, caveats=("Said & done",), baseline="plain"),
        Row("later", reported={"test/acc1": 93.0, "cost/params": None}),
    ),
    caveats=("Of the table",),
)  # fmt: skip


def rendered(root: Path, results: dict[str, list[int]] | None = None, folder: Path | None = None) -> str:
    """The page; `results` says which of the runs, by number, belong to a row of `TABLE`."""
    runs, skipped = read_runs(root / "runs")
    sheets, broken = read_sheets(runs)
    rows = {row: [runs[i].result for i in numbers] for row, numbers in (results or {}).items()}
    return page(
        [fill(TABLE, rows, "paper", "c" * 40)], runs, sheets, skipped + broken, FACTS, folder or root / "report"
    )


def test_a_table_shows_reported_measured_verdict_and_p(six, parse):
    root, correct = six
    shown = parse(rendered(root, {"gate": [0, 1, 2], "plain": [3, 4, 5]}))
    cells = shown.all("td", **{"data-column": "test/acc1"})
    # half width by hand: t(0.975, 2) / sqrt(3) * 1 = 4.3027 / 1.7321 = 2.4841
    assert [text for _, text in cells] == [
        "91.00 ± 2.48 n=3 reported 91.40 reproduced",
        "81.00 ± 2.48 n=3 reported 95.00 differs",
        "reported 93.00 not run",
    ]
    assert [attributes["data-sort"] for attributes, _ in cells] == ["91.0", "81.0", ""]
    assert [text for _, text in shown.all("td", **{"data-column": "cost/params"})] == ["1,234.00 n=3"] * 2 + ["not run"]
    test = paired_bootstrap(correct["gate"], correct["none"])
    assert test.p_value < 0.001
    against = [text for _, text in shown.all("td", class_="num against")]
    interval = f"[{test.low:.2f}, {test.high:.2f}]"
    assert against == ["", f"{test.difference:+.2f} {interval} p < 0.001 paired bootstrap against plain", ""]
    assert [text for _, text in shown.all("li")] == ["Of the table", "gate: Said & done"]


def test_the_summary_counts(six, record, parse):
    root, _ = six
    record(root, "loupe", 0, 0.0, status="failed: ValueError: no")
    record(root, "loupe", 1, 0.0, status="running")
    assert parse(rendered(root, {"gate": [0, 1, 2], "plain": [5, 6, 7]})).all("p", id="summary")[0][1] == (
        "Runs: 6 finished, 1 failed, 1 running. Tables at scale=paper over 3 seeds: 1 of 1 with measured cells; "
        "cells 1 reproduced, 1 differ. Commit cccccccccccc, made 2026-01-02 03:04."
    )


def test_every_sortable_column_says_so_and_is_a_button(six, parse):
    shown = parse(rendered(six[0], {"plain": [3]}))
    heads = [(attributes, text) for attributes, text in shown.all("th") if "aria-sort" in attributes]
    assert {attributes["aria-sort"] for attributes, _ in heads} == {"none"}
    assert [text for _, text in shown.all("button")] == [text for _, text in heads]
    assert {"System", "Top-1 (%)", "Against baseline", "Status", "Training speed (images/s)"} <= {
        text for _, text in heads
    }


def test_what_a_run_says_is_text(tmp_path, record, parse):
    status = 'failed: ValueError: <script>alert(1)</script> & "quoted"'
    record(tmp_path, "none", 0, 0.0, status=status)
    shown = parse(rendered(tmp_path))
    assert [text for _, text in shown.all("td", class_="status failed")] == [status]
    assert len(shown.all("script")) == 1
    assert "alert(1)" not in shown.all("script")[0][1]
    assert next(text for _, text in shown.all("h3")).startswith("A <table>")


def test_nothing_outside_the_page_is_needed(six, parse):
    root, _ = six
    folder = next(root.glob("runs/*/*/*")) / "figures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "map.png")
    shown = parse(rendered(root))
    assert [a["alt"] for a, _ in shown.all("img")] == [f"map.png of {folder.parent.relative_to(root / 'runs')}"]
    links = {a["href"] for tag, a, _ in shown.elements if "href" in a}
    records = {link for link in links if not link.startswith("#")}
    assert not any(link.startswith("/") for link in records)
    assert {(root / "report" / unquote(link)).resolve() for link in records} == set(
        root.glob("runs/*/*/*/metrics.json")
    )
    ids = {a["id"] for _, a, _ in shown.elements if "id" in a}
    assert {link[1:] for link in links - records} <= ids
    assert all(a["src"].startswith("data:") for _, a, _ in shown.elements if "src" in a)
    assert shown.all("link") == []
    assert not re.search(r"@import|url\(", shown.all("style")[0][1])


def test_an_empty_folder_says_what_to_run(tmp_path, parse):
    shown = parse(rendered(tmp_path))
    assert "python train.py" in shown.all("pre")[0][1]
    assert shown.all("table", id="runs") == []
    assert shown.all("p", id="summary")[0][1].startswith("Runs: 0 finished, 0 failed, 0 running.")


def test_what_is_left_out_is_named(six, parse):
    (next(six[0].glob("runs/digits/*gate*/seed1*")) / "metrics.json").write_text("{")
    (six[0] / "runs/digits/resnet20-<b>/seed0").mkdir(parents=True)
    lines = [text for _, text in parse(rendered(six[0])).all("li")]
    assert [line.partition(": ")[0].partition("-")[2][:8] for line in lines[-2:]] == ["<b>/seed", "gate-def"]


def test_a_sweep_is_a_plot_for_each_metric(tmp_path, record, parse):
    metrics = {"test/acc1": 50.0, "test/pointing_game": 30.0}
    for threshold in (0.3, 0.5):
        record(tmp_path, "gate", 0, 0.0, {"attention.threshold": threshold}, metrics=metrics)
    shown = parse(rendered(tmp_path))
    assert [a["data-sweep"] for a, _ in shown.all("article") if "data-sweep" in a] == ["attention.threshold"]
    assert len(shown.all("svg")) == 2 + 2  # the sweep's two, and accuracy against two costs


CLICKS = """<script>
const order = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
const table = document.querySelector("article.paper table"), head = table.tHead.rows[0].cells[1];
const steps = [order(table)];
for (let i = 0; i < 2; i++) { head.querySelector("button").click(); steps.push(order(table), head.ariaSort); }
table.tHead.rows[0].cells[0].querySelector("button").click();
steps.push(order(table), head.ariaSort);
const filter = document.getElementById("filter");
filter.value = "NONE seed1"; filter.dispatchEvent(new Event("input"));
steps.push(document.getElementById("matching").textContent);
steps.push([...document.querySelectorAll("#runs tbody tr")].filter((row) => row.offsetParent).length);
steps.push(document.documentElement.scrollWidth <= innerWidth);
document.body.textContent = "STEPS" + JSON.stringify(steps) + "END";
</script>"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_in_a_browser_columns_sort_runs_are_filtered_and_nothing_overflows(six):
    root, _ = six
    (root / "page.html").write_text(rendered(root, {"gate": [0, 1, 2], "plain": [3, 4, 5]}) + CLICKS)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={root / 'profile'}", "--disable-quic", "--no-first-run", "--window-size=500,800"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"]
    shown = subprocess.run([*command, (root / "page.html").as_uri()], capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in shown.stderr
    assert json.loads(re.search("STEPS(.*)END", shown.stdout)[1]) == [
        ["plain", "gate", "later"],
        ["gate", "plain", "later"], "ascending",  # what was not run is last
        ["plain", "gate", "later"], "descending",
        ["gate", "later", "plain"], "none",
        "1 runs", 1, True,
    ]  # fmt: skip
