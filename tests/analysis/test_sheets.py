"""What stands on the sheets, panel by panel, and that the PNG files hold it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from zoomexp.analysis import sheets
from zoomexp.analysis.cam import ClassActivation
from zoomexp.analysis.contact_sheet import Panel, contact_sheet
from zoomexp.analysis.overlay import enlarged, heat_over
from zoomexp.analysis.viewed import Viewed
from zoomexp.attention.loupe import Loupe
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.insertion import insert

CLASSES = ("001.Black_footed_Albatross", "b", "c")


def viewed(name: str, label: int | None = 0, box: torch.Tensor | None = None) -> Viewed:
    pixels = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(len(name)))
    return Viewed(name, (pixels - 0.5) / 0.2, pixels, pixels, np.eye(3), label, box)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = ResNet20(3, 3)
    insert(net, Loupe, ["layer1", "layer2"], torch.zeros(1, 3, 32, 32))
    return net.eval()


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws by a function of `sheets` and gives back its rows and columns instead of a file."""

    def draw(function, *arguments):
        caught = []
        monkeypatch.setattr(sheets, "contact_sheet", lambda rows, columns, path: caught.append((rows, columns)))
        function(*arguments, tmp_path / "x.png")
        return caught[0]

    return draw


def test_what_a_network_sees_of_one_image_does_not_depend_on_the_others(net):
    images = [viewed("a"), viewed("bb", label=2), viewed("ccc", label=None)]
    seen = sheets.seen_by(net, images)
    with torch.no_grad():
        logits = net(torch.stack([one.image for one in images]))
    torch.testing.assert_close(seen.probabilities, logits.softmax(1))
    assert seen.targets.tolist() == [0, 2, int(logits[2].argmax())]
    together = torch.stack([one.image for one in images])
    torch.testing.assert_close(seen.cams, ClassActivation(net, together[:1])(together, seen.targets))
    alone = sheets.seen_by(net, images[1:2])
    assert torch.equal(alone.cams[0], seen.cams[1])
    assert set(seen.maps) == {"layer1", "layer2"}
    assert all(torch.equal(alone.maps[site][0], heat[1]) for site, heat in seen.maps.items())


def test_the_contact_sheets_columns_titles_and_boxes(net, drawn):
    box = torch.tensor([8.0, 4.0, 24.0, 16.0])
    images = [viewed("a", box=box), viewed("bb", label=None)]
    seen = sheets.seen_by(net, images)
    rows, columns = drawn(sheets.contact, seen, seen, CLASSES)
    assert columns == ["image", "baseline: Grad-CAM", "Grad-CAM", "map at layer1", "map at layer2"]
    top = int(seen.probabilities[0].argmax())
    name = ("Black footed Albatross", "b", "c")[top]
    assert rows[0][0].title == "image a\ntrue: Black footed Albatross"
    assert rows[0][2].title == f"predicted: {name} ({100 * seen.probabilities[0, top]:.0f} %)"
    assert [row[2].right for row in rows] == [top == 0, None]
    assert rows[0][0].box.tolist() == [0.25, 0.125, 0.75, 0.5] and rows[1][0].box is None
    assert torch.equal(rows[0][2].picture, heat_over(enlarged(images[0].pixels), seen.cams[0]))
    assert torch.equal(rows[1][4].picture, heat_over(enlarged(images[1].pixels), seen.maps["layer2"][1, 0]))
    assert len(drawn(sheets.contact, seen, None, CLASSES)[1]) == 4


def test_without_maps_there_are_contours_and_warps_of_grad_cam(drawn):
    torch.manual_seed(0)
    seen = sheets.seen_by(ResNet20(3, 3).eval(), [viewed("a")])
    rows, columns = drawn(sheets.contours_and_warps, seen)
    assert columns == ["regular grid", "Grad-CAM: highest 5 %", "Grad-CAM: warp"]
    assert seen.maps == {} and len(rows[0]) == 3


def test_both_networks_explain_the_class_that_is_asked_for(net):
    images = [viewed("a"), viewed("bb")]
    asked = sheets.seen_by(net, images, targets=torch.tensor([2, 1]))
    own = sheets.seen_by(net, images)
    assert asked.targets.tolist() == [2, 1] and own.targets.tolist() == [0, 0]
    together = torch.stack([one.image for one in images])
    torch.testing.assert_close(asked.cams, ClassActivation(net, together[:1])(together, asked.targets))
    assert not torch.equal(asked.cams, own.cams)


class Mute(torch.nn.Module):
    """A classifier that lists no stages."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def test_a_network_that_grad_cam_cannot_explain(drawn):
    seen = sheets.seen_by(Mute(), [viewed("a")])
    assert seen.cams is None and sheets.contours_and_warps(seen, None) is None
    rows, columns = drawn(sheets.contact, seen, None, CLASSES)
    assert columns == ["image", "run"]
    assert rows[0][1].title.startswith("predicted: ")
    assert torch.equal(rows[0][1].picture, enlarged(viewed("a").pixels))


def test_flat_maps_say_so(net, drawn):
    seen = sheets.seen_by(net, [viewed("a")])
    flat = replace(seen, cams=seen.cams * 0, maps={"layer1": seen.maps["layer1"] * 0 + 0.5})
    rows, _ = drawn(sheets.contact, flat, None, CLASSES)
    assert rows[0][1].title.endswith("\nflat: nothing speaks for the class")
    assert rows[0][2].title == "0.50 everywhere"


def test_panels_lie_in_their_cells_with_their_boxes(tmp_path):
    colours = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    rows = [[Panel(colours[:, r, c, None, None].expand(3, 40, 40 + 20 * c)) for c in range(3)] for r in range(2)]
    rows[1][0] = Panel(rows[1][0].picture, title="long " * 20, right=False, box=torch.tensor([0.25, 0.25, 0.75, 0.5]))
    path = contact_sheet(rows, ["one", "two", "three"], tmp_path / "sheet.png")
    image = np.array(Image.open(path).convert("RGB")) / 255
    height, width = image.shape[:2]
    for row in range(2):
        for col in range(3):
            y, x = int(height * (0.29 + 0.48 * row)), int(width * (col + 0.5) / 3)
            np.testing.assert_allclose(image[y, x], colours[:, row, col].numpy(), atol=0.01)
    red = (np.abs(image - [1, 0, 0]).max(2) < 0.05).nonzero()
    side = (red[1].max() - red[1].min()) / (width / 3)
    assert side == pytest.approx(0.5, abs=0.05)
    assert (red[0].max() - red[0].min()) / (red[1].max() - red[1].min()) == pytest.approx(0.5, abs=0.05)
