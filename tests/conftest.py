"""What every test needs: the torchvision repair before anything imports torchvision, one thread unless told."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # parallel torch processes with two threads each starve one another

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import zoomexp  # noqa: F401  prepares `import torchvision`, before any test imports timm or torchmetrics
from zoomexp.datasets.arrays import ImageArrays, Splits, save_cache

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def parsed_once(load: Callable[..., Any]) -> Callable[..., Any]:
    """`yaml.load`, but for OmegaConf each text is parsed once in a process.

    Hydra reads its forty files anew in every composition, and tests compose thousands of times. OmegaConf makes nodes
    of its own of the containers that it gets, so that they can be handed out again.
    """
    known: dict[str | bytes, Any] = {}

    def loaded(stream: Any, Loader: type) -> Any:
        if Loader.__name__ != "OmegaConfLoader" or not hasattr(stream, "seek"):
            return load(stream, Loader)
        text = stream.read()
        if text not in known:
            stream.seek(0)  # what is wrong is said of the file
            known[text] = load(stream, Loader)
        return known[text]

    return loaded


yaml.load = parsed_once(yaml.load)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none, and say so."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def nothing_inherited() -> Iterator[None]:
    """A command that ran in this process asks Hydra for tracebacks; processes of later tests are not to."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    yield
    if before is None:
        os.environ.pop("HYDRA_FULL_ERROR", None)


@pytest.fixture
def data_dir() -> Path:
    """The folder with real data sets; the test is skipped, and says so, where there is none."""
    folder = os.environ.get("ZOOMEXP_DATA_DIR")
    if not folder:
        pytest.skip("real data: set ZOOMEXP_DATA_DIR to a folder that holds it")
    return Path(folder)


@pytest.fixture
def own_modules(tmp_path, monkeypatch) -> Iterator[Path]:
    """`tmp_path`, whose modules the test can import; forgotten after it, as the next test's may have the same names."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget(tmp_path)
    yield tmp_path
    forget(tmp_path)


def forget(folder: Path) -> None:
    from zoomexp.results import sources

    for name, module in list(sys.modules.items()):
        spec = vars(module).get("__spec__")  # not by getattr: some of torch's answer to any name
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        if any(str(place).startswith(f"{folder}{os.sep}") for place in places):
            del sys.modules[name]
    sources.file_of.cache_clear()
    sources._is_followed.cache_clear()


@pytest.fixture
def popen() -> Iterator[Callable[..., subprocess.Popen]]:
    """`popen(command, env=..., cwd=...)` starts a process whose output can be read; ended with the test."""
    started = []

    def run(command: list[str], **options) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, **pipes, **options))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def forked(capfd) -> Callable[..., int]:
    """`forked(act)` does `act` in a copy of this process; its exit code, or minus the signal that ended it.

    With `wait=False` it is not waited for: its number.
    """

    def do(act: Callable[[], int], wait: bool = True) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which do nothing here
            process = os.fork()
        if process == 0:
            code = 99
            capfd.readouterr = lambda: ("", "")  # what this process has said is not the copy's to take away
            try:
                code = act()
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) if wait else process

    return do


@pytest.fixture(scope="session")
def fake_mnist() -> Callable[[Path, int, int], None]:
    """`fake_mnist(folder, train, test)` writes a `mnist.npz` of so many images of noise."""

    def write(folder: Path, train: int, test: int) -> None:
        noise = np.random.default_rng(0)
        splits = [
            ImageArrays(noise.integers(0, 256, (n, 28, 28, 1), np.uint8), np.arange(n, dtype=np.int64) % 10)
            for n in (train, test)
        ]
        save_cache(folder / "mnist.npz", Splits(*splits, tuple("0123456789")))

    return write


@pytest.fixture(scope="session")
def images_of() -> Callable[..., None]:
    """`images_of(folder, classes)` writes PNG files, of each class 8 to train and 2 to test; brightness tells them."""

    def write(folder: Path, classes: tuple[str, ...], grey: bool = False, size: int = 20) -> None:
        noise = np.random.default_rng(0)
        for split, count in (("train", 8), ("test", 2)):
            for label, name in enumerate(classes):
                (folder / split / name).mkdir(parents=True)
                for i in range(count):
                    low = 200 * label // len(classes)
                    pixels = noise.integers(low, low + 50, (size, size) if grey else (size, size, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / split / name / f"{i}.png")

    return write
