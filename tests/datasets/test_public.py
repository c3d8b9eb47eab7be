import gzip
import hashlib
import pickle
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torchvision

from zoomexp.datasets.arrays import load_cache
from zoomexp.datasets.cifar import CIFAR10, CIFAR100
from zoomexp.datasets.mnist import FILES, MNIST
from zoomexp.errors import InputError

pytestmark = pytest.mark.usefixtures("offline")
COLOUR = {"batch_size": 4, "mean": [0.5] * 3, "std": [0.2] * 3}
GREY = {"batch_size": 4, "mean": [0.5], "std": [0.2]}
SETS = {"cifar10": (CIFAR10, COLOUR), "cifar100": (CIFAR100, COLOUR), "mnist": (MNIST, GREY)}


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("folder_exists", [True, False])
def test_missing_and_no_network(name, folder_exists, tmp_path):
    folder = tmp_path / "data"
    if folder_exists:
        folder.mkdir()
    make, options = SETS[name]
    before = files(tmp_path)
    with pytest.raises(InputError) as error:
        make(data_dir=folder, **options).prepare_data()
    message = str(error.value)
    assert message.startswith(f"dataset={name}: not found under data_dir={folder}; put {name}.npz or ")
    assert "https://" in message and "\n" not in message
    assert re.search(r"; the download failed: \S", message)
    assert files(tmp_path) == before


def cifar_layout(folder, monkeypatch, dataset, label_key):
    """A small data set in the public layout, with torchvision's checksums changed to match."""
    root = folder / dataset.base_folder
    root.mkdir(parents=True)
    generator = np.random.default_rng(0)
    written = {}
    for attribute in ("train_list", "test_list"):
        changed = []
        for name, _ in getattr(dataset, attribute):
            rows = generator.integers(0, 256, (6, 3072), dtype=np.uint8)
            written[name] = (rows, generator.integers(0, 10, 6).tolist())
            (root / name).write_bytes(pickle.dumps({"data": rows, label_key: written[name][1]}))
            changed.append([name, hashlib.md5((root / name).read_bytes()).hexdigest()])
        monkeypatch.setattr(dataset, attribute, changed)
    meta = root / dataset.meta["filename"]
    meta.write_bytes(pickle.dumps({dataset.meta["key"]: [f"class {i}" for i in range(10)]}))
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": hashlib.md5(meta.read_bytes()).hexdigest()})
    return root, written


@pytest.mark.parametrize(("name", "label_key"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_from_its_public_layout(name, label_key, tmp_path, monkeypatch):
    dataset = getattr(torchvision.datasets, name.upper())
    folder = tmp_path / "data"
    root, written = cifar_layout(folder, monkeypatch, dataset, label_key)
    splits = SETS[name][0](data_dir=folder, **COLOUR).read()
    rows = np.concatenate([written[file][0] for file, _ in dataset.train_list])
    expected = np.stack([rows[:, :1024], rows[:, 1024:2048], rows[:, 2048:]], axis=-1).reshape(-1, 32, 32, 3)
    np.testing.assert_array_equal(splits.train.images, expected)
    assert splits.train.labels.tolist() == [y for file, _ in dataset.train_list for y in written[file][1]]
    assert splits.test.labels.tolist() == written[dataset.test_list[0][0]][1] and splits.classes[3] == "class 3"
    np.testing.assert_array_equal(load_cache(folder / f"{name}.npz").train.images, expected)
    assert files(tmp_path) == [Path("data"), *(Path("data") / file for file in files(folder))]

    (folder / f"{name}.npz").unlink()
    (root / dataset.test_list[0][0]).write_bytes(b"half")
    with pytest.raises(InputError, match=f"{dataset.base_folder} is damaged: wrong checksum"):
        SETS[name][0](data_dir=folder, **COLOUR).read()
    assert not (folder / f"{name}.npz").exists()


def mnist_layout(folder, counts=(7, 3)):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    arrays = []
    for images, labels, count in zip(FILES[::2], FILES[1::2], counts, strict=True):
        pixels, digits = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8)
        (raw / images).write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes())
        (raw / labels).write_bytes(struct.pack(">2I", 0x801, count) + digits.tobytes())
        arrays += [pixels, digits]
    return raw, arrays


