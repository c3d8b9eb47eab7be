"""docs/default.md and docs/combinations.md are what the published records of the studies say."""

from pathlib import Path

import pytest

from zoomexp.cli import study

ROOT = Path(__file__).parents[2]


def made(name: str, folder: Path) -> str:
    page = folder / f"{name}.md"
    study.main([name, "run=false", f"output_dir={folder / 'studies'}", f"out={page}"])
    return page.read_text()


@pytest.mark.parametrize("name", ["default", "combinations"])
def test_the_page_is_made_of_published_records(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(study, "RECORDS", ROOT / "docs" / "records" / "studies")  # the tables' take long to unpack
    assert made(name, tmp_path) == (ROOT / "docs" / f"{name}.md").read_text()


@pytest.mark.parametrize(
    ("name", "runs", "column", "floor"), [("default", 26, 3, 92), ("default", 26, 5, 60), ("combinations", 36, 3, 50)]
)
def test_no_run_is_below_what_is_promised(name, runs, column, floor):
    lines = (ROOT / "docs" / f"{name}.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    *groups, every = rows
    assert every[0] == "all" and int(every[1]) == sum(int(row[1]) for row in groups) >= runs
    assert {row[6] for row in rows} == {"ok"} and min(float(row[column]) for row in groups) >= floor
