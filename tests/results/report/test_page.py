"""The pages on run folders with known numbers; in a browser where there is one."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from zoomexp.results.filling import fill
from zoomexp.results.report.page import Facts, _environment
from zoomexp.results.report.runs import read_runs
from zoomexp.results.report.site import write_site
from zoomexp.results.statistics import paired_bootstrap
from zoomexp.results.table import Column, Row, Table

FACTS = Facts("paper", 3, "c" * 40, "2026-01-02 03:04", "python scripts/report.py")
TABLE = Table(
    "paper/table", "A <table>", "arXiv 0000.00000",
    (Column("test/acc1", "Top-1", "%", True), Column("cost/params", "Parameters")),
    (
        Row("plain", reported={"test/acc1": 91.4, "cost/params": None}),
        Row("gate", reported={"test/acc1": 95.0, "cost/params": None}, caveats=("Said & done",), baseline="plain"),
        Row("later", reported={"test/acc1": 93.0, "cost/params": None}),
    ),
    caveats=("Of the table",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_library(monkeypatch, request):
    """A stand-in for the plots' library, which takes seconds to put together, but in a browser."""
    if "browser" not in request.node.name:
        monkeypatch.setattr("vl_convert.javascript_bundle", lambda: "window.vegaEmbed = null;")


def written(root: Path, results: dict[str, list[int]] | None = None) -> Path:
    """The report's folder; `results` says which of the runs, by number, belong to a row of `TABLE`."""
    runs, skipped = read_runs(root / "runs")
    rows = {row: [runs[i].result for i in numbers] for row, numbers in (results or {}).items()}
    write_site(root / "report", [fill(TABLE, rows, "paper", "c" * 40)], runs, skipped, FACTS)
    return root / "report"


def rendered(root: Path, results: dict[str, list[int]] | None = None, name: str = "index.html") -> str:
    return (written(root, results) / name).read_text()


def test_a_table_shows_reported_measured_verdict_and_p(six, parse):
    root, correct = six
    shown = parse(rendered(root, {"gate": [0, 1, 2], "plain": [3, 4, 5]}, "papers.html"))
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
    assert [text for _, text in shown.all("li")] == [
        "Of the table", "6 runs on CPU, commit ccccccc.", "gate: Said & done",
    ]  # fmt: skip


def test_a_claim_has_reported_measured_scale_and_verdict(six, parse):
    root, correct = six
    shown = parse(rendered(root, {"gate": [0, 1, 2], "plain": [3, 4, 5]}, "papers.html"))
    test = paired_bootstrap(correct["gate"], correct["none"])
    claim = "gate above plain in Top-1"
    assert claim in [text for _, text in shown.all("th")]
    cells = [text for _, text in shown.all("td")]
    at = cells.index("A <table>")
    over = f"{test.low:+.2f} to {test.high:+.2f} over test images, -10.00 to -10.00 over 3 seeds"
    assert cells[at - 1 : at + 5] == [
        "paper", "A <table>", "+3.60 points", f"{test.difference:+.2f} (95 % {over})", "paper", "undecided",
    ]  # fmt: skip
    counted = [text for _, text in shown.all("td", class_="num")][:5]
    assert counted == ["0", "0", "1", "0", "0"] and "reported" in cells[:at]


def test_the_summaries_count(six, record, parse):
    root, _ = six
    record(root, "loupe", 0, 0.0, status="failed: ValueError: no")
    record(root, "loupe", 1, 0.0, status="running")
    folder = written(root, {"gate": [0, 1, 2], "plain": [5, 6, 7]})
    said = [parse((folder / name).read_text()).all("p", id="summary")[0][1] for name in ("index.html", "papers.html")]
    assert said == [
        "Runs: 6 finished, 1 failed, 1 running or interrupted.",
        "Tables at scale=paper over 3 seeds: 1 of 1 with measured cells; cells 1 reproduced, 1 differ.",
    ]


