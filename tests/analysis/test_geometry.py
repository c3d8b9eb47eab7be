"""A bright dot in an oblong image is found where it was put, on every kind of picture, within one pixel."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zoomexp.analysis.cam import ClassActivation
from zoomexp.analysis.contact_sheet import Panel, contact_sheet
from zoomexp.analysis.overlay import contour_over, enlarged, grid_over, heat_over
from zoomexp.analysis.patch_map import patch_map, score_map
from zoomexp.analysis.reading import of_file, of_test_split
from zoomexp.analysis.warp import sampling, warped
from zoomexp.datasets.image_folder import ImageFolder

WIDTH, HEIGHT, SIDE = 150, 100, 64
DOTS = [(60, 31), (90, 80), (43, 52)]  # x, y of a 3 x 3 dot's middle pixel, all inside the central crop


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("dots")
    for split in ("train", "test"):
        folder = root / "images" / split / "dot"
        folder.mkdir(parents=True)
        for i, (x, y) in enumerate(DOTS):
            pixels = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
            pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
            Image.fromarray(pixels).save(folder / f"{i}.png")
    data = ImageFolder(data_dir=root, batch_size=1, mean=[0.4] * 3, std=[0.2] * 3, image_size=SIDE, val_fraction=0.0)
    data.setup()
    return data


@pytest.fixture(params=range(len(DOTS)))
def dot(request, data):
    """The image, and its dot's x, y as shares of the view's side."""
    x, y = DOTS[request.param]
    viewed = of_test_split(data, request.param)
    return viewed, torch.from_numpy((viewed.matrix @ [x + 0.5, y + 0.5, 1])[:2] / SIDE)


def centre(light: torch.Tensor) -> torch.Tensor:
    """Where the light (H, W) is on average: x, y as shares of the sides."""
    light = light.double() / light.sum()
    height, width = light.shape
    x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
    return torch.stack([(light.sum(0) * x).sum(), (light.sum(1) * y).sum()])


def glow(picture: torch.Tensor) -> torch.Tensor:
    """What is brighter than the background, (H, W)."""
    return (picture.mean(0) - 0.3).clamp(min=0)


def heat_at(place: torch.Tensor, cells: int = 16) -> torch.Tensor:
    """A round, smooth map (cells, cells) with its peak at x, y."""
    x, y = torch.meshgrid(*[(torch.arange(cells) + 0.5) / cells] * 2, indexing="xy")
    return torch.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 0.01).float()


def close(found: torch.Tensor, place: torch.Tensor, pixels: float) -> bool:
    """Whether two places are within one of `pixels` a side."""
    return bool(((found - place).abs() <= 1 / pixels).all())


def test_view(dot):
    viewed, place = dot
    assert viewed.pixels.shape == (3, SIDE, SIDE) and viewed.original.shape == (3, HEIGHT, WIDTH)
    assert close(centre(glow(viewed.pixels)), place, SIDE)
    assert close(centre(glow(enlarged(viewed.pixels))), place, SIDE)


def test_the_view_is_what_the_test_loader_gives(data):
    batches = {int(batch["index"][0]): batch["image"][0] for batch in data.plain_batches("test", np.arange(3), 1)}
    for number, image in batches.items():
        viewed = of_test_split(data, number)
        assert torch.equal(viewed.image, image)
        torch.testing.assert_close((viewed.pixels - 0.4) / 0.2, image)


@pytest.mark.parametrize("zoom", [1, 3])
def test_map_back_on_the_original(dot, zoom):
    viewed, place = dot
    back = viewed.to_original(heat_at(place), zoom)
    assert back.shape == (zoom * HEIGHT, zoom * WIDTH)
    sizes = torch.tensor([WIDTH, HEIGHT])
    assert close(centre(back.nan_to_num(0)) * sizes, centre(glow(viewed.original)) * sizes, 1)


def test_only_what_the_model_saw_has_values_on_the_original(dot):
    viewed, _ = dot
    corners = np.linalg.inv(viewed.matrix) @ [[0, SIDE], [0, SIDE], [1, 1]]
    x, y = np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5
    (left, right), (top, bottom) = corners[:2]
    seen = ((x > left) & (x < right))[None] & ((y > top) & (y < bottom))[:, None]
    assert np.array_equal(~viewed.to_original(torch.rand(4, 4)).isnan().numpy(), seen)


def test_heat(dot):
    _, place = dot
    painted = heat_over(torch.zeros(3, SIDE, SIDE), heat_at(place), colours="gray")
    assert close(centre(painted.mean(0)), place, SIDE)


def test_contour_on_view_and_original(dot):
    viewed, place = dot
    heat = heat_at(place)
    on_view = contour_over(torch.zeros(3, 224, 224), heat)[1]
    assert close(centre(on_view), place, 64)
    on_file = contour_over(torch.zeros_like(viewed.original), viewed.to_original(heat))[1]
    sizes = torch.tensor([WIDTH, HEIGHT])
    assert close(centre(on_file) * sizes, centre(glow(viewed.original)) * sizes, 1)


def test_grid_leaves_the_dot_in_place(dot):
    viewed, place = dot
    drawn = grid_over(enlarged(viewed.pixels), 4, opacity=0.0)
    assert close(centre(glow(drawn)), place, SIDE)


def test_warp_moves_the_dot_where_its_sampling_says(dot):
    viewed, place = dot
    heat = heat_at(place + 0.15 * (0.5 - place).sign())  # beside the dot, which is pushed away
    bent = warped(viewed.pixels, heat, cells=0)
    sources = sampling(heat, SIDE, SIDE)
    flat = int((sources - place).norm(dim=-1).argmin())
    expected = torch.tensor([flat % SIDE + 0.5, flat // SIDE + 0.5]) / SIDE
    assert not close(expected, place, SIDE)
    assert close(centre(glow(bent)), expected, SIDE)


def test_patch_and_score_map(dot):
    viewed, place = dot
    scores = nn.functional.adaptive_max_pool2d(glow(viewed.pixels)[None], 8)[0]
    row, col = int(place[1] * 8), int(place[0] * 8)
    assert scores[row, col] == scores.max()
    one = torch.zeros(8, 8)
    one[row, col] = 1
    drawn = patch_map(torch.zeros(3, SIDE, SIDE), one, alpha=0.5, eta=2)
    yellow = (drawn[0] - drawn[2]).clamp(min=0)
    middle = (torch.tensor([col, row]) + 0.5) / 8
    assert close(centre(yellow), middle, SIDE)
    assert close(centre(score_map(torch.zeros(3, SIDE, SIDE), one).sum(0)), middle, SIDE)


class Brightness(nn.Module):
    """A network whose only features are 4 x 4 means of what is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = [{"num_chs": 1, "reduction": 4, "module": "means"}]
        self.means = nn.Conv2d(3, 1, 4, 4)
        nn.init.constant_(self.means.weight, 1 / 48)
        nn.init.constant_(self.means.bias, 1.0)  # the background's brightness is not above 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.means(x)).mean((2, 3))


