"""scripts/report.py from run folders to the page."""

from pathlib import Path

import pytest

from zoomexp.cli import report, table_runs
from zoomexp.errors import InputError
from zoomexp.results.table import load_table

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(monkeypatch):
    from hydra import initialize_config_dir

    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        monkeypatch.setattr(report, "load_tables", lambda folder: [load_table(folder, "cnntention/mnist")])
        yield report


def test_the_script_finds_the_runs_of_a_table(script, tmp_path, capsys, record, parse):
    table = load_table(ROOT / "configs/table", "cnntention/mnist")
    options = [f"output_dir={tmp_path}"]
    for seed, run in enumerate(table_runs.row_runs(table, table.rows[1], 2, "smoke", options)):
        written = record(tmp_path / "x", "self_attention", seed, 60 + seed)
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        written.rename(run.folder)
    script.main([*options, "scale=smoke", "seeds=2"])
    assert capsys.readouterr().out == f"written: {tmp_path}/report/index.html\n"
    shown = parse((tmp_path / "report" / "papers.html").read_text())
    reported = next(row for row in table.rows if row.name == "+ SelfAtt").reported["test/acc1"]
    cells = [text for _, text in shown.all("td", **{"data-column": "test/acc1"})]
    # half width by hand: t(0.975, 1) / sqrt(2) * sqrt(0.5) = 12.7062 / 2
    assert cells[1] == f"60.50 ± 6.35 n=2, stale reported {reported:.2f} not comparable"
    assert all(cell.endswith("not run") for cell in cells[:1] + cells[2:])
    assert [text for _, text in shown.all("code")][-1] == f"python scripts/report.py {options[0]} scale=smoke seeds=2"


def test_the_script_without_runs(script, tmp_path, parse):
    (tmp_path / "none").mkdir()
    script.main([f"output_dir={tmp_path / 'none'}", f"out={tmp_path / 'sent'}"])
    shown = parse((tmp_path / "sent" / "index.html").read_text())
    assert "Nothing has been run yet" in [text for _, text in shown.all("h2")]
    shown = parse((tmp_path / "sent" / "papers.html").read_text())
    assert [a["data-table"] for a, _ in shown.all("article", class_="paper")] == ["cnntention/mnist"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seeds=0", "seeds=0 must be a whole number, at least 1"),
        ("scale=big", "scale=big is unknown; allowed: smoke, small, paper"),
        ("rows=1", "rows=1: not an option here; allowed: output_dir=, out=, scale=, seeds=, trainer="),
        ("out=/dev/null/page", r"out: cannot write /dev/null/page \(Not a directory\)"),
    ],
)
def test_bad_input_is_one_line(script, tmp_path, argument, message):
    with pytest.raises(InputError, match=message):
        script.main([f"output_dir={tmp_path}", argument])


def test_nothing_to_read_and_nowhere_to_write_is_said_first(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "read_runs", lambda folder: pytest.fail("runs were read"))
    with pytest.raises(InputError, match=r"^output_dir=.*/typo must be a folder that holds runs$"):
        script.main([f"output_dir={tmp_path / 'typo'}"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^out: cannot write .* \(Not a directory\); name a writable place$"):
        script.main([f"output_dir={tmp_path}", f"out={tmp_path / 'file'}"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_does_not_compose_is_said_at_once(script, tmp_path):
    with pytest.raises(InputError, match=r"Could not find .trainer/warp"):
        script.main([f"output_dir={tmp_path}", "trainer=warp"])


def test_a_table_that_cannot_be_filled_is_one_line(script, tmp_path, record, parse, monkeypatch):
    record(tmp_path, "none", 0, 1.0)
    (tmp_path / "runs" / "digits").rename(tmp_path / "runs" / "mnist")

    def refuse(overrides, seeds):
        raise InputError("another mistake")

    monkeypatch.setattr("zoomexp.cli.table_runs.seeded_runs", refuse)
    script.main([f"output_dir={tmp_path}"])
    lines = [text for _, text in parse((tmp_path / "report/index.html").read_text()).all("li")]
    assert lines[-1].startswith("table cnntention/mnist: table cnntention/mnist, row 'ResNet20':")
