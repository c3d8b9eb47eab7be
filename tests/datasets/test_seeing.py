"""Any image is seen as the test images of a run are, and these as timm's own transform has them."""

import json

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform

from zoomexp.datasets.image_folder import ImageFolder
from zoomexp.datasets.seeing import Seeing

LITE = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "crop_pct": 0.7, "interpolation": "bicubic"}


def test_the_images_are_those_of_timms_transform(tmp_path, images_of):
    images_of(tmp_path / "images", ("gull", "tern"), size=40)
    data = ImageFolder(data_dir=tmp_path, batch_size=2, image_size=24, **LITE)
    data.setup()
    (batch,) = data.test_dataloader()
    transform = create_transform((3, 24, 24), **LITE)
    for position, image in zip(batch["index"].tolist(), batch["image"], strict=True):
        part = data.part("test")
        with Image.open(part.path(position)) as opened:
            expected = transform(opened.convert("RGB"))
        torch.testing.assert_close(image, expected, rtol=0, atol=0.06)  # timm rounds twice: resizes, then crops
    seeing = Seeing.of_data(data)
    assert Seeing.of_facts(json.loads(json.dumps(seeing.facts()))) == seeing
    path = data.part("test").path(0)
    torch.testing.assert_close(seeing.file(path), batch["image"][batch["index"] == 0][0])


def test_grey_images_of_arrays_and_black_borders():
    seeing = Seeing(12, 1, (0.5,), (0.25,), pad=2)
    image = Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8))
    found = seeing.image(image)
    assert found.shape == (1, 12, 12)
    torch.testing.assert_close(found[0, 2:-2, 2:-2], torch.full((8, 8), (0.299 - 0.5) / 0.25))
    torch.testing.assert_close(found[0, 0], torch.full((12,), -2.0))
