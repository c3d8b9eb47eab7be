"""Pictures of Zoomer and ZoomViT: the scores and cells that are drawn are the model's own."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from timm.models import VisionTransformer
from torch import nn

from zoomexp.analysis import zoom_sheet as module
from zoomexp.analysis.overlay import enlarged
from zoomexp.analysis.patch_map import cells_over, patch_map, score_map, selected
from zoomexp.analysis.viewed import Viewed
from zoomexp.analysis.zoom_sheet import cells, zoom_sheet
from zoomexp.tokens.zoomer import Zoomer
from zoomexp.tokens.zoomvit import ZoomViT


class Ramp(nn.Module):
    """Scores that rise from 0 to 1 over the patches, other ones for every image."""

    def forward(self, images: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        ramp = torch.linspace(0, 1, 64).view(8, 8)
        return torch.stack([ramp.roll(int(image.sum().abs() * 10) % 5, 0) for image in images])


def zoomvit(**options) -> ZoomViT:
    torch.manual_seed(0)
    vit = VisionTransformer(img_size=64, patch_size=8, embed_dim=24, depth=1, num_heads=3, num_classes=5)
    return ZoomViT(vit, scorer=Ramp(), image_size=64, **options).eval()


def viewed(seed: int) -> Viewed:
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return Viewed(str(seed), pixels - 0.5, pixels, pixels, np.eye(3))


@dataclass
class Caught:
    rows: list
    columns: list


@pytest.fixture
def drawn(monkeypatch):
    def draw(net, images) -> Caught:
        caught = []
        monkeypatch.setattr(module, "contact_sheet", lambda rows, columns, path: caught.append(Caught(rows, columns)))
        zoom_sheet(net, images, None)
        return caught[0]

    return draw


@pytest.mark.parametrize("eta", [2, 0.5])
@pytest.mark.parametrize("coverage", ["cell", "paper"])
def test_the_cells_are_those_of_the_model(eta, coverage):
    net = zoomvit(eta=eta, coverage=coverage, alpha=0.4)
    net(viewed(1).image[None])
    fine, coarse = cells(net)
    expected = selected(net.scores[0], 0.4, eta, coverage)
    assert torch.equal(fine, expected[0]) and torch.equal(coarse, expected[1])
    assert int(net.lengths[0]) == 1 + fine.sum() + coarse.sum()


def test_a_budget_has_no_threshold():
    net = zoomvit(eta=0.5, budget=3)
    net(viewed(1).image[None])
    fine, coarse = cells(net)
    assert (fine.sum(), (~coarse).sum()) == (12, 3)


def test_a_zoomvits_sheet(drawn):
    net, images = zoomvit(eta=2, alpha=0.4), [viewed(1), viewed(4)]
    sheet = drawn(net, images)
    assert sheet.columns == ["image", "scores", "patches"]
    for row, one in zip(sheet.rows, images, strict=True):
        net(one.image[None])
        view = enlarged(one.pixels)
        assert torch.equal(row[0].picture, view)
        assert torch.equal(row[1].picture, score_map(view, net.scores[0]))
        assert torch.equal(row[2].picture, patch_map(one.pixels, net.scores[0], alpha=0.4, eta=2))
        assert torch.equal(row[2].picture, cells_over(one.pixels, *cells(net)))
        assert row[2].title == f"{int(net.lengths[0])} tokens"


def test_a_zoomers_sheet(drawn):
    torch.manual_seed(0)
    net, one = Zoomer(2, 64).eval(), viewed(1)
    sheet = drawn(net, [one])
    with torch.no_grad():
        scores = net(one.image[None])[0]
    assert sheet.columns == ["image", "scores"]
    assert torch.equal(sheet.rows[0][1].picture, score_map(enlarged(one.pixels), scores))
    assert sheet.rows[0][1].title == f"{scores.min():.2f} (blue) to {scores.max():.2f} (red)"
