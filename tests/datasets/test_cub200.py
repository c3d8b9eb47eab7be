import io
import shutil
import tarfile
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from zoomexp.datasets import archives
from zoomexp.datasets.cub200 import CUB200, LAYOUT, PARTS, read_layout
from zoomexp.errors import InputError

SMALL = {"batch_size": 4, "mean": [0, 0, 0], "std": [1, 1, 1], "image_size": 40}
CLASSES = {3: "003.Sooty_Albatross", 7: "007.Parakeet_Auklet"}
SIZE, EACH = (120, 80), 6


def lay_out(root):
    """Two classes, six images each, a white box and within it a red square around part 4; two test images a class."""
    generator = np.random.default_rng(0)
    lines = {
        name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")
    }
    for i in range(2 * EACH):
        number, name = (3, CLASSES[3]) if i < EACH else (7, CLASSES[7])
        left, top = (int(v) for v in generator.integers((20, 0), (60, 50)))
        pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        pixels[top : top + 30, left : left + 36] = 255
        pixels[top + 10 : top + 20, left + 10 : left + 20, 1:] = 0
        path = f"{name}/bird_{i}.jpg"
        (root / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "images" / path, quality=95, subsampling=0)
        lines["images"].append(f"{i + 1} {path}")
        lines["image_class_labels"].append(f"{i + 1} {number}")
        lines["train_test_split"].append(f"{i + 1} {int(i % 3 > 0)}")
        lines["bounding_boxes"].append(f"{i + 1} {left}.0 {top}.0 36.0 30.0")
        place = {4: f"{left + 15}.0 {top + 15}.0 1"}
        lines["parts/part_locs"] += [f"{i + 1} {p} {place.get(p, '0.0 0.0 0')}" for p in range(1, len(PARTS) + 1)]
    (root / "parts").mkdir()
    for name, content in lines.items():
        (root / f"{name}.txt").write_text("\n".join(content) + "\n")
    (root / "classes.txt").write_text("".join(f"{number} {name}\n" for number, name in CLASSES.items()))
    return root


@pytest.fixture
def root(tmp_path):
    return lay_out(tmp_path / "data" / LAYOUT)


def ready(root, **options):
    data = CUB200(data_dir=root.parent, **{**SMALL, **options})
    data.setup()
    return data


def bright(channel):
    rows, columns = np.nonzero(channel > 0.5)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_the_official_split_and_the_classes_that_are_there(root):
    data = ready(root, val_fraction=0.25)
    assert data.classes == tuple(CLASSES.values()) and data.num_classes == 2 and data.has_boxes
    assert {part: len(files) for part, files in data._parts.items()} == {"train": 6, "val": 2, "test": 4}
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].tolist() == [0, 0, 1, 1] and batch["index"].tolist() == [0, 1, 2, 3]
    assert [data._parts["test"].path(i).name for i in range(4)] == [f"bird_{i}.jpg" for i in (0, 3, 6, 9)]
    assert batch["parts"].shape == (4, 15, 3)


@pytest.mark.parametrize("augment", ["none", "basic"])
def test_the_box_and_the_part_are_where_they_are_drawn(root, augment):
    data = ready(root, augment=augment, val_fraction=0, validate_on="test", train_scale=[0.4, 1])
    loaders, seen = (data.train_dataloader(), data.test_dataloader()), 0
    for epoch in range(1 if augment == "none" else 5):
        loaders[0].sampler.set_epoch(epoch)
        for batch in (batch for loader in loaders for batch in loader):
            for image, box, parts in zip(
                batch["image"].numpy(), batch["box"].numpy(), batch["parts"].numpy(), strict=True
            ):
                if min(box[2:] - box[:2]) > 2:
                    assert abs(bright(image[0]) - box).max() <= 1
                red = (image[0] > 0.5) & (image[1] < 0.5)
                assert not parts[[0, *range(4, 15)]].any()
                if parts[3, 2] and (red.sum() and min(parts[3, :2]) > 5 and max(parts[3, :2]) < 34):
                    rows, columns = np.nonzero(red)
                    assert abs(np.array([columns.mean(), rows.mean()]) + 0.5 - parts[3, :2]).max() <= 1
                    seen += 1
    assert seen >= (8 if augment == "none" else 20)


def broken(root, change):
    """Damage the layout; return the file that the message must start with."""

    def edit(name, old, new):
        path = root / name
        path.write_text(path.read_text().replace(old, new, 1))
        return path

    image = root / "images" / CLASSES[3] / "bird_2.jpg"
    if change == "image missing":
        image.unlink()
        return image
    if change == "image empty":
        image.write_bytes(b"")
        return image
    if change == "list missing":
        (root / "bounding_boxes.txt").unlink()
        return root / "bounding_boxes.txt"
    if change == "binary":
        (root / "images.txt").write_bytes(b"\xff\xfe\x00")
        return root / "images.txt"
    if change == "empty":
        (root / "images.txt").write_text("")
        return root / "images.txt"
    return edit(
        *{
            "twice": ("images.txt", "2 003", "1 003"),
            "short": ("image_class_labels.txt", "4 3\n", ""),
            "long": ("train_test_split.txt", "4 0\n", "4 0\n99 1\n"),
            "word": ("bounding_boxes.txt", "36.0", "wide"),
            "nan": ("bounding_boxes.txt", "36.0", "nan"),
            "columns": ("parts/part_locs.txt", "2 1 0.0 0.0 0", "2 1 0.0 0.0"),
            "part": ("parts/part_locs.txt", "2 15 ", "2 16 "),
            "split": ("train_test_split.txt", "1 0", "1 2"),
            "unnamed": ("classes.txt", "7 ", "8 "),
            "misplaced": ("image_class_labels.txt", "2 3", "2 7"),
        }[change]
    )


