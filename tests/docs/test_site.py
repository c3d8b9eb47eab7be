"""The documentation builds as a site, strictly: no warning, no dead link, no page that no menu has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_it_builds_strictly_and_imports_no_torch(tmp_path):
    pytest.importorskip("mkdocs", reason="the docs extra is not installed")
    pytest.importorskip("mkdocstrings", reason="the docs extra is not installed")
    # whoever imports torch for the sake of its docstrings finds this one
    (tmp_path / "shadow/torch").mkdir(parents=True)
    (tmp_path / "shadow/torch/__init__.py").write_text("raise RuntimeError('torch was imported')\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "shadow"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/reference/options/attention.html").read_text()
    assert re.search(r'href="../code/zoomexp/attention.html#zoomexp.attention.cbam.CBAM"', page)
    code = (tmp_path / "site/reference/code/zoomexp/attention.html").read_text()
    assert "channels C of the feature map" in code
