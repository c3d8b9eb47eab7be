"""docs/results.md is what the published records say, and a fresh clone makes the same page from them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zoomexp.cli import reproduce
from zoomexp.cli.config_files import configs
from zoomexp.results.published import archives

ROOT = Path(__file__).parents[2]
PAGE = Path("docs/results.md")
PARTS = ("configs", "zoomexp", "scripts", "docs", "train.py", "pyproject.toml")

pytestmark = pytest.mark.skipif(not archives(ROOT / "docs" / "records"), reason="no records are published")


def command() -> list[str]:
    """What the page says that it is made by, and its arguments."""
    return re.search(r"^    python (scripts/reproduce\.py --report.*)$", (ROOT / PAGE).read_text(), re.M)[1].split()


@pytest.mark.timeout(900)  # every published run is read and compared
def test_the_page_is_made_of_published_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no runs but theirs
    monkeypatch.setattr(reproduce, "CHECKOUT", tmp_path)
    monkeypatch.setattr(reproduce, "git_state", lambda: {"sha": None, "dirty": None})  # the page is that of any commit
    with configs():
        reproduce.main(command()[1:])
    assert (tmp_path / PAGE).read_text() == (ROOT / PAGE).read_text()
    assert drawn(tmp_path) == drawn(ROOT)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_clone_makes_the_same_page(tmp_path):
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / PAGE).unlink()
    shutil.rmtree(tmp_path / "docs" / "figures")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, *command()]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / PAGE).read_text() == (ROOT / PAGE).read_text()
    assert drawn(tmp_path) == drawn(ROOT)


def drawn(root: Path) -> set[str]:
    """The figures of the page, whose bytes are matplotlib's own."""
    return {path.relative_to(root).as_posix() for path in (root / "docs" / "figures").rglob("*.svg")}
