"""What is drawn of a detector: its own boxes, the objects, and the patches that were its tokens."""

from functools import partial

import numpy as np
import pytest
import torch
from timm.models import VisionTransformer
from torch import nn

from zoomexp.analysis import scene_sheet as module
from zoomexp.analysis.patch_map import selected
from zoomexp.analysis.scene_sheet import patches_of, scene_sheet
from zoomexp.analysis.scenes import ViewedScene, scenes_of_test
from zoomexp.datasets.digit_scenes import DigitScenes
from zoomexp.errors import InputError
from zoomexp.metrics.detection import said_of
from zoomexp.tokens.tome import tome
from zoomexp.tokens.yolos import YOLOS
from zoomexp.tokens.zoomed_scenes import scores_of
from zoomexp.tokens.zoomvit import ZoomViT


class Bright(nn.Module):
    """A patch's score is its brightness."""

    def forward(self, images, maps=None):
        return nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8)[:, 0].sigmoid()


def detector(tokens=None):
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=3, num_classes=2)
    return YOLOS(vit, num_classes=3, boxes=4, tokens=tokens).eval()


def zoomed(**options):
    return detector(partial(ZoomViT, scorer=Bright(), **{"alpha": 0.5, "zfe": "none"} | options))


def scene(seed, height=32, width=48):
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    boxes = torch.tensor([[4.0, 4, 20, 28]])
    return ViewedScene(str(seed), pixels - 0.5, pixels, (height, width), boxes, torch.tensor([1]))


@pytest.mark.parametrize("options", [{"eta": 0.5}, {"eta": 2}, {"eta": 0.5, "coverage": "paper"}])
def test_patches_are_the_tokens_of_each_image_of_a_batch(options):
    net, sizes = zoomed(**options), torch.tensor([[32, 48], [48, 32], [32, 48]])
    images = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        net(images, sizes)
    for i, (height, width) in enumerate(sizes.tolist()):
        scores, (fine, coarse) = patches_of(net, i, (height, width))
        alone = scores_of(net.host, images[i : i + 1, :, :height, :width])[0]
        torch.testing.assert_close(scores, alone)
        expected = selected(scores, 0.5, options["eta"], options.get("coverage", "cell"))
        assert torch.equal(fine, expected[0]) and torch.equal(coarse, expected[1])
        assert int(fine.sum() + coarse.sum()) + 1 + 4 == int(net.lengths[i])


def test_plain_patches_are_the_grid_and_merged_ones_are_not_drawn():
    net = detector()
    net(torch.randn(1, 3, 32, 48))
    scores, (fine, coarse) = patches_of(net, 0, (32, 48))
    assert scores is None and not fine.any() and coarse.shape == (4, 6) and coarse.all()
    net = detector(partial(tome, r=2))
    net(torch.randn(1, 3, 32, 48))
    assert patches_of(net, 0, (32, 48)) == (None, None)


def test_the_sheet_has_boxes_scores_and_patches(monkeypatch, tmp_path):
    caught = []
    monkeypatch.setattr(module, "contact_sheet", lambda rows, columns, path: caught.append((rows, columns)))
    net = zoomed()
    scene_sheet(net, [scene(0), scene(1, 48, 32)], ("a", "b", "c"), tmp_path / "sheet.png", least=0)
    ((rows, columns),) = caught
    assert columns == ["objects (green), boxes (yellow)", "scores", "patches"] and [len(row) for row in rows] == [3, 3]
    assert rows[0][0].title == "image 0: 1 there, 4 said"
    with torch.no_grad():
        said = said_of(net(scene(0).image[None]), torch.tensor([[32, 48]]))
    tokens = int(net.lengths[0])
    assert rows[0][2].title == f"{tokens} tokens, 4 of them for detection"
    picture = rows[0][0].picture  # 14 times as large
    assert picture.shape == (3, 448, 672)
    green = (picture - torch.tensor([0.0, 1, 0]).view(3, 1, 1)).abs().amax(0) < 0.01
    yellow = (picture - torch.tensor([255.0, 220, 0]).view(3, 1, 1) / 255).abs().amax(0) < 0.01
    assert green[14 * 4 + 1, 14 * 4 : 14 * 20].any() or yellow[14 * 4 + 1, 14 * 4 : 14 * 20].any()
    x0, y0 = (int(14 * edge) for edge in said.boxes[0, int(said.scores[0].argmax()), :2])
    if 0 <= x0 < 670 and 0 <= y0 < 446:
        assert yellow[y0 : y0 + 3, x0 : x0 + 3].any()


def test_scenes_of_the_test_split():
    data = DigitScenes(data_dir="nowhere", batch_size=4, mean=[0.1], std=[0.5], train_images=20, test_images=6)
    data.setup()
    one, two = scenes_of_test(data, [4, 1])
    held = data.scenes("test")
    first = np.cumsum(held.counts) - held.counts
    for found, number in ((one, 4), (two, 1)):
        own = slice(first[number], first[number] + held.counts[number])
        np.testing.assert_array_equal(found.boxes, held.boxes[own])
        np.testing.assert_array_equal(found.labels, held.labels[own])
        np.testing.assert_allclose(found.pixels[0], held.images[number, ..., 0] / 255, atol=1e-6)
        assert found.name == str(number) and found.scored == (48, 48)
    with pytest.raises(InputError, match="images=9: not in the test split, whose 6 numbers reach 5"):
        scenes_of_test(data, [9])
