"""A segmenter's run: its pictures while it trains and later, its masks of new images, and what has none of them."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import zoomexp
from tests.train.conftest import run_script
from zoomexp.analysis.masks_over import classes_over, named, palette
from zoomexp.prediction.segmenter import labels_of
from zoomexp.run.stored_run import data_of

SMOKE = ("experiment=attzoom/digit_masks", "trainer=smoke", "logger=wandb", "dataset.train_images=40",
         "dataset.test_images=6", "dataset.eval_batch_size=3", "dataset.batch_size=8",
         "callbacks.pictures.sheets=true")  # fmt: skip


def opened(path):
    with Image.open(path) as image:
        return np.array(image)


def test_classes_have_colours_the_background_none_and_ignored_pixels_are_dark():
    picture = torch.full((3, 4, 4), 0.5)
    classes = torch.tensor([[0, 1], [2, 255]])
    drawn = classes_over(picture, classes, ["background", "cat", "dog"], opacity=1.0)
    for row, col, colour in ((0, 0, [0.5] * 3), (0, 3, palette(3)[1]), (3, 0, palette(3)[2]), (3, 3, [0.2] * 3)):
        torch.testing.assert_close(drawn[:, row, col], torch.as_tensor(colour))
    assert len({tuple(one.tolist()) for one in palette(20)}) == 20
    assert (
        named(classes, ["background", "cat", "dog"]) == "cat, dog" and named(classes * 0, ["background"]) == "nothing"
    )
    assert named(torch.arange(6)[None], list("abcdef")) == "a, b, c, d and 2 more"


def test_labels_of_any_size_are_those_of_all_logits_at_once():
    logits = torch.randn(5, 6, 7)
    whole = torch.nn.functional.interpolate(logits[None], size=(30, 20), mode="bilinear", align_corners=False)[0]
    np.testing.assert_array_equal(labels_of(logits, (20, 30)), whole.argmax(0))


def test_a_run_is_drawn_and_says_masks(train, folders, tmp_path, monkeypatch, capfd):
    ended = train(*SMOKE, base=())
    assert ended.code == 0, ended.err
    (run,) = folders()
    assert (run / "figures" / "epoch0.png").is_file()
    (media,) = run.glob("wandb/offline-run-*/files/media")
    assert len(list(media.glob("images/truth_*"))) == 3 == len(list(media.glob("images/said_*")))  # of the first batch
    overlays = [opened(path) for path in media.glob("images/mask/*")]
    assert len(overlays) == 12  # of six images two layers each
    truth = [mask.tobytes() for mask in data_of(run).masked("test").masks]
    assert sorted(mask.tobytes() for mask in overlays if mask.tobytes() in truth) == sorted(truth)
    ended = run_script("visualize", (f"run={run}", "count=3"), monkeypatch, capfd)
    assert ended.code == 0 and ended.out.split()[-1] == str(run / "figures" / "contact_sheet.png"), ended.err
    height, width = opened(run / "figures" / "contact_sheet.png").shape[:2]
    assert width > height  # four columns: image, truth, said, the module's map
    refused = run_script("visualize", (f"run={run}", "images=worst"), monkeypatch, capfd)
    assert refused.code == 2 and "an image of many pixels is neither right nor wrong" in refused.err

    data = data_of(run)
    new = tmp_path / "new" / "below"
    new.mkdir(parents=True)
    pixels = data.masked("test").images[..., 0]
    for number in (0, 1):
        Image.fromarray(pixels[number]).save(new / f"{number}.png")
    Image.fromarray(pixels[2]).resize((96, 60)).save(new.parent / "2.png")
    (new / "bad.png").write_bytes(b"no image")
    ended = run_script(
        "predict", (f"run={run}", f"images={new.parent}", f"out={tmp_path / 'said'}"), monkeypatch, capfd
    )
    assert ended.code == 0 and "3 images seen, 1 left out" in ended.out, ended.err
    predictor = zoomexp.load(run, "cpu")
    found = predictor([new / "0.png", new.parent / "2.png"])
    assert [one.labels.shape for one in found] == [(48, 48), (60, 96)]
    for one, name in zip(found, ("below/0.png.png", "2.png.png"), strict=True):
        np.testing.assert_array_equal(opened(tmp_path / "said" / "masks" / name), one.labels)  # of a palette: numbers
        assert opened(tmp_path / "said" / "overlays" / name).shape == (*one.labels.shape, 3)
    with torch.no_grad():
        logits = predictor.network(next(iter(data.mask_batches("test", np.array([0]), 1)))["image"])
    np.testing.assert_array_equal(found[0].labels, logits[0].argmax(0))
    with (tmp_path / "said" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for one in found:
        shares = {row["class"]: float(row["share"]) for row in rows if row["file"] == one.name}
        assert shares == pytest.approx(one.shares(), abs=1e-6) and sum(shares.values()) == pytest.approx(1, abs=1e-5)
    told = json.loads((tmp_path / "said" / "predictions.json").read_text())
    assert (
        told["classes"] == list(data.classes) and len(told["images"]) == 3 and "bad.png" in told["left_out"][0]["file"]
    )
    refused = run_script("predict", (f"run={run}", f"images={new}", "top=3"), monkeypatch, capfd)
    assert refused.code == 2 and "top=3: this run says pixels" in refused.err