def test_mnist_unpacked(tmp_path):
    raw, (train_images, train_labels, test_images, _) = mnist_layout(tmp_path)
    splits = MNIST(data_dir=tmp_path, **GREY).read()
    np.testing.assert_array_equal(splits.train.images[..., 0], train_images)
    np.testing.assert_array_equal(splits.test.images[..., 0], test_images)
    assert splits.train.labels.tolist() == train_labels.tolist() and splits.classes == tuple("0123456789")
    for file in raw.iterdir():
        file.unlink()
    np.testing.assert_array_equal(MNIST(data_dir=tmp_path, **GREY).read().train.images[..., 0], train_images)


def test_a_folder_that_cannot_be_written_still_serves(tmp_path, monkeypatch):
    _, arrays = mnist_layout(tmp_path)

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    np.testing.assert_array_equal(MNIST(data_dir=tmp_path, **GREY).read().train.images[..., 0], arrays[0])
    assert not (tmp_path / "mnist.npz").exists()


@pytest.mark.parametrize("change", ["missing", "short", "long", "magic", "header", "labels", "gz", "empty"])
def test_damaged_mnist(change, tmp_path):
    raw, _ = mnist_layout(tmp_path)
    images, labels = raw / FILES[0], raw / FILES[1]
    content = images.read_bytes()
    if change == "missing":
        images.unlink()
    elif change == "labels":
        labels.write_bytes(struct.pack(">2I", 0x801, 7) + bytes([10] * 7))
    elif change == "gz":
        images.with_name(f"{images.name}.gz").write_bytes(gzip.compress(content)[:-100])
    else:
        changed = {"short": content[:-1], "long": content + b"0", "magic": b"12345678" + content, "header": content[:9]}
        images.write_bytes({**changed, "empty": b""}[change])
    with pytest.raises(InputError) as error:
        MNIST(data_dir=tmp_path, **GREY).read()
    assert str(raw) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "mnist.npz").exists()


def test_download_is_cached_and_leaves_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda folder, download: mnist_layout(Path(folder)))
    folder = tmp_path / "data"
    assert len(MNIST(data_dir=folder, **GREY).read().train) == 7
    assert files(tmp_path) == [Path("data"), Path("data/mnist.npz")]


@pytest.mark.data
@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_real_cifar(name, classes, data_dir):
    if not (data_dir / f"{name}.npz").exists():
        pytest.skip(f"{name}.npz is not there")
    splits = SETS[name][0](data_dir=data_dir, **COLOUR).read()
    assert splits.train.images.shape == (50000, 32, 32, 3) and splits.test.images.shape == (10000, 32, 32, 3)
    assert np.bincount(splits.train.labels).tolist() == [50000 // classes] * classes
    assert np.bincount(splits.test.labels).tolist() == [10000 // classes] * classes
    assert len(splits.classes) == classes


@pytest.mark.data
def test_real_mnist(data_dir, tmp_path):
    if not (data_dir / "MNIST").is_dir():
        pytest.skip("MNIST is not there")
    (tmp_path / "MNIST").symlink_to(data_dir / "MNIST")
    data = MNIST(data_dir=tmp_path, pad=2, **GREY)
    data.setup()
    splits = data.read()
    assert splits.train.images.shape == (60000, 28, 28, 1) and len(splits.test) == 10000
    histogram = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # as published
    assert np.bincount(splits.train.labels).tolist() == histogram
    assert abs(splits.train.images.mean() / 255 - 0.1307) < 1e-4
    assert data.image_size == 32 and len(data._parts["train"]) == 54000
