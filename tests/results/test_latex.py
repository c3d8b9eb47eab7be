"""Tables typeset by a real LaTeX, where one is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from zoomexp.cli.config_files import CONFIGS
from zoomexp.results.filling import fill
from zoomexp.results.rendering import TEX, escaped, latex
from zoomexp.results.table import load_tables

pytestmark = pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")


def typeset(text: str, folder: Path) -> str:
    """Let LaTeX typeset a text; returns what it said, or fails."""
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}\setlength{\paperwidth}{80cm}"
    (folder / "t.tex").write_text(
        f"\\documentclass{{article}}{packages}\\begin{{document}}\n{text}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0 and (folder / "t.pdf").stat().st_size > 0, done.stdout[-1500:]
    return done.stdout


def test_every_table_of_the_papers_is_typeset(tmp_path):
    tables = load_tables(CONFIGS / "table")
    assert len(tables) > 30
    texts = [latex(fill(table, {}, "small", "abc")) + r"\clearpage" for table in tables]
    typeset("\n".join(texts), tmp_path)


def test_every_special_character_is(tmp_path):
    typeset(escaped("".join(TEX) + " a_b^c 50 % & more #1 {x} ~ \\ < > | $", TEX), tmp_path)
