"""What every test needs: the torchvision repair before anything imports torchvision, one thread, a data folder."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # parallel torch processes with two threads each starve one another

from pathlib import Path

import pytest
import torch

import zoomexp  # noqa: F401  prepares `import torchvision`, before any test imports timm or torchmetrics

torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none, and say so."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def data_dir() -> Path:
    """The folder with real data sets; the test is skipped, and says so, where there is none."""
    folder = os.environ.get("ZOOMEXP_DATA_DIR")
    if not folder:
        pytest.skip("real data: set ZOOMEXP_DATA_DIR to a folder that holds it")
    return Path(folder)