def test_it_opens_with_what_was_found(six, parse):
    text = rendered(six[0])
    assert text.index("What was found") < text.index("Systems compared") < text.index('id="all-runs"')
    assert re.search(r"it names (80|81|82|90|91|92)\.00 % correctly", text)


def test_every_sortable_column_says_so_and_is_a_button(six, parse):
    shown = parse(rendered(six[0]))
    heads = [(attributes, text) for attributes, text in shown.all("th") if "aria-sort" in attributes]
    assert {attributes["aria-sort"] for attributes, _ in heads} == {"none"}
    assert [text for _, text in shown.all("button")] == [text for _, text in heads]
    assert {"System", "Top-1 accuracy (%)", "Status", "Training speed (images/s)"} <= {text for _, text in heads}


def test_what_a_run_says_is_text(tmp_path, record, parse):
    status = 'failed: ValueError: <script>alert(1)</script> & "quoted"'
    record(tmp_path, "none", 0, 0.0, status=status)
    folder = written(tmp_path)
    shown = parse((folder / "index.html").read_text())
    assert [text for _, text in shown.all("td", class_="status failed")] == [status]
    own = parse(next(folder.glob("pages/*/*/*.html")).read_text())
    for page in (shown, own):
        assert not any("alert(1)" in text for _, text in page.all("script"))


def test_every_link_of_every_page_leads_into_the_folder(six, parse):
    root, _ = six
    figures = next(root.glob("runs/*/*/*")) / "figures"
    figures.mkdir()
    Image.new("RGB", (8, 8)).save(figures / "map.png")
    folder = written(root, {"gate": [0, 1, 2], "plain": [3, 4, 5]})
    pages = {path: parse(path.read_text()) for path in folder.rglob("*.html")}
    assert len(pages) == 2 + 6
    ids = {path: {a["id"] for _, a, _ in shown.elements if "id" in a} for path, shown in pages.items()}
    for path, shown in pages.items():
        links = [a.get("href") or a.get("src") for _, a, _ in shown.elements if "href" in a or "src" in a]
        for link in (link for link in links if not link.startswith("data:")):
            to, _, anchor = unquote(link).partition("#")
            target = (path.parent / to).resolve() if to else path
            assert target.is_file() and target.is_relative_to(folder), link
            assert not anchor or anchor in ids[target], link
        assert (path.parent / next(a["data-library"] for a, _ in shown.all("body"))).is_file()
    assert not re.search(r"@import|url\(", (folder / "assets/style.css").read_text())


