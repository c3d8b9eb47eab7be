import importlib.util

import numpy as np
import pytest

from zoomexp.datasets import elpv
from zoomexp.datasets.elpv import ELPV
from zoomexp.errors import InputError

SMALL = {"batch_size": 8, "mean": [0] * 3, "std": [1] * 3, "image_size": 32, "augment": "none", "data_dir": "nowhere"}
installed = pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="needs elpv-dataset")


@installed
def test_the_cells_are_the_packages_own():
    from elpv_dataset.utils import load_dataset

    images, chances, kinds = load_dataset()
    files = ELPV(**SMALL, target="probability").read().train
    np.testing.assert_array_equal(files.labels / 3, np.round(3 * chances) / 3)
    data = ELPV(**SMALL | {"image_size": 300}, crop_pct=1.0)
    data.setup()
    batch = next(iter(data.test_dataloader()))
    for image, index in zip(batch["image"][:5], batch["index"].tolist(), strict=False):
        np.testing.assert_allclose(255 * image[0].numpy(), images[index], atol=1e-3)
    assert len(ELPV(**SMALL, kind="mono").read().train) == (kinds == "mono").sum()
    assert (
        data.classes == ("functional", "defective") and sum(len(data.part(p)) for p in ("train", "val", "test")) == 2624
    )
    np.testing.assert_array_equal(ELPV(**SMALL).read().train.labels, chances > 0.5)


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(elpv.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"dataset=elpv: the images come with a package: pip install 'zoomexp\[data\]'"
    ):
        ELPV(**SMALL).setup()


def test_options_that_are_none():
    with pytest.raises(InputError, match=r"dataset.target='crack' must be one of defect, probability"):
        ELPV(**SMALL, target="crack")
