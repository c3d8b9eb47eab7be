import numpy as np
import pytest
import torch
from torch.nn import functional

from zoomexp.datasets.arrays import ImageArrays
from zoomexp.datasets.loader import ArrayLoader
from zoomexp.errors import InputError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
AUGMENT = {"crop_padding": 3, "flip": True, "shuffle": True, "drop_last": True, "seed": 5}


def arrays(count=50, height=9, width=12, channels=3, boxes=False):
    generator = np.random.default_rng(count)
    images = generator.integers(0, 256, (count, height, width, channels), dtype=np.uint8)
    corner = generator.integers(0, 5, (count, 2))
    box = np.hstack([corner, corner + generator.integers(1, 4, (count, 2))]).astype(np.float32)
    return ImageArrays(images, generator.integers(0, 10, count), box if boxes else None)


def loader(data, *, batch_size=8, epoch=0, **options):
    channels = data.images.shape[-1]
    made = ArrayLoader(data, batch_size=batch_size, mean=MEAN[:channels], std=STD[:channels], **options)
    made.sampler.set_epoch(epoch)
    return made


def together(batches):
    batches = list(batches)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def normalised(pixels):
    """(N, H, W, C) uint8 -> (N, C, H, W) float32, by the formula, in double precision."""
    channels = pixels.shape[-1]
    values = (pixels.astype(np.float64) / 255 - MEAN[:channels]) / STD[:channels]
    return torch.from_numpy(values.transpose(0, 3, 1, 2)).float()