def test_a_run_has_its_own_page(six, parse):
    root, _ = six
    folder = next(root.glob("runs/digits/*none*/seed0*"))
    (folder / "figures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "figures" / "map.png")
    pd.DataFrame({"val/acc1": [50.0, 60.0]}).to_csv(folder / "history.csv", index=False)
    pd.DataFrame(
        {"index": [4, 5, 6], "class": ["a", "b", "b"], "predicted": ["b", "b", "a"], "right": [False, True, False],
         "confidence": [0.5, 1.0, 0.75]}
    ).to_csv(folder / "predictions.csv", index=False)  # fmt: skip
    pd.DataFrame({"class": ["a", "b"], "a": [3, 1], "b": [1, 2]}).to_csv(folder / "confusion.csv", index=False)
    shown = parse((written(root) / f"pages/{folder.relative_to(root / 'runs')}.html").read_text())
    assert [a["alt"].partition(" ")[0] for a, _ in shown.all("img")] == ["map.png"]
    assert len(shown.all("figure", class_="plot")) == 1
    rows = [text for _, text in shown.all("tr")]
    assert [row for row in rows if re.match(r"\d[ab]", row)] == ["6ba0.75", "4ab0.5"]  # the surest first
    assert [a["style"] for a, _ in shown.all("td") if "style" in a] == [
        "--share: 75.0%", "--share: 25.0%", "--share: 33.3%", "--share: 66.7%",
    ]  # fmt: skip
    assert "train_size: 100" in shown.all("pre")[0][1]
    assert "visualize.py" not in (written(root) / f"pages/{folder.relative_to(root / 'runs')}.html").read_text()
    assert [text for _, text in shown.all("a")].count("seed 1") == 1


def test_a_page_says_how_pictures_that_are_missing_are_drawn(six, parse, monkeypatch):
    root, _ = six
    monkeypatch.chdir(root)
    folder = next(root.glob("runs/digits/*none*/seed0*")).relative_to(root)
    facts = json.loads((folder / "metrics.json").read_text()) | {"weights": "checkpoints/best.ckpt"}
    (folder / "metrics.json").write_text(json.dumps(facts))
    pd.DataFrame({"index": [4], "predicted": ["b"], "right": [False], "confidence": [0.5]}).to_csv(
        folder / "predictions.csv", index=False
    )
    command = f"python scripts/visualize.py run={folder}"

    def said() -> tuple[list[str], list[str]]:
        shown = parse((written(root) / f"pages/{folder.relative_to('runs')}.html").read_text())
        links = [a["href"] for a, _ in shown.all("a") if a["href"].startswith("#")]
        assert {link[1:] for link in links} <= {a.get("id") for _, a, _ in shown.elements}
        return [text for _, text in shown.all("code") if "visualize" in text], links

    commands, links = said()
    assert commands == [command, f"{command} images=worst"] and "#pictures" in links
    (folder / "figures").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "figures" / "contact_sheet.png")
    assert said()[0] == [f"{command} images=worst"]
    Image.new("RGB", (8, 8)).save(folder / "figures" / "worst_mistakes.png")
    commands, links = said()
    assert commands == [] and "#worst_mistakes.png" in links


def test_many_classes_are_shown_by_their_commonest_confusions(six, parse):
    root, _ = six
    folder = next(root.glob("runs/digits/*none*/seed0*"))
    square = np.diag(np.full(30, 9))
    square[3, 7], square[8, 2] = 5, 6
    names = [f"c{i}" for i in range(30)]
    pd.DataFrame(square, columns=names).assign(**{"class": names}).to_csv(folder / "confusion.csv", index=False)
    shown = parse((written(root) / f"pages/{folder.relative_to(root / 'runs')}.html").read_text())
    assert [text for _, text in shown.all("tr") if re.match(r"c\d", text)] == ["c8c26", "c3c75"]


def test_pages_of_runs_that_are_gone_go(six):
    root, _ = six
    folder = written(root)
    shutil.rmtree(next(root.glob("runs/digits/*none*/seed0*")))
    (folder / "mine.txt").write_text("kept")
    written(root)
    assert len(list(folder.glob("pages/**/*.html"))) == 5 and (folder / "mine.txt").exists()


def test_an_empty_folder_says_what_to_run(tmp_path, parse):
    shown = parse(rendered(tmp_path))
    assert "python train.py" in shown.all("pre")[0][1]
    assert shown.all("table", id="runs") == []
    assert shown.all("p", id="summary")[0][1].startswith("Runs: 0 finished, 0 failed, 0 running")


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
    assert len(shown.all("figure", class_="plot")) == 2 + 2  # the sweep's two, and accuracy against two costs


