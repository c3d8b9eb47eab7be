"""The Zoomer's loss against its formulas in numpy."""

import numpy as np
import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.losses.zoom_distillation import ZoomDistillation

RNG = np.random.default_rng(0)
SCORES = RNG.random((3, 4, 4))
MAPS = 7 * RNG.random((3, 4, 4)) - 2


def expected(scores, maps, direction="student_teacher", epsilon=1e-8, smooth=1e-6, scale="min_max"):
    """Means over images of the three terms, one image at a time."""
    rows = []
    for y, p in zip(scores, maps, strict=True):
        if scale == "min_max":
            p = (p - p.min()) / (p.max() - p.min())
        a, b = (y + epsilon) / (y + epsilon).sum(), (p + epsilon) / (p + epsilon).sum()
        if direction == "teacher_student":
            a, b = b, a
        dice = 1 - (2 * (y * p).sum() + smooth) / (y.sum() + p.sum() + smooth)
        rows.append([((y - p) ** 2).mean(), (a * np.log(a / b)).sum(), dice])
    return np.mean(rows, axis=0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"direction": "teacher_student"},
        {"epsilon": 1e-3, "smooth": 1.0},
        {"scale": "given"},
    ],
)
def test_the_terms_are_the_equations(options):
    maps = np.abs(MAPS) if options.get("scale") == "given" else MAPS
    named = {"kl_direction" if name == "direction" else name: value for name, value in options.items()}
    loss = ZoomDistillation(kl_weight=0.5, dice_weight=0.25, **named)
    terms = loss(torch.tensor(SCORES), torch.tensor(maps))
    assert list(terms) == ["mse", "kl", "dice"]
    values = [float(term) for term in terms.values()]
    np.testing.assert_allclose(values, np.array([1, 0.5, 0.25]) * expected(SCORES, maps, **options))


def test_the_perfect_student_and_half_precision_maps():
    maps = torch.tensor(MAPS).half()
    low, high = maps.float().amin((1, 2), keepdim=True), maps.float().amax((1, 2), keepdim=True)
    terms = ZoomDistillation()((maps - low) / (high - low), maps)
    assert terms["mse"] < 1e-10
    assert abs(terms["kl"]) < 1e-5
    assert terms["kl"].dtype == torch.float32


def test_twenty_steps_lower_the_loss():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 4, requires_grad=True)
    optimizer, losses = torch.optim.Adam([logits], lr=0.3), []
    for _ in range(20):
        loss = sum(ZoomDistillation()(logits.sigmoid(), torch.tensor(MAPS)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_gradient_is_finite_at_flat_maps():
    scores = torch.zeros(1, 4, 4, requires_grad=True)
    sum(ZoomDistillation()(scores, torch.ones(1, 4, 4)).values()).backward()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kl_weight": -1}, "kl_weight=-1 must be a finite number, at least 0"),
        ({"dice_weight": -0.1}, "dice_weight=-0.1 must be a finite number, at least 0"),
        ({"smooth": -1}, "smooth=-1 must be a finite number, at least 0"),
        ({"epsilon": 0}, "epsilon=0 must be a finite number above 0"),
        ({"kl_direction": "both"}, "kl_direction='both' must be one of student_teacher, teacher_student"),
        ({"scale": "sum"}, "scale='sum' must be one of min_max, given"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=rf"^loss\.{message}"):
        ZoomDistillation(**arguments)


def test_maps_of_another_grid_are_refused():
    with pytest.raises(InputError, match=r"must match the scores, got \(7, 7\) where the scores have \(14, 14\)"):
        ZoomDistillation()(torch.zeros(2, 14, 14), torch.zeros(2, 7, 7))
