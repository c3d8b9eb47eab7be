"""Over which test images a run's multiply-accumulates are counted."""

from types import SimpleNamespace

import pytest
import torch
from timm.models import VisionTransformer

from tests.datasets.test_coco import layout, made
from zoomexp.datasets.digit_scenes import DigitScenes
from zoomexp.metrics.cost import macs_over
from zoomexp.run import cost
from zoomexp.tasks.scene_batches import sizes_of
from zoomexp.tokens.yolos import YOLOS


def task(channels):
    vit = VisionTransformer(
        img_size=48, patch_size=8, in_chans=channels, num_classes=3, embed_dim=24, depth=1, num_heads=2
    )
    model = YOLOS(vit, num_classes=4, boxes=3)
    model(torch.zeros(1, channels, 48, 48))
    return SimpleNamespace(model=model, read=lambda batch: {"image": batch["image"], "size": sizes_of(batch)})


@pytest.mark.parametrize(("counted", "expected"), [(64, 7), (5, 5), (4, 4)])
def test_images_of_several_sizes_are_counted_over_as_many_batches_as_it_takes(tmp_path, monkeypatch, counted, expected):
    monkeypatch.setattr(cost, "COUNTED", counted)
    data, one = made(layout(tmp_path), eval_batch_size=2), task(3)
    sizes = torch.cat([batch["size"] for batch in data.test_dataloader()])[:expected].tolist()
    by_hand = macs_over(one.model, [(torch.zeros(1, 3, *size),) for size in sizes])
    assert len(sizes) == expected and cost.count_macs(one, data) == by_hand and by_hand["macs_spread"] > 0


def test_images_of_one_size_are_counted_over_the_first_batch(monkeypatch, tmp_path):
    options = {"train_images": 20, "test_images": 9, "batch_size": 4, "eval_batch_size": 4}
    data, given = DigitScenes(data_dir=tmp_path, mean=[0.0], std=[1.0], **options), []
    data.setup()
    monkeypatch.setattr(cost, "macs_over", lambda net, examples: given.extend(examples) or {})
    cost.count_macs(task(1), data)
    assert [image.shape for image, _ in given] == [(1, 1, 48, 48)] * 4
