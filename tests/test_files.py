"""Files stay as long as a reader can hold them, and none is a drawer for what has no place."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 300  # lines


def test_no_file_is_too_long():
    files = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in (ROOT / "zoomexp").rglob("*.py")}
    assert len(files) > 300
    assert {name: lines for name, lines in files.items() if lines > LONGEST} == {}


def test_no_file_is_a_drawer():
    assert [
        path.name for path in (ROOT / "zoomexp").rglob("*") if path.stem in ("utils", "util", "common", "misc")
    ] == []