def test_grad_cam(dot):
    viewed, place = dot
    cam = ClassActivation(Brightness(), viewed.image[None])(viewed.image[None])[0]
    cells = (centre((cam > 0.99).float()) * 16 - 0.5).round()  # the brightest cell of 16 x 16
    means = nn.functional.avg_pool2d(viewed.pixels.mean(0)[None], 4)[0]
    best = int(means.argmax())
    assert cells.tolist() == [best % 16, best // 16]
    assert close((cells + 0.5) / 16, place, 16)


def test_contact_sheet(dot, tmp_path):
    viewed, _ = dot
    (tmp_path / "sheets").mkdir()
    path = contact_sheet([[Panel(enlarged(viewed.original))]], [""], tmp_path / "sheets" / "one.png")
    drawn = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 255
    picture = (drawn.amin(0) < 0.5).nonzero()  # all of the picture but its dot is dark, and the paper is white
    top, left = picture.amin(0).tolist()
    bottom, right = (picture.amax(0) + 1).tolist()
    inside = drawn[:, top:bottom, left:right]
    assert (right - left) / (bottom - top) == pytest.approx(WIDTH / HEIGHT, rel=0.02)
    sizes = torch.tensor([WIDTH, HEIGHT])
    assert close(centre(glow(inside)) * sizes, centre(glow(viewed.original)) * sizes, 1)


def test_any_file_is_seen_as_a_test_image_is(data):
    path = data.part("test").path(1)
    named, numbered = of_file(data, path), of_test_split(data, 1)
    torch.testing.assert_close(named.image, numbered.image)
    assert np.array_equal(named.matrix, numbered.matrix) and torch.equal(named.original, numbered.original)
    assert (named.label, named.name, numbered.label, numbered.name) == (None, "1.png", 0, "1: dot/1.png")


def test_a_large_original_is_shrunk_with_its_matrix(data, tmp_path):
    pixels = np.full((1500, 2000, 3), 20, np.uint8)
    pixels[590:610, 890:910] = 255
    Image.fromarray(pixels).save(tmp_path / "large.png")
    viewed = of_file(data, tmp_path / "large.png")
    assert viewed.original.shape == (3, 480, 640)
    moved = viewed.matrix @ [*(centre(glow(viewed.original)) * torch.tensor([640, 480])).tolist(), 1]
    assert close(centre(glow(viewed.pixels)), torch.from_numpy(moved[:2] / SIDE), SIDE)
