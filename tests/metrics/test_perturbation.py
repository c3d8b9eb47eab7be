"""Insertion and deletion curves on models whose probabilities are known from the pixels they see."""

import pytest
import torch
from torch import nn
from torchvision.transforms.v2.functional import gaussian_blur

from zoomexp.metrics.perturbation import area, deletion_curve, insertion_curve


class SumLogits(nn.Module):
    """Logits (B, 2): the sum of all pixels, and 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.sum((1, 2, 3))
        return torch.stack([total, torch.zeros_like(total)], dim=1)


def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 8, 8, generator=generator)
    return images, torch.rand(3, 1, 8, 8, generator=generator), torch.tensor([0, 1, 0])


def plain(start: torch.Tensor, end: torch.Tensor, maps: torch.Tensor, targets: torch.Tensor, steps: int) -> list:
    """One image and one pixel at a time."""
    curves = []
    for image, goal, heat, target in zip(start, end, maps, targets, strict=True):
        image, cells, curve, done = image.clone(), heat.flatten().tolist(), [], 0
        order = sorted(range(64), key=lambda i: -cells[i])
        for step in range(steps + 1):
            for i in order[done : round(step * 64 / steps)]:
                image[:, i // 8, i % 8] = goal[:, i // 8, i % 8]
            done = round(step * 64 / steps)
            curve.append(SumLogits()(image[None]).softmax(1)[0, target].item())
        curves.append(curve)
    return curves


@pytest.mark.parametrize("steps", [1, 5, 64])
def test_deletion_pixel_by_pixel(steps):
    images, maps, targets = case()
    expected = torch.tensor(plain(images, torch.zeros_like(images), maps, targets, steps))
    torch.testing.assert_close(deletion_curve(SumLogits(), images, maps, targets, steps), expected)


@pytest.mark.parametrize("steps", [1, 5, 64])
def test_insertion_pixel_by_pixel(steps):
    images, maps, targets = case()
    blurred = gaussian_blur(images, kernel_size=3, sigma=5 / 28)
    expected = torch.tensor(plain(blurred, images, maps, targets, steps))
    torch.testing.assert_close(insertion_curve(SumLogits(), images, maps, targets, steps), expected)


def test_a_map_that_knows_beats_one_that_does_not():
    image = torch.zeros(1, 1, 32, 32)
    image[:, :, 8:16, 16:24] = 0.1
    knowing = torch.zeros(1, 1, 4, 4)
    knowing[0, 0, 1, 2] = 1
    target = torch.tensor([0])
    gone = [area(deletion_curve(SumLogits(), image, heat, target)).item() for heat in (knowing, -knowing)]
    back = [area(insertion_curve(SumLogits(), image, heat, target)).item() for heat in (knowing, -knowing)]
    assert gone[0] < gone[1] - 0.3
    assert back[0] >= back[1]


def test_pixels_of_equal_importance_go_in_raster_order():
    images, _, targets = case()
    ramp = torch.arange(64.0, 0, -1).view(1, 1, 8, 8).expand(3, -1, -1, -1)
    flat = torch.ones(3, 1, 2, 2)
    assert torch.equal(*(deletion_curve(SumLogits(), images, heat, targets, 7) for heat in (flat, ramp)))


def test_area_is_the_integral():
    torch.testing.assert_close(area(torch.linspace(0, 1, 29)[None]), torch.tensor([0.5]))
    torch.testing.assert_close(area(torch.tensor([[1.0, 1.0], [0.0, 1.0]])), torch.tensor([1.0, 0.5]))


def test_the_model_is_run_in_eval_mode_and_left_as_it_was():
    images, maps, targets = case()
    net = nn.Sequential(nn.BatchNorm2d(2), SumLogits())
    before = net[0].running_mean.clone()
    curve = deletion_curve(net, images, maps, targets, 3)
    assert net.training and torch.equal(net[0].running_mean, before)
    alone = deletion_curve(net, images[1:2], maps[1:2], targets[1:2], 3)
    torch.testing.assert_close(curve[1:2], alone)
    assert not curve.requires_grad