CLICKS = """<script src="steps.js"></script>"""
STEPS = """
const order = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
const seen = [], names = [];
addEventListener("load", async () => {
  const table = document.querySelector("article.paper table"), head = table?.tHead.rows[0].cells[1];
  if (table) {
    seen.push(order(table));
    for (let i = 0; i < 2; i++) { head.querySelector("button").click(); seen.push(order(table), head.ariaSort); }
    seen.push(latex(cells(table, false), [false, true, true, true], "A_b & 5 %"));
  } else {
    for (const drawing of drawings.values()) await drawing.draw();
    seen.push(document.querySelectorAll("figure.plot [role=graphics-document][aria-label]").length);
    const drawing = [...drawings.values()][0];
    const kinds = [];
    save = (name, suffix, url) => kinds.push(`${suffix} ${url.slice(0, suffix === "svg" ? 5 : 15)}`);
    await drawing.picture("svg"); await drawing.picture("png");
    seen.push(kinds, csv(drawing.rows()).split("\\n")[0]);
    const rows = () => [...document.querySelectorAll("#runs tbody tr")];
    seen.push(rows().length, document.querySelector("#all-runs .more").textContent);
    const filter = document.getElementById("filter");
    filter.value = "NONE seed1"; filter.dispatchEvent(new Event("input"));
    seen.push(document.getElementById("matching").textContent);
    seen.push(rows().filter((row) => row.offsetParent).length, rows().length);
    seen.push(document.documentElement.scrollWidth <= innerWidth);
  }
  document.body.textContent = "STEPS" + JSON.stringify(seen) + "END";
});
"""
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--disable-quic"]
CHROMIUM += ["--no-first-run", "--window-size=500,800", "--disable-background-networking", "--disable-component-update"]
CHROMIUM += ["--disable-sync", "--dump-dom", "--virtual-time-budget=60000"]


def steps(page: Path, profile: Path) -> list:
    """What STEPS sees of a page in a browser."""
    (page.parent / "steps.js").write_text(STEPS)
    page.write_text(
        page.read_text()
        .replace("</body>", CLICKS + "</body>")
        .replace("</script><script src", "</script>\n<script defer src")
    )
    command = ["chromium", *CHROMIUM, f"--user-data-dir={profile}", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in shown.stderr, shown.stderr
    return json.loads(unescape(re.search("STEPS(.*)END", shown.stdout, re.S)[1]))


@pytest.fixture
def few_rows(monkeypatch):
    """Four rows at once, as if six were many."""
    monkeypatch.setattr("zoomexp.results.report.page.FIRST_ROWS", 4)
    _environment.cache_clear()
    yield
    _environment.cache_clear()


def test_without_scripts_further_rows_are_a_table_of_their_own(six, parse, few_rows):
    page = rendered(six[0])
    tables = parse(page).all("tbody")
    whole = re.search("<noscript data-rows=.*?</noscript>", page, re.S)[0]
    assert page.count("<noscript data-rows") == 1 and len(parse(whole).all("tr")) == 2
    assert len(tables) >= 2


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_in_a_browser_plots_are_drawn_and_saved_and_runs_are_filtered(six, few_rows):
    folder = written(six[0])
    assert steps(folder / "index.html", six[0] / "profile") == [
        2, ["svg blob:", "png data:image/png;"],
        "Series,System,MACs per image (M),Test top-1 accuracy (%),95 % from,to,Seeds,No.",
        4, "Show all 6 rows", "1 runs", 1, 6, True,
    ]  # fmt: skip


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_in_a_browser_columns_sort_and_tables_become_latex(six, tmp_path):
    folder = written(six[0], {"gate": [0, 1, 2], "plain": [3, 4, 5]})
    *seen, tex = steps(folder / "papers.html", six[0] / "profile")
    assert seen == [
        ["plain", "gate", "later"],
        ["gate", "plain", "later"], "ascending",  # what was not run is last
        ["plain", "gate", "later"], "descending",
    ]  # fmt: skip
    assert "\\caption{A\\_b \\& 5 \\%}" in tex and "\\toprule" in tex
    if shutil.which("pdflatex"):
        compiled(tex, tmp_path / "tex")


def compiled(tex: str, folder: Path) -> None:
    """Let a real LaTeX typeset a table."""
    folder.mkdir()
    (folder / "t.tex").write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{tex}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and (folder / "t.pdf").exists(), ran.stdout[-2000:]
