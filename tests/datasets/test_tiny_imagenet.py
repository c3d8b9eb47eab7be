import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets.arrays import load_cache, save_cache
from zoomexp.datasets.tiny_imagenet import LAYOUT, TinyImageNet
from zoomexp.errors import InputError

pytestmark = pytest.mark.usefixtures("offline")
SMALL = {"batch_size": 4, "mean": [0, 0, 0], "std": [1, 1, 1]}
WNIDS = ("n03", "n01", "n02")


def lay_out(data_dir, train=8, val=10):
    """Plain images: the value tells the class, and train (below 100) from val."""
    root = data_dir / LAYOUT
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (root / "words.txt").write_text("n01\tbullfrog, Rana\nn02\tgoldfish\nn99\tno such class\n")
    lines = []
    for label, wnid in enumerate(WNIDS):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in range(train):
            image = Image.fromarray(np.full((8, 8, 3), 20 * label + i, np.uint8))
            image.save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", quality=100)
        for i in range(val):
            name = f"val_{label + len(WNIDS) * i}.JPEG"
            pixels = np.full((8, 8) if i == 0 else (8, 8, 3), 150 + 20 * label + i, np.uint8)
            Image.fromarray(pixels).save(root / "val" / "images" / name, quality=100)
            lines.append(f"{name}\t{wnid}\t0\t0\t7\t7")
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def values(arrays):
    return arrays.images[:, 0, 0, 0].astype(int)


def read(data_dir, **options):
    return TinyImageNet(data_dir=data_dir, **SMALL, **options).read()


def test_from_the_public_layout_then_from_the_cache(tmp_path):
    root = lay_out(tmp_path)
    splits = read(tmp_path)
    assert splits.train.images.shape == (24, 8, 8, 3) and splits.test.images.shape == (30, 8, 8, 3)
    assert splits.train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert splits.classes == ("n03", "bullfrog", "goldfish")
    assert abs(values(splits.train) // 20 - splits.train.labels).max() == 0
    assert abs((values(splits.test) - 150) // 20 - splits.test.labels).max() == 0
    shutil.rmtree(root)
    np.testing.assert_array_equal(read(tmp_path).train.images, splits.train.images)
    assert (tmp_path / "tiny_imagenet.npz").exists()


def test_the_validation_images_alone(tmp_path):
    root = lay_out(tmp_path)
    shutil.rmtree(root / "train")
    splits = read(tmp_path, train_from="val")
    assert np.bincount(splits.train.labels).tolist() == [8] * 3 and np.bincount(splits.test.labels).tolist() == [2] * 3
    together = np.concatenate([values(splits.train), values(splits.test)])
    assert sorted(together) == sorted(150 + 20 * label + i for label in range(3) for i in range(10))
    assert splits.train.index.tolist() == list(range(24)) and splits.test.index.tolist() == list(range(6))
    assert [path.name for path in tmp_path.glob("*.npz")] == ["tiny_imagenet_val.npz"]
    shutil.rmtree(root)
    again = read(tmp_path, train_from="val", split_seed=5)
    np.testing.assert_array_equal(again.test.images, splits.test.images)


def test_the_validation_images_of_a_cache_of_everything(tmp_path):
    root = lay_out(tmp_path)
    expected = read(tmp_path, train_from="val")
    (tmp_path / "tiny_imagenet_val.npz").unlink()
    save_cache(tmp_path / "tiny_imagenet.npz", read(tmp_path))
    shutil.rmtree(root)
    np.testing.assert_array_equal(read(tmp_path, train_from="val").test.images, expected.test.images)


def test_without_training_images_the_message_says_what_can_be_done(tmp_path):
    root = lay_out(tmp_path)
    shutil.rmtree(root / "train")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    message = str(error.value)
    assert message.startswith(f"dataset=tiny_imagenet: {root}/train is missing") and "\n" not in message
    assert "dataset.train_from=val" in message and not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize("train_from", ["train", "val"])
def test_missing_and_no_network(tmp_path, train_from):
    with pytest.raises(InputError) as error:
        read(tmp_path / "data", train_from=train_from)
    put = f"put tiny_imagenet.npz or {LAYOUT} there"
    assert str(error.value).startswith(f"dataset=tiny_imagenet: not found under data_dir={tmp_path}/data; {put}")
    assert list(tmp_path.iterdir()) == []


def test_unknown_source(tmp_path):
    with pytest.raises(InputError, match=r"^dataset\.train_from=test is unknown; train or val$"):
        read(tmp_path, train_from="test")


@pytest.mark.parametrize(
    "change", ["train image", "val image", "cut", "text", "size", "line", "class", "wnids", "words"]
)
def test_a_layout_that_is_not_whole(tmp_path, change):
    root = lay_out(tmp_path)
    image, annotations = root / "val" / "images" / "val_4.JPEG", root / "val" / "val_annotations.txt"
    if change == "train image":
        (root / "train" / "n01" / "images" / "n01_3.JPEG").unlink()
    elif change == "val image":
        image.unlink()
    elif change == "cut":
        image.write_bytes(image.read_bytes()[:-200])
    elif change == "text":
        image.write_text("text")
    elif change == "size":
        Image.new("RGB", (9, 9)).save(image)
    elif change == "line":
        annotations.write_text("".join(annotations.read_text().splitlines(keepends=True)[:-1]))
    elif change == "class":
        annotations.write_text(annotations.read_text().replace("n02", "n77", 1))
    elif change == "wnids":
        (root / "wnids.txt").write_text("n01\nn01\nn02\n")
    else:
        (root / "words.txt").write_bytes(b"\xff\xff")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert str(error.value).startswith(str(root)) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.npz"))


def test_download(tmp_path, monkeypatch):
    lay_out(tmp_path / "public")

    def download(url, folder, name, md5):
        assert name == url.rpartition("/")[2] == "tiny-imagenet-200.zip" and len(md5) == 32
        with zipfile.ZipFile(Path(folder) / name, "w") as file:
            for path in (tmp_path / "public").rglob("*"):
                file.write(path, path.relative_to(tmp_path / "public"))

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    assert len(read(tmp_path / "data").train) == 24
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tiny_imagenet.npz"]
    assert len(load_cache(tmp_path / "data" / "tiny_imagenet.npz").test) == 30


@pytest.mark.data
def test_real_validation_images(data_dir, tmp_path):
    if not (data_dir / LAYOUT / "val").is_dir():
        pytest.skip(f"{LAYOUT}/val is not there")
    (tmp_path / LAYOUT).symlink_to(data_dir / LAYOUT)
    data = TinyImageNet(data_dir=tmp_path, **SMALL, train_from="val", val_fraction=0)
    data.setup()
    train, test = data._parts["train"], data._parts["test"]
    assert train.images.shape == (8000, 64, 64, 3) and test.images.shape == (2000, 64, 64, 3)
    assert np.bincount(train.labels).tolist() == [40] * 200 and np.bincount(test.labels).tolist() == [10] * 200
    assert data.image_size == 64 and data.num_classes == 200
    pixels = train.images / 255
    assert abs(pixels.mean((0, 1, 2)) - [0.4802, 0.4481, 0.3975]).max() < 0.005  # the configured constants
    assert abs(pixels.std((0, 1, 2)) - [0.2770, 0.2691, 0.2821]).max() < 0.005