def draws(made, count, high_top, high_left):
    """The epoch's draws in their documented order: permutation, tops, lefts, flips."""
    generator = made.sampler.generator()
    order = torch.randperm(count, generator=generator)
    return order, *(torch.randint(high, (count,), generator=generator) for high in (high_top, high_left, 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_plain_batches_are_the_normalised_images(channels):
    data = arrays(channels=channels)
    batches = list(loader(data, batch_size=20))
    assert [len(batch["label"]) for batch in batches] == [20, 20, 10]
    got = together(batches)
    torch.testing.assert_close(got["image"], normalised(data.images), rtol=0, atol=2e-6)
    assert got["label"].tolist() == data.labels.tolist() and got["index"].tolist() == list(range(50))
    assert got["image"].dtype == torch.float32 and got["label"].dtype == got["index"].dtype == torch.int64
    assert all(batch["image"].is_contiguous(memory_format=torch.channels_last) for batch in batches)
    assert "box" not in got


@pytest.mark.parametrize("crop_size", [None, 7, 14])
def test_crop_and_flip_are_plain_slices(crop_size):
    data = arrays(boxes=True)
    made = loader(data, epoch=2, crop_size=crop_size, **AUGMENT)
    height, width = (crop_size, crop_size) if crop_size else (9, 12)
    order, tops, lefts, flips = draws(made, 50, 9 + 6 - height + 1, 12 + 6 - width + 1)
    got = together(made)
    assert got["index"].tolist() == order[:48].tolist()
    for row, i in enumerate(order[:48].tolist()):
        top, left = int(tops[i]), int(lefts[i])
        crop = np.pad(data.images[i], ((3, 3), (3, 3), (0, 0)))[top : top + height, left : left + width]
        x0, y0, x1, y1 = data.boxes[i] + [3 - left, 3 - top, 3 - left, 3 - top]
        if flips[i]:
            crop, x0, x1 = crop[:, ::-1], width - x1, width - x0
        torch.testing.assert_close(got["image"][row], normalised(crop[None])[0], rtol=0, atol=2e-6)
        edges = [np.clip(x0, 0, width), np.clip(y0, 0, height), np.clip(x1, 0, width), np.clip(y1, 0, height)]
        assert got["box"][row].tolist() == [float(edge) for edge in edges]
    assert {0, 1} == set(flips.tolist()) and tops.max() > 0


@pytest.mark.parametrize("image_size", [None, 24, 36])
def test_box_stays_on_the_bright_spot(image_size):
    data = arrays(60, 12, 12, 1, boxes=True)
    data.images[:] = 0
    for image, (x0, y0, x1, y1) in zip(data.images, data.boxes.astype(int), strict=True):
        image[y0:y1, x0:x1] = 255
    options = {**AUGMENT, "crop_padding": 2, "image_size": image_size}
    got = together(ArrayLoader(data, batch_size=10, mean=[0], std=[1], **options))
    for image, box in zip(got["image"][:, 0], got["box"], strict=True):
        rows, columns = torch.where(image > 0.5)  # bilinear: an edge is where the brightness is one half
        if len(rows) == 0:
            assert (box[2] - box[0]) * (box[3] - box[1]) == 0
            continue
        ink = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        torch.testing.assert_close(ink, box, rtol=0, atol=0 if image_size is None else 1.01)


@pytest.mark.parametrize("side", [6, 20])
def test_resize_is_bilinear_of_the_normalised_image(side):
    data = arrays(boxes=True)
    got = together(loader(data, image_size=side))
    expected = functional.interpolate(normalised(data.images), (side, side), mode="bilinear", antialias=side < 9)
    torch.testing.assert_close(got["image"], expected, rtol=0, atol=1e-5)
    scale = np.float32([side / 12, side / 9, side / 12, side / 9])
    np.testing.assert_allclose(got["box"], data.boxes * scale, rtol=1e-6)
    assert next(iter(loader(data, image_size=side)))["image"].is_contiguous(memory_format=torch.channels_last)


def test_a_pure_function_of_seed_and_epoch():
    data = arrays()
    first = together(loader(data, epoch=3, **AUGMENT))
    torch.manual_seed(99)
    made = loader(data, **AUGMENT)
    other_epoch = together(made)
    made.sampler.set_epoch(3)
    again = together(made)
    for key in first:
        assert torch.equal(first[key], again[key])
    assert not torch.equal(first["index"], other_epoch["index"])
    assert not torch.equal(first["index"], together(loader(data, epoch=3, **{**AUGMENT, "seed": 6}))["index"])


def test_augmentation_differs_between_epochs_and_not_with_batch_size():
    data = arrays(48)
    in_order = [together(loader(data, epoch=e, batch_size=b, **AUGMENT)) for e, b in [(0, 8), (0, 16), (1, 8)]]
    images = [epoch["image"][epoch["index"].argsort()] for epoch in in_order]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_global_randomness_is_left_alone():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    together(loader(arrays(), **AUGMENT))
    assert torch.equal(state, torch.get_rng_state()) and np.array_equal(numpy_state, np.random.get_state()[1])


@pytest.mark.parametrize("count", [50, 49, 48, 47])
@pytest.mark.parametrize("batch_size", [2, 4, 6, 12, 100])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_evaluation_shards_hold_every_image_once(count, batch_size, world_size):
    made = [loader(arrays(count), batch_size=batch_size, rank=r, world_size=world_size) for r in range(world_size)]
    batches = [[batch["index"].tolist() for batch in rank] for rank in made]
    assert {len(rank) for rank in batches} == {len(made[0])}
    assert sorted(i for rank in batches for batch in rank for i in batch) == list(range(count))
    assert all(1 <= len(batch) <= batch_size for rank in batches for batch in rank)


@pytest.mark.parametrize("drop_last", [True, False])
def test_training_shards_are_disjoint_and_equally_long(drop_last):
    data, options = arrays(50), {**AUGMENT, "drop_last": drop_last, "epoch": 1}
    ranks = [together(loader(data, batch_size=5, rank=r, world_size=3, **options)) for r in range(3)]
    seen = [i for rank in ranks for i in rank["index"].tolist()]
    assert [len(rank["index"]) for rank in ranks] == ([15] * 3 if drop_last else [16] * 3)
    assert len(set(seen)) == len(seen)
    alone = together(loader(data, batch_size=5, **options))
    place = {int(i): row for row, i in enumerate(alone["index"])}
    for rank in ranks:  # an image looks the same on whichever rank it is
        both = [row for row, i in enumerate(rank["index"].tolist()) if i in place]
        rows = [place[int(rank["index"][row])] for row in both]
        assert torch.equal(rank["image"][both], alone["image"][rows])


def test_length_is_the_number_of_batches():
    for drop_last in (True, False):
        for shuffle in (True, False):
            made = loader(arrays(50), drop_last=drop_last, shuffle=shuffle)
            batches = [len(batch["index"]) for batch in made]
            assert len(batches) == len(made) == (6 if drop_last else 7)
            assert made.smallest_batch == min(batches) == (8 if drop_last else 2)


def test_refusals():
    with pytest.raises(InputError, match=r"^dataset\.batch_size=51 is larger than the 50 training images; at most 50$"):
        loader(arrays(), batch_size=51, shuffle=True)
    with pytest.raises(InputError, match=r"^dataset\.batch_size=52 is larger than the 50 training images; at most 50$"):
        loader(arrays(), batch_size=26, shuffle=True, world_size=2)
    with pytest.raises(InputError, match=r"dataset\.crop_size=16 .* at most 15"):
        loader(arrays(), crop_padding=3, crop_size=16)
    with pytest.raises(InputError, match=r"dataset\.mean has 1 values; these images have 3 channels"):
        ArrayLoader(arrays(), batch_size=8, mean=[0.5], std=[1])
    with pytest.raises(InputError, match="cannot be shared by 51 processes"):
        loader(arrays(), world_size=51)
    with pytest.raises(
        InputError, match=r"dataset\.eval_batch_size=1 must be at least 2 with 50 images on 4 processes"
    ):
        loader(arrays(), batch_size=1, world_size=4)


@pytest.mark.gpu
def test_same_batches_on_a_gpu():
    data = arrays(boxes=True)
    here = together(loader(data, image_size=20, **AUGMENT))
    there = together(loader(data, image_size=20, device="cuda", **AUGMENT))
    for key, value in here.items():
        assert there[key].is_cuda
        torch.testing.assert_close(there[key].cpu(), value, rtol=0, atol=1e-5)
