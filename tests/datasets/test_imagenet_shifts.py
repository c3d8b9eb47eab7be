"""Test sets of ImageNet's classes from elsewhere, in their public layouts."""

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageNetInfo

from tests.datasets.test_imagenet_a import PLACES, SMALL
from zoomexp.datasets.imagenet_shifts import ImageNetR, ImageNetSketch, ImageNetV2
from zoomexp.errors import InputError

SETS = (ImageNetR, ImageNetSketch, ImageNetV2)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for test_set in SETS:
        monkeypatch.setattr(test_set, "counts", (3, 6))


def lay_out(root, test_set):
    """Two grey images a class, as bright as the class is far in the list."""
    for value, (wnid, label) in enumerate(PLACES.items()):
        folder = root / test_set.layout / (str(label) if test_set is ImageNetV2 else wnid)
        folder.mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((20, 30), 100 * value, np.uint8)).save(folder / f"{i}.jpeg")


@pytest.mark.parametrize("test_set", SETS)
def test_labels_are_places_among_imagenets_classes(tmp_path, test_set):
    """Also of ImageNetV2, whose folders 6, 22 and 999 stand in another order as text."""
    lay_out(tmp_path, test_set)
    data = test_set(data_dir=tmp_path, **SMALL)
    data.setup()
    assert data.classes == tuple(ImageNetInfo().label_names()) and len(data.part("train")) == 0
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].tolist() == [6, 6, 22, 22, 999, 999]
    brightness = 255 * batch["image"].mean((1, 2, 3)).numpy()
    np.testing.assert_allclose(brightness, [0, 0, 100, 100, 200, 200], atol=1)
    with pytest.raises(InputError, match=rf"^dataset={test_set.name} has no training images; test a model"):
        data.train_dataloader()


@pytest.mark.parametrize("test_set", SETS)
def test_what_is_not_there_or_another_set(tmp_path, test_set):
    with pytest.raises(
        InputError, match=rf"^dataset={test_set.name}: \S+/{test_set.layout} is missing; it is to be had at"
    ):
        test_set(data_dir=tmp_path, **SMALL).setup()
    lay_out(tmp_path, test_set)
    folders = sorted((tmp_path / test_set.layout).iterdir())
    folders[0].rename(folders[0].with_name("1000"))  # one more than there are labels
    with pytest.raises(InputError, match=r"/1000 is none of ImageNet's 1,000 classes"):
        test_set(data_dir=tmp_path, **SMALL).setup()
    next((tmp_path / test_set.layout / "1000").iterdir()).unlink()
    with pytest.raises(InputError, match=r"has 5 images of 3 classes, not 6 images of 3 classes; unpack it again"):
        test_set(data_dir=tmp_path, **SMALL).setup()
