"""Maps move as their images do."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.image_files import ImageFiles
from zoomexp.datasets.loader import ArrayLoader
from zoomexp.datasets.stream_loader import StreamSet
from zoomexp.datasets.views import CentralView, RandomView
from zoomexp.errors import InputError
from zoomexp.relevance.warp_maps import warp_maps

CELL = 4


def cells(images):
    """The mean of each cell: what a map that equals its image would be."""
    return F.avg_pool2d(images, CELL)[:, 0]


def blocky(count, side, seed=0):
    """Images whose cells are of one brightness each, so that a map holds all there is to know."""
    values = np.random.default_rng(seed).integers(0, 256, (count, side // CELL, side // CELL), np.uint8)
    return values.repeat(CELL, 1).repeat(CELL, 2)[..., None]


def test_crops_by_whole_cells_and_flips_are_exact():
    images = blocky(64, 16)
    options = {"batch_size": 64, "mean": [0], "std": [1], "crop_padding": CELL, "flip": True, "shuffle": True}
    batch = next(iter(ArrayLoader(ImageArrays(images, np.zeros(64, np.int64)), views=True, **options)))
    maps = torch.from_numpy(images[batch["index"].numpy(), ::CELL, ::CELL, 0]).float() / 255
    shifts = torch.stack([batch["view"][:, 0, 2] % 16, batch["view"][:, 1, 2]], 1)
    whole = (shifts % CELL == 0).all(1)
    assert 3 < whole.sum() < 60
    torch.testing.assert_close(
        warp_maps(maps, batch["view"], 16)[whole], cells(batch["image"])[whole], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("image_size", "crop_size"), [(None, None), (32, None), (32, 12)])
def test_a_smooth_map_follows_any_crop(image_size, crop_size):
    ramp = np.add.outer(np.arange(16), 2 * np.arange(16)).astype(np.uint8)[None, ..., None].repeat(20, 0)
    options = {"crop_padding": 2, "crop_size": crop_size, "flip": True, "image_size": image_size, "views": True}
    arrays = ImageArrays(ramp, np.zeros(20, np.int64))
    batch = next(iter(ArrayLoader(arrays, batch_size=20, mean=[0], std=[1], **options)))
    size = batch["image"].shape[-1]
    plain = torch.from_numpy(ramp[..., 0]).float() / 255  # one cell a pixel
    maps, image = warp_maps(plain, batch["view"], size), F.avg_pool2d(batch["image"], size // 16)[:, 0]
    inside = F.max_pool2d(1 - warp_maps(torch.ones_like(plain), batch["view"], size), 3, 1, 1) < 1e-3
    inside[:, [0, -1]], inside[:, :, [0, -1]] = False, False  # resized images repeat their borders
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(maps[inside], image[inside], rtol=0, atol=1e-4)


def test_maps_of_whole_images_do_not_fit_smaller_crops():
    arrays = ImageArrays(blocky(4, 16), np.zeros(4, np.int64))
    with pytest.raises(InputError, match="crop_size=12: with relevance maps"):
        ArrayLoader(arrays, batch_size=4, mean=[0], std=[1], crop_size=12, views=True)


def test_a_streamed_window_and_flip_agree_with_the_map_of_the_whole_image(tmp_path):
    ramp = np.add.outer(2 * np.arange(40), np.arange(60)).astype(np.uint8)
    Image.fromarray(ramp).convert("RGB").save(tmp_path / "a.png")
    files = ImageFiles(tmp_path, np.array([b"a.png"] * 8), np.zeros(8, np.int64))
    whole, side = CentralView(32, 1.0), 32
    plain = StreamSet(files, whole, mean=[0] * 3, std=[1] * 3)[[(0, 0)]]["image"][:, 0]
    view = RandomView(side, scale=(0.1, 0.5), flip=True, augment=None)
    seen = StreamSet(files, view, mean=[0] * 3, std=[1] * 3, whole=whole)[[(0, i) for i in range(8)]]
    maps = warp_maps(plain.expand(8, -1, -1), seen["view"], side)
    inside = warp_maps(torch.ones(8, side, side), seen["view"], side) > 0.999
    assert (seen["view"][:, 0, 0] < 0).any() and (seen["view"][:, 0, 0] > 0).any() and inside.float().mean() > 0.3
    torch.testing.assert_close(maps[inside], seen["image"][:, 0][inside], rtol=0, atol=2.5 / 255)