@pytest.mark.parametrize(
    "change",
    ["image missing", "image empty", "list missing", "binary", "empty", "twice", "short", "long", "word", "nan",
     "columns", "part", "split", "unnamed", "misplaced"],
)  # fmt: skip
def test_a_layout_that_is_not_whole(root, change):
    path = broken(root, change)
    with pytest.raises(InputError) as error:
        ready(root)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["0", "1"])
def test_a_wrong_split(root, value):
    (root / "train_test_split.txt").write_text("".join(f"{i + 1} {value}\n" for i in range(2 * EACH)))
    with pytest.raises(InputError, match="train_test_split"):
        ready(root)


def test_the_order_of_the_lists_does_not_matter(root):
    before = read_layout(root)
    for name in ("bounding_boxes", "parts/part_locs", "image_class_labels", "train_test_split"):
        path = root / f"{name}.txt"
        path.write_text("\n".join(reversed(path.read_text().splitlines())))
    after = read_layout(root)
    for field in ("paths", "labels", "boxes", "parts"):
        np.testing.assert_array_equal(getattr(after.train, field), getattr(before.train, field))


def packed(folder, outside=False):
    """The layout as an archive; `outside`: with a member that leads out of it."""
    lay_out(folder / LAYOUT)
    archive = folder / "made.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / LAYOUT, LAYOUT)
        if outside:
            member = tarfile.TarInfo("../outside.txt")
            member.size = 4
            file.addfile(member, io.BytesIO(b"text"))
    shutil.rmtree(folder / LAYOUT)
    return archive


@pytest.mark.parametrize("outside", [False, True])
def test_download(tmp_path, monkeypatch, outside):
    archive = packed(tmp_path, outside)
    checked = []

    def download(url, folder, name, md5):
        checked.append((url, md5))
        shutil.copy(archive, Path(folder) / name)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    data = CUB200(data_dir=tmp_path / "data", **SMALL)
    if outside:
        with pytest.raises(InputError, match="cannot be unpacked"):
            data.prepare_data()
        assert sorted(path.name for path in tmp_path.rglob("*.txt")) == [] and not list(tmp_path.glob("data/.*"))
        return
    data.prepare_data()
    assert checked[0][0].startswith("https://") and len(checked[0][1]) == 32
    assert len(data._parts["test"]) == 4 and [path.name for path in (tmp_path / "data").iterdir()] == [LAYOUT]


@pytest.mark.parametrize("folder_exists", [True, False])
def test_missing_and_no_network(tmp_path, monkeypatch, folder_exists):
    def refuse(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    folder = tmp_path / "data"
    if folder_exists:
        folder.mkdir()
    with pytest.raises(InputError) as error:
        CUB200(data_dir=folder, **SMALL).prepare_data()
    assert str(error.value).startswith(f"dataset=cub200: not found under data_dir={folder}; put {LAYOUT} there (https")
    assert "\n" not in str(error.value) and list(tmp_path.rglob("*")) == [folder] * folder_exists


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside-of-zoomexp.txt"])
def test_a_zip_that_leads_outside(tmp_path, name):
    import zipfile

    with zipfile.ZipFile(tmp_path / "made.zip", "w") as file:
        file.writestr(name, "text")
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="leads outside"):
        archives.unpack(tmp_path / "made.zip", tmp_path / "in")
    assert not list((tmp_path / "in").iterdir())


@pytest.mark.data
def test_real_birds(data_dir):
    if not (data_dir / LAYOUT).is_dir():
        pytest.skip(f"{LAYOUT} is not there")
    data = CUB200(data_dir=data_dir, **{**SMALL, "image_size": 224, "augment": "randaugment", "eval_batch_size": 50})
    data.setup()
    splits = data.read()
    expected = {10: (300, 243), 200: (5994, 5794)}[data.num_classes]
    assert (len(splits.train), len(splits.test)) == expected
    batch, test = next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))
    for made in (batch, test):
        assert made["image"].shape[1:] == (3, 224, 224) and made["parts"].shape[1:] == (15, 3)
        assert (made["box"][:, :2] <= made["box"][:, 2:]).all() and made["box"].max() <= 224
    inside = (test["parts"][..., :2] + 8 >= test["box"][:, None, :2]) & (
        test["parts"][..., :2] - 8 <= test["box"][:, None, 2:]
    )
    assert inside.all(-1)[test["parts"][..., 2] > 0].float().mean() > 0.98
    assert (test["box"][:, 2:] - test["box"][:, :2]).min() > 20
