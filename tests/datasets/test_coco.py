"""COCO: annotations by hand, boxes that follow their pixels, batches of several sizes, and what cannot be right."""

import gc
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from zoomexp.datasets import scene_checks, scene_views
from zoomexp.datasets.coco import COCO
from zoomexp.datasets.coco_annotations import SUFFIX, annotated
from zoomexp.datasets.scene_inventory import scene_inventory_of
from zoomexp.datasets.scene_views import RandomScene, WholeScene, fitted
from zoomexp.errors import InputError

RED, GREEN = (255, 0, 0), (0, 255, 0)


def layout(root, images=7, change=None):
    """A set of two splits: image i has i % 3 red boxes, category 1, and a green crowd, category 3, if i % 4 == 1."""
    for split in ("train2017", "val2017"):
        (root / "coco" / split).mkdir(parents=True, exist_ok=True)
        (root / "coco" / "annotations").mkdir(exist_ok=True)
        text = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "red"}, {"id": 3, "name": "green"}]}
        for i in range(images):
            width, height = ((64, 48), (40, 72), (80, 80))[i % 3]
            picture = Image.new("RGB", (width, height))
            boxes = [[4 + 16 * k, 8, 12, 20 + k] for k in range(i % 3)] + [[10, 30, 20, 10]] * (i % 4 == 1)
            for k, (x, y, w, h) in enumerate(boxes):
                colour = GREEN if k == i % 3 else RED
                ImageDraw.Draw(picture).rectangle([x, y, x + w - 1, y + h - 1], fill=colour)
                text["annotations"].append({
                    "id": 100 + len(text["annotations"]), "image_id": 10 * i, "category_id": 3 if k == i % 3 else 1,
                    "bbox": [x, y, w, h], "area": w * h / 2, "iscrowd": int(k == i % 3)})  # fmt: skip
            picture.save(root / "coco" / split / f"{i:03d}.png")
            text["images"].append({"id": 10 * i, "file_name": f"{i:03d}.png", "width": width, "height": height})
        if change is not None and split == "train2017":
            change(text)
        (root / "coco" / "annotations" / f"instances_{split}.json").write_text(json.dumps(text))
    return root


def made(root, **options):
    plain = {"batch_size": 2, "mean": [0.0] * 3, "std": [1.0] * 3, "scales": [32, 48], "test_scale": 48, "multiple": 8}
    data = COCO(data_dir=root, **plain | {"eval_batch_size": 3, "val_fraction": 0.3} | options)
    data.setup()
    return data


