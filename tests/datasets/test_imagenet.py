import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets.imagenet import ImageNet
from zoomexp.errors import InputError

SMALL = {"batch_size": 2, "mean": [0, 0, 0], "std": [1, 1, 1], "image_size": 8, "folder": "ILSVRC"}


def test_val_is_the_test_split_and_validation_is_held_out_of_train(tmp_path):
    for split, count in {"train": 10, "val": 2}.items():
        for wnid in ("n02", "n01"):
            folder = tmp_path / "ILSVRC" / split / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(folder / f"{i}.JPEG")
    data = ImageNet(data_dir=tmp_path, **SMALL)
    data.setup()
    assert data.classes == ("n01", "n02")
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 18, "val": 2, "test": 4}
    assert "/ILSVRC/train/" in str(data._parts["val"].path(0)) and "/ILSVRC/val/" in str(data._parts["test"].path(0))


def test_not_there(tmp_path):
    with pytest.raises(InputError) as error:
        ImageNet(data_dir=tmp_path, **SMALL).prepare_data()
    assert str(error.value).startswith(f"dataset=imagenet: {tmp_path}/ILSVRC/train is not there")
    assert "https://www.image-net.org" in str(error.value) and "\n" not in str(error.value)
