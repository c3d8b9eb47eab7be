"""Boxes come back to the pixels of the image that was given, however a detector sees it."""

import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from zoomexp.boxes import Detections, centred
from zoomexp.datasets.scene_seeing import SceneSeeing, seeing_of_facts
from zoomexp.datasets.seeing import Seeing
from zoomexp.errors import InputError
from zoomexp.prediction.coco_ids import CocoIds
from zoomexp.prediction.detector import Detector

BOX = (60, 20, 100, 70)  # of something white on black
MEAN, STD = (0.1,) * 3, (0.5,) * 3


class Finds(nn.Module):
    """Says the box around what is bright, as class 1, and an unsure one around everything, as class 0."""

    inputs, multiple = ("image", "size"), 12

    def forward(self, images, size):
        said = []
        for image, (height, width) in zip(images, size.tolist(), strict=True):
            bright = (image[0, :height, :width] * 0.5 + 0.1) > 0.5
            rows, columns = (bright.any(axis).nonzero()[:, 0].float() for axis in (1, 0))
            box = torch.stack(
                [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
            )
            said.append(centred(torch.stack([torch.tensor([0.0, 0, 1, 1]), box])))
        logits = torch.tensor([[0.0, -9, 0], [-9.0, 9, 0]]).repeat(len(images), 1, 1)
        return Detections(logits, torch.stack(said))


def picture(size=(160, 100), box=BOX):
    image = Image.new("RGB", size)
    ImageDraw.Draw(image).rectangle([box[0], box[1], box[2] - 1, box[3] - 1], fill=(255, 255, 255))
    return image


@pytest.mark.parametrize(
    "seeing",
    [
        SceneSeeing(96, 16, 3, MEAN, STD),
        SceneSeeing(120, 1, 1, (0.1,), (0.5,)),
        Seeing(104, 3, MEAN, STD, crop_pct=0.9, pad=4),
        Seeing(96, 3, MEAN, STD),
    ],
    ids=["whole", "grey", "central", "square"],
)
def test_a_box_is_in_pixels_of_the_image(seeing, tmp_path):
    detector = Detector(Finds(), ("all", "white"), seeing_of_facts(seeing.facts()), "cpu")
    moved = [BOX[0] + 5, BOX[1] + 9, BOX[2] + 5, BOX[3] + 9]
    one, two, three = detector([picture(), picture((320, 200), [2 * edge for edge in BOX]), picture(box=moved)], 0.9)
    for found, box, scale in ((one, BOX, 1), (two, BOX, 2), (three, moved, 1)):
        assert found.classes == ("white",) and found.labels.tolist() == [1] and found.scores[0] > 0.99
        torch.testing.assert_close(found.boxes[0], scale * torch.tensor(box).float(), rtol=0, atol=2.0 * scale)
    assert (one.size, two.size) == ((160, 100), (320, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right: what is stored lies on its left side
    picture().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright = detector(tmp_path / "turned.png", least=0.9)
    torch.testing.assert_close(upright.boxes, one.boxes)
    assert upright.size == (160, 100)


def test_all_boxes_are_told_the_surest_first():
    detector = Detector(Finds(), ("all", "white"), SceneSeeing(96, 16, 3, MEAN, STD), "cpu")
    found = detector(picture(), least=0)
    assert found.classes == ("white", "all") and found.scores.diff().item() < 0 and len(found.above(0.9)) == 1
    torch.testing.assert_close(found.boxes[1], torch.tensor([0.0, 0, 160, 100]))
    assert detector.seeing.multiple == 48  # of 16, the data's, and 12, the network's
    with pytest.raises(InputError, match=r"score=1\.5 must be a number in \[0, 1\]"):
        detector(picture(), least=1.5)
    with pytest.raises(InputError, match=r"nowhere\.png: no such file"):
        detector(["nowhere.png"])


def test_a_network_that_reads_more_is_refused():
    network = Finds()
    network.inputs = ("image", "size", "map")
    with pytest.raises(InputError, match="run: its network reads map, which new images do not have"):
        Detector(network, ("all",), SceneSeeing(96, 16, 3, MEAN, STD), "cpu")


def test_classes_have_the_ids_of_their_number_or_of_their_name(tmp_path):
    ids = CocoIds(tmp_path, {"a.png": 7, "deep/a.png": 8}, {1: "cat", 2: "dog", 5: "owl", 6: "owl"})
    assert ids.of_classes(["", "cat", "", "dog"]) == [-1, 1, -1, 2]
    assert ids.of_classes(["", "", "", "", "", "owl"])[-1] == 5  # its number says which
    assert ids.of_images([tmp_path / "a.png", tmp_path / "deep" / "a.png"]) == [7, 8]
    for names, message in ((["emu"], "has 0 categories that are called emu"), (["owl"], "has 2 categories")):
        with pytest.raises(InputError, match=message):
            ids.of_classes(names)
