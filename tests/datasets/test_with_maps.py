"""A data module with a teacher's maps, over a small set and a teacher that can be followed."""

import numpy as np
import pytest
import torch
from timm.models import VisionTransformer

from zoomexp.datasets.array_data import ArrayDataModule
from zoomexp.datasets.arrays import ImageArrays, Splits
from zoomexp.datasets.with_maps import WithMaps
from zoomexp.errors import InputError
from zoomexp.relevance.gradient import grad_attn
from zoomexp.relevance.normalisation import min_max
from zoomexp.relevance.rollout import attention

CALLS = []


class Toy(ArrayDataModule):
    """Random images, 4 classes, 16 pixels."""

    name = "toy"

    def read(self):
        rng = np.random.default_rng(0)
        parts = [rng.integers(0, 256, (count, 16, 16, 1), np.uint8) for count in (40, 12)]
        return Splits(*(ImageArrays(part, np.arange(len(part)) % 4) for part in parts), ("a", "b", "c", "d"))


def counted(model, images, targets):
    CALLS.append(len(images))
    return grad_attn(model, images, targets)


def teacher(**options):
    torch.manual_seed(0)
    given = {
        "img_size": 16,
        "patch_size": 4,
        "in_chans": 1,
        "num_classes": 4,
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
    }
    return VisionTransformer(**(given | options)).eval()


def with_maps(folder, net=None, method=counted, **options):
    data = Toy(data_dir="nowhere", batch_size=8, mean=[0.5], std=[0.5], eval_batch_size=5, val_fraction=0.2, **options)
    made = WithMaps(data, teacher=net or teacher(), method=method, folder=folder, batch_size=7,
                    controls={"cls_attention": attention})  # fmt: skip
    made.prepare_data()
    made.setup("fit")
    return made


@pytest.fixture(autouse=True)
def forget_calls():
    CALLS.clear()


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_batches_hold_the_teachers_map_of_each_of_their_images(tmp_path, part):
    data = with_maps(tmp_path)
    batches = list(getattr(data, f"{part}_dataloader")())
    assert len(batches) == len(getattr(data.data, f"{part}_dataloader")())
    for batch in batches:
        expected = {"map": min_max(grad_attn(teacher(), batch["image"], batch["label"]))}
        if part == "test":
            expected["cls_attention"] = min_max(attention(teacher(), batch["image"], batch["label"]))
        assert set(batch) == {"image", "label", "index", *expected}
        for name, maps in expected.items():
            torch.testing.assert_close(batch[name], maps, rtol=0, atol=1e-3)  # kept in half precision


def test_maps_are_made_once(tmp_path):
    with_maps(tmp_path)
    assert sum(CALLS) == 32 + 8 + 12
    with_maps(tmp_path)
    assert sum(CALLS) == 32 + 8 + 12
    with_maps(tmp_path, train_size=16)  # other images, other files
    assert sum(CALLS) == 2 * (32 + 8 + 12) - 16 - 4 - 12


def test_a_killed_extraction_goes_on(tmp_path):
    def killed(model, images, targets):
        if sum(CALLS) >= 14:
            raise KeyboardInterrupt
        return counted(model, images, targets)

    killed.__name__ = "counted"
    with pytest.raises(KeyboardInterrupt):
        with_maps(tmp_path, method=killed)
    with_maps(tmp_path)
    assert sum(CALLS) == 32 + 8 + 12


def test_maps_of_another_teacher_are_not_mixed_in(tmp_path):
    with_maps(tmp_path)
    other = teacher()
    other.head.bias.data += 1
    with pytest.raises(InputError, match=r"has weights .* wanted .* take another file"):
        with_maps(tmp_path, net=other)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (torch.nn.Linear(2, 2), "relevance: Linear has no attention maps; allowed: timm's VisionTransformer"),
        (teacher(img_size=32), "images must be 32 x 32 pixels .*, got 16 x 16"),
    ],
)
def test_a_teacher_that_does_not_fit_is_one_line(tmp_path, net, message):
    with pytest.raises(InputError, match=message):
        with_maps(tmp_path, net=net)
    assert not list(tmp_path.glob("*.npy"))


def test_no_images_at_a_time(tmp_path):
    with pytest.raises(InputError, match=r"^relevance\.batch_size=0 must be a whole number, at least 1$"):
        WithMaps(with_maps(tmp_path).data, teacher=teacher(), method=counted, folder=tmp_path, batch_size=0)


def test_what_is_not_said_is_asked_of_the_data(tmp_path):
    data = with_maps(tmp_path)
    assert (data.num_classes, data.channels, data.image_size, data.batch_size) == (4, 1, 16, 8)
    with pytest.raises(AttributeError, match="no_such_thing"):
        data.no_such_thing  # noqa: B018