def test_the_annotations_are_those_of_the_file(tmp_path, monkeypatch):
    path = layout(tmp_path) / "coco" / "annotations" / "instances_train2017.json"
    found = annotated(path)
    assert found.counts.tolist() == [0, 2, 2, 0, 1, 3, 0] and found.ids.tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert found.boxes[found.objects(5)].tolist() == [[4, 8, 16, 28], [20, 8, 32, 29], [10, 30, 30, 40]]
    assert found.labels[found.objects(5)].tolist() == [1, 1, 3] and found.crowd[found.objects(5)].tolist() == [0, 0, 1]
    assert found.area[found.objects(1)].tolist() == [120, 100] and found.sizes[1].tolist() == [72, 40]
    assert found.classes.tolist() == ["", "red", "", "green"] and found.names[2] == b"002.png"
    with monkeypatch.context() as patch:  # the second time the text is not read
        patch.setattr(json, "loads", None)
        again = annotated(path)
    for name in ("names", "counts", "boxes", "labels", "crowd", "area", "classes", "sizes", "ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    layout(tmp_path, images=4)  # and another file is
    assert len(annotated(path)) == 4


@pytest.mark.parametrize("damage", [
    lambda whole: b"", lambda whole: b"torn", lambda whole: whole[: len(whole) // 2],
    lambda whole: whole[: len(whole) // 3] + bytes(40) + whole[len(whole) // 3 + 40 :],
    lambda whole: bytes(64) + whole[64:], lambda whole: whole[:-30], lambda whole: whole.replace(b"NUMPY", b"RUMPY"),
    lambda whole: whole.replace(b"descr", b"desc("),
], ids=["empty", "text", "truncated", "crc", "begins", "ends", "magic", "header"])  # fmt: skip
def test_arrays_that_cannot_be_read_are_made_anew(tmp_path, damage):
    path = layout(tmp_path) / "coco" / "annotations" / "instances_train2017.json"
    counts, kept = annotated(path).counts.tolist(), path.with_name(path.name + SUFFIX)
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert annotated(path).counts.tolist() == counts
    assert kept.read_bytes() == whole


def test_a_large_file_says_what_it_takes_and_leaves_the_collector_as_it_was(tmp_path, monkeypatch, capsys):
    path = layout(tmp_path) / "coco" / "annotations" / "instances_train2017.json"
    monkeypatch.setattr("zoomexp.datasets.coco_annotations.LARGE", 0)
    annotated(path)
    annotated(path)
    assert capsys.readouterr().out == "reads instances_train2017.json, 0 MB, and keeps its arrays: about 0 s\n"
    assert gc.isenabled()
    path.write_text("{")
    with pytest.raises(InputError, match="no annotation file"):
        annotated(path)
    assert gc.isenabled()


def test_boxes_without_area_are_left_out_and_counted(tmp_path):
    def change(text):
        text["annotations"][0]["bbox"][2] = 0

    data = made(layout(tmp_path, change=change))
    held = scene_inventory_of(data)
    assert held.notes == ("train2017: 1 boxes without area left out",)
    assert held.summary() == {
        "classes": 2, "images": {"train": 5, "val": 2, "test": 7},
        "objects": {name: int(sum(held.splits[name].objects)) for name in ("train", "val", "test")},
        "notes": list(held.notes),
    }  # fmt: skip
    assert held.summary()["objects"]["test"] == 6 and held.splits["test"].crowds == 2
    assert held.splits["test"].empty == 3  # images 0, 3 and 6
    assert re.fullmatch(r"data: 2 classes; train 5 images \(\d objects: red \d, green 0, .*; train2017: 1 boxes "
                        r"without area left out", held.line())  # fmt: skip
    found = annotated(layout(tmp_path, change=change) / "coco" / "annotations" / "instances_train2017.json")
    assert found.skipped.tolist() == [1] and found.counts.tolist() == [0, 1, 2, 0, 1, 3, 0]


def test_boxes_that_reach_beyond_their_image_are_cut_and_counted(tmp_path):
    """Image 10 has 40 x 72 pixels; within a pixel a box stays as it is given."""

    def change(text):
        text["annotations"][0].update(bbox=[-1000, 8, 5000, 5000])
        text["annotations"][1].update(bbox=[-0.75, 30, 41.5, 42.5])
        text["annotations"][2].update(bbox=[76, 70, 5.5, 10])

    root = layout(tmp_path, change=change)
    shutil.copy(root / "coco/annotations/instances_train2017.json", root / "coco/annotations/instances_val2017.json")
    data = made(root)
    found = data.scenes("train").annotated
    assert found.boxes[:3].tolist() == [[0, 8, 40, 72], [-0.75, 30, 40.75, 72.5], [76, 70, 80, 80]]
    assert data.notes == tuple(f"{name}2017: 2 boxes cut at their images' edges" for name in ("train", "val"))
    assert "2 boxes cut at their images' edges" in scene_inventory_of(data).line()
    batch = next(iter(data.test_dataloader()))
    assert batch["boxes"][0].tolist() == [0, 8, 40, 72] and batch["area"][0] == 120  # what is said of the object stays


def test_areas_that_are_not_said_are_those_of_the_boxes(tmp_path):
    def change(text):
        text["annotations"][0].pop("area")
        text["annotations"][1].update(area=None)
        text["annotations"][2].update(bbox=[70, 70, 20, 5], area=None)

    data = made(layout(tmp_path, change=change))
    assert data.scenes("train").annotated.area[:4].tolist() == [240, 200, 50, 126]
    assert data.notes == ("train2017: 1 boxes cut at their images' edges",
                          "train2017: 3 areas not said, taken of the boxes")  # fmt: skip


def test_images_in_folders_of_their_own(tmp_path):
    def change(text):
        for i, folder in ((1, "one"), (2, "one/two"), (5, "three")):
            text["images"][i]["file_name"] = f"{folder}/{i:03d}.png"

    root = layout(tmp_path, change=change)
    for i, folder in ((1, "one"), (2, "one/two")):
        (root / "coco" / "train2017" / folder).mkdir(parents=True, exist_ok=True)
        shutil.move(root / "coco" / "train2017" / f"{i:03d}.png", root / "coco" / "train2017" / folder)
    with pytest.raises(InputError, match=r"train2017: 1 of 7 annotated images are not there, three/005\.png the first"):
        made(root)
    (root / "coco" / "train2017" / "three").mkdir()
    shutil.move(root / "coco" / "train2017" / "005.png", root / "coco" / "train2017" / "three")
    data = made(root, val_fraction=0)
    assert {data.scenes("train").name(i) for i in (1, 2, 5)} == {"one/001.png", "one/two/002.png", "three/005.png"}
    assert len(list(data.train_dataloader())) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text["annotations"][1].update(category_id=9), "annotation 101 has a category that the file"),
        (lambda text: text["annotations"][1].update(image_id=9), "annotation 101 is of an image that the"),
        (lambda text: text["annotations"][1].update(bbox=[90, 0, 5, 5]), "annotation 101 has a box outside of"),
        (lambda text: text["annotations"][1].update(bbox=[0, 0, -5, 5]), "annotation 101 has a box that is no box"),
        (lambda text: text["annotations"][1].update(bbox=[0, 0, 5]),
         r"train2017\.json: annotation 101 has bbox=\[0, 0, 5\], no four numbers$"),
        (lambda text: text["annotations"][1].update(bbox=None), "annotation 101 has bbox=None, no four numbers"),
        (lambda text: text["annotations"][1].update(area="x"), "annotation 101 has area='x', no number of pixels"),
        (lambda text: text["annotations"][1].update(area=-4), "annotation 101 has area=-4, no number of pixels"),
        (lambda text: text["annotations"][1].update(image_id="abc"), "annotation 101 has image_id='abc', no whole nu"),
        (lambda text: text["annotations"][1].update(image_id=None), "annotation 101 has image_id=None, no whole numb"),
        (lambda text: text["annotations"][1].update(image_id=10.5), "annotation 101 has image_id=10.5, no whole numb"),
        (lambda text: text["annotations"][1].update(image_id=2**60), "annotation 101 has image_id=1.*, no whole numb"),
        (lambda text: text["annotations"][1].update(iscrowd=None), "annotation 101 has iscrowd=None, no whole number"),
        (lambda text: text["annotations"][1].pop("bbox"), "annotation 101 has no bbox$"),
        (lambda text: text["annotations"][1].pop("id"), "annotation without an id, number 2 of the list, has no id$"),
        (lambda text: text["images"][1].pop("file_name"), r"train2017\.json: image 10 has no file_name$"),
        (lambda text: text["images"][1].update(file_name=3), "image 10 has file_name=3, no name"),
        (lambda text: text["images"][1].update(width=0), "image 10 has 0 x 72 pixels"),
        (lambda text: text["images"][1].update(height=None), "image 10 has height=None, no whole number"),
        (lambda text: text["categories"][1].pop("name"), "category 3 has no name"),
        (lambda text: text["categories"].append({"id": 2, "name": "blue"}),
         r"train2017\.json and instances_val2017\.json differ in category 2: 'blue' and not there$"),
        (lambda text: text["categories"][1].update(name="grey"), "differ in category 3: 'grey' and 'green'$"),
        (lambda text: text["annotations"].__setitem__(1, "x"), r"is no annotation file of COCO's kind \(TypeError"),
        (lambda text: text.pop("categories"), r"is no annotation file of COCO's kind \(KeyError"),
        (lambda text: text.update(images=[]), "lists no images"),
        (lambda text: text.update(annotations=[]), r"instances_train2017\.json: none of its 7 images has an object$"),
        (lambda text: [one.update(iscrowd=1) for one in text["annotations"]],
         r"none of its 7 images has an object; 8 crowds are none$"),
        (lambda text: [one.update(bbox=[1, 1, 0, 9]) for one in text["annotations"]],
         r"none of its 7 images has an object; 8 boxes without area are none$"),
        (lambda text: text["images"][1].update(id=0), r"instances_train2017\.json: image 0 is listed twice$"),
        (lambda text: text["annotations"][1].update(bbox=[0, 0, float("nan"), 5]), "annotation 101 has a box that is"),
        (lambda text: text["annotations"][1].update(category_id="red"), "annotation 101 has category_id='red', no who"),
        (lambda text: text["images"][3].update(file_name="x.png"), "1 of 7 annotated images are not there, x.png"),
        (lambda text: text["categories"].pop(), "has a category that the file does not list"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_names_file_and_id(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        made(layout(tmp_path, change=change))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "nowhere"}, r"nowhere.train2017 is missing: unpack COCO's images there"),
        ({"scales": []}, r"dataset.scales=\[\] must be a list of short sides"),
        ({"scales": [4]}, "dataset.scales=4 must be a whole number, at least 8"),
        ({"flip": "yes"}, "dataset.flip='yes' must be true or false"),
        ({"val_fraction": 1.0}, "dataset.val_fraction"),
    ],
)  # fmt: skip
def test_refusals(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        made(layout(tmp_path), **options)


def test_an_image_of_another_size_than_is_said(tmp_path, monkeypatch):
    root = layout(tmp_path, change=lambda text: text["images"][3].update(width=200))
    message = r"train2017.003\.png \(image 30\) has 64 x 48 pixels, and its annotations say 200 x 48$"
    with pytest.raises(InputError, match=message):
        made(root)
    monkeypatch.setattr(scene_checks, "LOOKED_AT", 2)  # of more files the others, when they are seen
    with pytest.raises(InputError, match=message):
        list(made(root, val_fraction=0).train_dataloader())


def test_a_file_that_its_exif_turns(tmp_path):
    """What lies on its side is seen upright: annotations of the upright image fit, those of what is stored do not."""
    root, exif = layout(tmp_path), Image.Exif()
    exif[0x0112] = 6
    file = root / "coco" / "train2017" / "001.png"
    with Image.open(file) as image:
        image.save(file, exif=exif)
    with pytest.raises(InputError) as caught:
        made(root)
    assert str(caught.value) == (
        f"{file} (image 10) has 72 x 40 pixels, and its annotations say 40 x 72: its EXIF orientation turns it; if its "
        "boxes are of the image as it is stored, take the tag out of the file (exiftool -Orientation= FILE), else "
        "exchange height and width"
    )
    path = root / "coco" / "annotations" / "instances_train2017.json"
    text = json.loads(path.read_text())
    text["images"][1].update(width=72, height=40)
    text["annotations"] = [one for one in text["annotations"] if one["image_id"] != 10]
    path.write_text(json.dumps(text))
    assert len(made(root).scenes("train")) == 5


def extent(pixels, colour):
    """Where a colour is in an image (3, H, W): x0, y0, x1, y1."""
    seen = (pixels - torch.tensor(colour).view(3, 1, 1) / 255).abs().amax(0) < 0.5
    rows, columns = (seen.any(side).nonzero()[:, 0] for side in (1, 0))
    return [columns[0].item(), rows[0].item(), columns[-1].item() + 1, rows[-1].item() + 1]


def test_test_images_are_whole_and_their_boxes_follow(tmp_path):
    data = made(layout(tmp_path))
    batches = list(data.test_dataloader())
    assert [len(batch["count"]) for batch in batches] == [3, 3, 1]
    first = batches[0]
    assert first["size"].tolist() == [list(fitted(*size, 48, 79, 8)) for size in ((64, 48), (40, 72), (80, 80))]
    assert first["size"].tolist() == [[48, 64], [72, 40], [48, 48]] and first["image"].shape == (3, 3, 72, 64)
    assert first["image_id"].tolist() == [0, 10, 20] and first["file_size"].tolist() == [[48, 64], [72, 40], [80, 80]]
    assert first["count"].tolist() == [0, 2, 2] and first["crowd"].tolist() == [False, True, False, False]
    assert (first["image"][0, :, 48:] == 0).all() and (first["image"][1, :, :, 40:] == 0).all()
    assert extent(first["image"][1], RED) == first["boxes"][0].int().tolist() == [4, 8, 16, 28]
    np.testing.assert_allclose(first["boxes"][2:], 0.6 * np.array([[4, 8, 16, 28], [20, 8, 32, 29]]), rtol=1e-6)


def test_random_views_move_boxes_as_they_move_pixels(monkeypatch):
    monkeypatch.setattr(scene_views, "SMALLER", (180,))
    monkeypatch.setattr(scene_views, "CROP", (60, 150))
    image = Image.new("RGB", (200, 150))
    ImageDraw.Draw(image).rectangle([60, 40, 139, 109], fill=RED)
    view, seen = RandomScene([96, 160], 16, crop=True, flip=True), set()
    torch.manual_seed(0)
    for _ in range(40):
        found, boxes, kept = view(image, torch.tensor([[60.0, 40, 140, 110], [0, 0, 2, 2]]))
        assert all(side % 16 == 0 for side in found.size) and min(found.size) in range(48, 177)
        pixels = torch.from_numpy(np.array(found)).permute(2, 0, 1) / 255
        if kept[0]:
            assert np.abs(np.array(extent(pixels, RED)) - boxes[0].numpy()).max() <= 2
        else:
            assert not (pixels[0] > 0.5).any()
        assert len(boxes) == kept.sum() and (boxes >= 0).all()
        seen.add((found.size, int(kept.sum())))
    assert len(seen) > 15 and {count for _, count in seen} >= {1, 2}


def test_sides_are_those_of_the_released_code():
    """By hand: its get_size_with_aspect_ratio, and 16 pixels taken off."""
    assert fitted(640, 480, 800, 1333, 16) == (800, 1056)  # 1066 to 1056
    assert fitted(480, 640, 800, 1333, 16) == (1056, 800)
    assert fitted(1200, 400, 800, 1333, 16) == (432, 1328)  # the short side gives way: round(1333 / 3) = 444, 1332
    assert fitted(500, 500, 500, 833, 16) == (496, 496)
    assert WholeScene(800, 16).longest == 1333 and WholeScene(512, 16).longest == 853


def test_training_batches_have_no_crowds_and_depend_on_seed_and_epoch_alone(tmp_path):
    data, same, other = (made(layout(tmp_path), **options) for options in ({}, {"num_workers": 1}, {"seed": 1}))
    loaders = [one.train_dataloader() for one in (data, same, other)]
    for loader in loaders:
        loader.sampler.set_epoch(2)
    batches = [list(loader) for loader in loaders]
    assert len(batches[0]) == 2  # 5 of 7 images, two at a time
    for one, two in zip(*batches[:2], strict=True):
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
        assert set(one["labels"].tolist()) <= {1} and "crowd" not in one
        assert one["count"].sum() == len(one["boxes"])
    assert any(not torch.equal(one["index"], two["index"]) for one, two in zip(batches[0], batches[2], strict=True))


def test_a_part_without_objects_is_refused(tmp_path):
    def change(text):
        text["annotations"] = [one for one in text["annotations"] if one["image_id"] == 20]

    found = set()
    for seed in range(6):
        try:
            made(layout(tmp_path, change=change), split_seed=seed, test_size=6)
        except InputError as error:
            found.add(re.sub(r"the \d images", "the n images", str(error)))
    named = "(train_size, test_size, val_fraction, split_seed)"
    assert found == {
        f"dataset: none of the n images to {use} on has an object {named}" for use in ("train", "validate")
    }


def test_larger_images(tmp_path):
    data = made(layout(tmp_path), enlarge=1.5)
    assert data.test_scale == 72 and data.scales == (48, 72)
    assert next(iter(data.test_dataloader()))["size"].tolist()[0] == [72, 96]


def test_splits(tmp_path):
    data = made(layout(tmp_path), val_fraction=0.3, test_size=4)
    parts = {name: data.scenes(name).positions.tolist() for name in ("train", "val", "test")}
    assert (
        sorted(parts["train"] + parts["val"]) == list(range(7)) and len(parts["val"]) == 2 and len(parts["test"]) == 4
    )
    assert data.num_classes == 4 and data.classes[1] == "red" and data.image_size == (48, 64)
    data = made(layout(tmp_path), validate_on="test", train_size=5)
    assert data.scenes("val") is data.scenes("test") and len(data.scenes("train")) == 5
    assert made(layout(tmp_path), val_fraction=0).val_dataloader() == []
