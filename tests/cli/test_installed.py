"""The package as others have it: a wheel in an empty folder, and a checkout that was never installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import zoomexp
from zoomexp.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
MODULE = "from zoomexp.attention.cbam import CBAM\n\n\nclass Mine(CBAM):\n    pass\n"
SMOKE = ("trainer=smoke", "dataset=digits", "logger=none")


def command(place: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`python -m zoomexp ...` in `folder`, with the package of `place`."""
    environment = os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "zoomexp", *arguments]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


@pytest.fixture
def own(tmp_path) -> Path:
    """A folder with a module of the user's and a config for it."""
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "settings" / "attention").mkdir(parents=True)
    (tmp_path / "settings" / "attention" / "mine.yaml").write_text("_target_: mine.Mine\n_partial_: true\n")
    return tmp_path


@pytest.mark.slow
def test_a_wheel_runs_in_an_empty_folder_with_the_users_own_configs_and_modules(own, tmp_path_factory):
    built, site = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(built), str(ROOT)]
    subprocess.run(pip, check=True, capture_output=True, timeout=200)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    done = command(site, own, "train", "--config-dir", "settings", "attention=mine", *SMOKE)
    assert done.returncode == 0, done.stderr
    (path,) = own.glob("outputs/runs/digits/resnet20-mine-default/*/metrics.json")
    facts = json.loads(path.read_text())
    assert facts["status"] == "finished" and facts["git"] == {"sha": None, "dirty": None}
    listed = command(site, own, "reproduce", "--config-dir", "settings", "table=nothing")
    assert (listed.returncode, listed.stderr.count("\n")) == (2, 1) and "cnntention/mnist" in listed.stderr


def test_without_metadata_versions_are_null_and_nothing_fails(monkeypatch):
    from importlib import metadata

    from zoomexp.results import provenance

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    versions = provenance.versions()
    assert {versions[name] for name in provenance.PACKAGES} == {None}
    assert versions["zoomexp"] == zoomexp.__version__


@pytest.mark.parametrize(("words", "code"), [([], 0), (["--help"], 0), (["trian"], 2), (["report", "--help"], 0)])
def test_the_commands_are_listed_and_a_wrong_one_is_one_line(tmp_path, words, code):
    done = command(ROOT, tmp_path, *words)
    assert done.returncode == code
    text = done.stdout if code == 0 else done.stderr
    if words != ["report", "--help"]:
        assert all(name in text for name in COMMANDS)
    if code:
        assert text == f"error: trian: no such command; allowed: {', '.join(COMMANDS)}; did you mean train?\n"


def test_the_other_processes_of_a_run_find_their_command(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("ZOOMEXP_COMMAND", "train")
    done = command(ROOT, tmp_path, "optimzer=sgd")  # as Lightning starts it: without the command's name
    assert done.returncode == 2 and done.stderr.startswith("error: optimzer: no such option; allowed: ")


@pytest.mark.parametrize("script", sorted(path.name for path in ROOT.glob("scripts/*.py")))
def test_a_script_is_its_command_and_nothing_else(script):
    lines = [line for line in (ROOT / "scripts" / script).read_text().splitlines() if line]
    assert lines[1:] == [
        "from zoomexp.cli.main import run",
        'if __name__ == "__main__":',
        f'    run("{Path(script).stem}")',
    ]
    assert Path(script).stem in COMMANDS
