"""Oxford-IIIT Pet's layout: splits, masks that move with their images as torchvision's do, bad files in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import RandomResizedCrop, v2

from zoomexp.cli.main import main
from zoomexp.data_protocols import lists_images, lists_masks
from zoomexp.datasets.oxford_pet import OxfordPet
from zoomexp.datasets.picture import Picture
from zoomexp.datasets.pixel_files import PixelClasses
from zoomexp.datasets.views import CentralView, RandomView, WholeView
from zoomexp.errors import InputError

SIZES = [(40, 30), (25, 36), (32, 32)]  # width, height


def trimap(width, height, seed):
    draw = np.random.default_rng(seed)
    return (
        draw.integers(1, 4, (-(-height // 5), -(-width // 5)), dtype=np.uint8)
        .repeat(5, 0)
        .repeat(5, 1)[:height, :width]
    )


def layout(root: Path, train=8, test=5) -> Path:
    """Images that show their trimap: black is background, white the pet, grey the border."""
    base = root / "oxford-iiit-pet"
    (base / "images").mkdir(parents=True)
    (base / "annotations" / "trimaps").mkdir(parents=True)
    for split, first, count in (("trainval", 0, train), ("test", train, test)):
        names = [f"Breed_{number}" for number in range(first, first + count)]
        lines = [f"{name} {1 + number % 2} 1 1" for number, name in enumerate(names)]
        (base / "annotations" / f"{split}.txt").write_text(
            "#Image CLASS-ID SPECIES BREED ID\n" + "\n".join(lines) + "\n"
        )
        for number, name in enumerate(names, start=first):
            values = trimap(*SIZES[number % 3], number)
            shade = np.array([0, 255, 0, 128], np.uint8)[values]
            Image.fromarray(values).save(base / "annotations" / "trimaps" / f"{name}.png")
            Image.fromarray(np.stack([shade] * 3, 2)).save(base / "images" / f"{name}.jpg", quality=100, subsampling=0)
    return base


def opened(path):
    with Image.open(path) as image:
        return np.array(image)


def made(root, **options):
    plain = {
        "data_dir": root,
        "batch_size": 4,
        "eval_batch_size": 3,
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        "image_size": 24,
    }
    data = OxfordPet(**plain | {"val_fraction": 0.25} | options)
    data.setup()
    return data


def test_the_published_splits(tmp_path):
    layout(tmp_path)
    data = made(tmp_path)
    assert [len(data.masked(part)) for part in ("train", "val", "test")] == [6, 2, 5]
    assert sorted(data.masked("val").labels.tolist()) == [0, 1]  # of both breeds
    assert data.classes == ("background", "pet") and data.num_classes == 2
    assert lists_masks(data) and not lists_images(data)
    assert made(tmp_path, target="trimap").classes == ("background", "pet", "border")


@pytest.mark.parametrize(("target", "classes"), [("pet", [255, 1, 0, 255]), ("trimap", [255, 1, 0, 2])])
def test_test_images_are_seen_whole_with_their_classes(tmp_path, target, classes):
    base = layout(tmp_path)
    batches = list(made(tmp_path, target=target).test_dataloader())
    images, labels = (torch.cat([batch[name] for batch in batches]) for name in ("image", "pixel_label"))
    assert images.shape == (5, 3, 24, 24) and labels.dtype == torch.uint8
    for number, seen in enumerate(labels, start=8):
        path = base / "annotations" / "trimaps" / f"Breed_{number}.png"
        whole = tv_tensors.Mask(np.array(classes, np.uint8)[opened(path)])
        expected = v2.functional.resize(whole, [24, 24], interpolation=v2.InterpolationMode.NEAREST_EXACT)
        assert torch.equal(seen, torch.as_tensor(expected))


def test_training_masks_move_with_their_images(tmp_path):
    """Where the image is white there is the pet, where black the background, but for the edges between them."""
    layout(tmp_path)
    data = made(tmp_path, train_scale=[0.3, 0.8], target="trimap", batch_size=6, drop_last=False)
    loader, seen = data.train_dataloader(), set()
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            shade, label = batch["image"].mean(1), batch["pixel_label"]
            sure_white, sure_black = shade > 0.98, shade < 0.02
            assert (label[sure_white] == 1).float().mean() > 0.97 and (label[sure_black] == 0).float().mean() > 0.97
            assert sure_white.any() and sure_black.any()
            seen.add(label.numpy().tobytes())
    assert len(seen) == 4


@pytest.mark.parametrize("flip", [False, True])
def test_windows_and_flips_are_torchvisions(tmp_path, flip):
    base = layout(tmp_path)
    path = base / "annotations" / "trimaps" / "Breed_0.png"
    with Image.open(base / "images" / "Breed_0.jpg") as image:
        image.load()
    view = RandomView(24, scale=(0.3, 0.8), flip=flip, augment=None)
    mask, classes, mirrored = (
        tv_tensors.Mask(opened(path)[None]),
        PixelClasses({1: 1, 2: 2, 3: 3}),
        set(),
    )
    for seed in range(8):
        torch.manual_seed(seed)
        _, steps = view(Picture(image, path))
        seen = classes.seen(path, steps, 24, image.size)
        mirrored.add(bool(steps[0][0, 0] < 0))
        top, left, height, width = window(image, seed)
        cut = v2.functional.crop(mask, top, left, height, width)
        cut = v2.functional.resize(cut, [24, 24], interpolation=v2.InterpolationMode.NEAREST_EXACT)
        expected = v2.functional.horizontal_flip(cut) if steps[0][0, 0] < 0 else cut
        sure = [apart((np.arange(24) + 0.5) * side / 24) for side in (height, width)]
        sure[1] = sure[1][::-1] if steps[0][0, 0] < 0 else sure[1]
        np.testing.assert_array_equal(seen[np.ix_(*sure)], expected[0].numpy()[np.ix_(*sure)])
    assert mirrored == ({False, True} if flip else {False})


def apart(places):
    """Whether the centres of cells lie within a pixel, and not on the edge of two, where either is right."""
    return np.abs(places - places.round()) > 1e-6


def window(image, seed):
    torch.manual_seed(seed)
    return RandomResizedCrop.get_params(torch.empty(0, *image.size[::-1]), [0.3, 0.8], [3 / 4, 4 / 3])


def test_what_a_view_adds_around_an_image_is_ignored(tmp_path):
    base = layout(tmp_path)
    path = base / "annotations" / "trimaps" / "Breed_0.png"
    shifted = np.array([[1.0, 0, 5], [0, 1, 0], [0, 0, 1]])
    seen = PixelClasses({1: 1, 2: 0, 3: 2}).seen(path, [shifted], 30, (40, 30))
    assert (seen[:, :5] == 255).all() and not (seen[:, 5:] == 255).any()


def test_a_whole_view_is_no_central_one():
    image = Image.fromarray(np.arange(3 * 40 * 20, dtype=np.uint8).reshape(20, 40, 3))
    whole, central = (view(Picture(image, Path("a"))) for view in (WholeView(20), CentralView(20, 1.0)))
    np.testing.assert_allclose(whole[1][0] @ [40, 20, 1], [20, 20, 1])
    np.testing.assert_allclose(central[1][0] @ [30, 20, 1], [20, 20, 1])


def test_the_layout_may_have_another_name(tmp_path):
    layout(tmp_path).rename(tmp_path / "pets")
    assert len(made(tmp_path, folder="pets").masked("test")) == len(
        made("nowhere", folder=str(tmp_path / "pets")).masked("test")
    )
    with pytest.raises(InputError, match=r"oxford-iiit-pet/annotations/trainval\.txt is missing"):
        made(tmp_path)


def spoilt(tmp_path, how):
    base = layout(tmp_path)
    trimaps = base / "annotations" / "trimaps"
    if how == "missing":
        (trimaps / "Breed_3.png").unlink()
    elif how == "size":
        Image.fromarray(trimap(10, 10, 0)).save(trimaps / "Breed_3.png")
    elif how == "value":
        Image.fromarray(np.full((32, 32), 9, np.uint8)).save(trimaps / "Breed_5.png")
    elif how == "mode":
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(trimaps / "Breed_5.png")
    elif how == "list":
        (base / "annotations" / "test.txt").write_text("only_a_name\n")
    elif how == "no list":
        (base / "annotations" / "test.txt").unlink()
    return tmp_path


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", r"Breed_3\.png is missing, the classes of Breed_3\.jpg's pixels"),
        ("size", r"Breed_3\.png has 10 x 10 pixels, and its image 40 x 30"),
        ("value", r"Breed_5\.png has the value 9; known: 1, 2, 3"),
        ("mode", r"Breed_5\.png is of the kind RGB, not one value a pixel"),
        ("list", r"test\.txt is not as published"),
        ("no list", r"test\.txt is missing; unpack images\.tar\.gz and annotations\.tar\.gz"),
    ],
)
def test_bad_files_are_one_line(tmp_path, how, said):
    with pytest.raises(InputError, match=said) as caught:
        for _ in made(spoilt(tmp_path, how), val_fraction=0, drop_last=False).train_dataloader():
            pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", [{"target": "breed"}, {"crop_pct": 0.9}, {"masks": "masks"}])
def test_refusals(tmp_path, option):
    with pytest.raises(InputError, match=f"dataset.{next(iter(option))}"):
        made(tmp_path, **option)


def test_a_run_on_the_layout(tmp_path):
    layout(tmp_path)
    words = ["task=segmentation", "dataset=oxford_pet", "dataset.val_fraction=0.25", "dataset.batch_size=2",
             "recipe=none",
             "backbone=timm", "backbone.name=test_resnet", "backbone.image_size=32", "attention=loupe", "trainer=smoke",
             "loss.sparsity=0.1", "logger=none", f"data_dir={tmp_path}", f"output_dir={tmp_path}"]  # fmt: skip
    assert main(["train", *words]) in (None, 0)
    (record,) = tmp_path.glob("runs/*/*/*/metrics.json")
    facts = json.loads(record.read_text())
    assert facts["data"]["images"] == {"train": 6, "val": 2, "test": 5} and facts["classes"] == ["background", "pet"]
    with np.load(record.parent / "predictions.npz") as stored:
        assert stored["truth"].shape == (4, 2) and 0 < stored["truth"].sum() < 4 * 32 * 32  # the border does not count
    assert facts["metrics"]["train/sparsity"] > 0 and facts["identity"]["data"]["kind"] == "files"
