"""The package as others have it: a wheel in an empty folder, and a checkout that was never installed."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
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


def called(words: list[str | Path], **options) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=250, **options)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that is made of nothing but it."""
    tools, folder = tmp_path_factory.mktemp("tools"), tmp_path_factory.mktemp("built")
    called([sys.executable, "-m", "pip", "install", "-q", "--target", tools, "hatchling"])
    environment = os.environ | {"PYTHONPATH": str(tools)}
    called([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder], cwd=ROOT, env=environment)
    (sdist,) = folder.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, sdist]
    called(pip, env=environment)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """`bin/` of an environment of its own with the wheel in it; torch and the other libraries are this one's."""
    place = tmp_path_factory.mktemp("empty")
    called([sys.executable, "-m", "venv", place])
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n"
    )  # its .pth files, and so ours, are not read
    (wheel,) = built.glob("*.whl")
    called([place / "bin/pip", "install", "-q", "--no-deps", "--no-index", "--force-reinstall", wheel])
    return place / "bin"


def without_path() -> dict[str, str]:
    """The environment, from which nothing of this checkout is imported."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def zoomexp_of(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`zoomexp ...` in `folder`; nothing of this checkout can be found from there."""
    environment = without_path() | {"OMP_NUM_THREADS": "1"}
    words = [str(installed / "zoomexp"), *arguments]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


@pytest.mark.slow
def test_sdist_and_wheel_have_what_they_should(built):
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    assert f"-{zoomexp.__version__}-" in wheel.name and sdist.name.endswith(f"-{zoomexp.__version__}.tar.gz")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    with tarfile.open(sdist) as packed:
        sources = {name.partition("/")[2] for name in packed.getnames()}
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "zoomexp").rglob("*.py")}
    assert {f"zoomexp/{name}" for name in configs} | code | {"zoomexp/py.typed"} <= names
    assert {Path(name).parts[0] for name in names} == {"zoomexp", f"zoomexp-{zoomexp.__version__}.dist-info"}
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert (
        configs | code | {"LICENSE", "NOTICE", "CITATION.cff", "README.md", "train.py", "tests/conftest.py"} <= sources
    )
    assert not {"outputs", ".venv", "site"} & {name.partition("/")[0] for name in sources}


@pytest.mark.slow
def test_an_installed_wheel_runs_in_an_empty_folder_with_the_users_own_configs_and_modules(own, installed):
    checked = subprocess.run([installed / "pip", "check"], capture_output=True, text=True, env=without_path())
    unmet = [
        line for line in checked.stdout.splitlines() if line.startswith("zoomexp ")
    ]  # others' are not ours to meet
    assert not unmet
    where = called([installed / "python", "-c", "import zoomexp; print(zoomexp.__file__)"], cwd=own, env={"PATH": ""})
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)
    done = zoomexp_of(installed, own, "train", "--config-dir", "settings", "attention=mine", *SMOKE)
    assert done.returncode == 0, done.stderr
    (path,) = own.glob("outputs/runs/digits/resnet20-mine-default/*/metrics.json")
    facts = json.loads(path.read_text())
    assert facts["status"] == "finished" and facts["git"] == {"sha": None, "dirty": None}
    plain = zoomexp_of(installed, own, "train", "trainer=smoke")
    assert plain.returncode == 0 and len(list(own.glob("outputs/runs/cluttered_digits/*/*/metrics.json"))) == 1, (
        plain.stderr
    )
    listed = zoomexp_of(installed, own, "reproduce", "--list")
    assert listed.returncode == 0 and "cnntention/mnist" in listed.stdout
    refused = zoomexp_of(installed, own, "reproduce", "--config-dir", "settings", "table=nothing")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and "cnntention/mnist" in refused.stderr


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
