"""MedMNIST's public layout, written here as the archives have it."""

import numpy as np
import pytest

from zoomexp.datasets.medmnist import CLASSES, MedMNIST
from zoomexp.errors import InputError

SMALL = {"batch_size": 4, "mean": [0.5] * 3, "std": [0.5] * 3}
SIZES = {"train": 20, "val": 6, "test": 8}


def write(path, classes, side=28, colour=True, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    shape = (side, side, 3) if colour else (side, side)
    arrays = {f"{part}_images": draw.integers(0, 256, (n, *shape), dtype=np.uint8) for part, n in SIZES.items()}
    arrays |= {f"{part}_labels": (np.arange(n) % classes)[:, None].astype(np.uint8) for part, n in SIZES.items()}
    np.savez(path, **arrays | changes)
    return arrays | changes


@pytest.mark.parametrize(
    ("flag", "side", "colour", "folder"),
    [("bloodmnist", 28, True, "medmnist"), ("breastmnist", 28, False, "medmnist"), ("pathmnist", 64, True, ".")],
)
def test_the_splits_are_those_of_the_file(tmp_path, flag, side, colour, folder):
    name = f"{flag}.npz" if side == 28 else f"{flag}_{side}.npz"
    arrays = write(tmp_path / folder / name, len(CLASSES[flag]), side, colour)
    data = MedMNIST(flag=flag, side=side, data_dir=tmp_path, **SMALL)
    data.setup()
    for part in SIZES:
        held = data.part(part)
        stored = arrays[f"{part}_images"]
        expected = stored if colour else np.stack([stored] * 3, -1)
        np.testing.assert_array_equal(held.images, expected)
        np.testing.assert_array_equal(held.labels, arrays[f"{part}_labels"][:, 0])
    assert (data.channels, data.image_size, data.classes) == (3, side, CLASSES[flag])
    batch = next(iter(data.test_dataloader()))
    seen = data.part("test").images[batch["index"].numpy()].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(batch["image"].numpy(), (seen - 0.5) / 0.5, atol=1e-5)


def test_by_the_papers_protocol_the_test_validates(tmp_path):
    write(tmp_path / "medmnist" / "bloodmnist.npz", 8)
    data = MedMNIST(data_dir=tmp_path, validate_on="test", train_size=10, **SMALL)
    data.setup()
    assert data.part("val") is data.part("test") and len(data.part("train")) == 10
    shorter = MedMNIST(data_dir=tmp_path, train_size=10, **SMALL)
    shorter.setup()
    assert len(shorter.part("val")) == 3  # as much shorter as the training images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": np.full((6, 1), 9)}, "val_labels runs from 9 to 9, outside 0..7"),
        ({"train_labels": np.zeros((20, 14))}, r"train_labels is float64 \(20, 14\), not \(20,\) int64"),
        ({"test_images": np.zeros((8, 28, 28, 3))}, "test_images is float64, not uint8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, changes, message):
    write(tmp_path / "medmnist" / "bloodmnist.npz", 8, **changes)
    with pytest.raises(InputError, match=rf"bloodmnist\.npz is damaged: {message}"):
        MedMNIST(data_dir=tmp_path, **SMALL).setup()


def test_what_is_not_there_or_not_to_be_had(tmp_path):
    with pytest.raises(
        InputError, match=r"medmnist/bloodmnist\.npz is missing; get bloodmnist\.npz from https://zenodo"
    ):
        MedMNIST(data_dir=tmp_path, **SMALL).setup()
    for text in (b"", b"PK\x03\x04 cut short"):
        (tmp_path / "bloodmnist.npz").write_bytes(text)
        with pytest.raises(InputError, match=r"bloodmnist\.npz is damaged: it cannot be read; get it again from"):
            MedMNIST(data_dir=tmp_path, **SMALL).setup()
    np.savez(tmp_path / "bloodmnist.npz", train_images=np.zeros(3))
    with pytest.raises(InputError, match=r"is damaged: .*val_images is not a file in the archive.*; get it again"):
        MedMNIST(data_dir=tmp_path, **SMALL).setup()
    with pytest.raises(InputError, match=r"dataset\.flag='chestmnist' must be one of pathmnist"):
        MedMNIST(flag="chestmnist", data_dir=tmp_path, **SMALL)
    with pytest.raises(InputError, match=r"dataset\.side=32"):
        MedMNIST(side=32, data_dir=tmp_path, **SMALL)
