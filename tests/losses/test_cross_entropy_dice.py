"""Cross-entropy and Dice of pixels: the equations written out, another library's, ignored pixels, the maps' penalty."""

import math

import pytest
import torch
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy_dice import CrossEntropyDice, dice_loss

K = 4


def given(ignored=True):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3, K, 5, 6, generator=draw)
    target = torch.randint(0, K - 1, (3, 5, 6), generator=draw)  # the last class is not there
    if ignored:
        target[:, 0, :3] = 255
    return logits, target


def test_the_equations():
    logits, target = given()
    chances, flat = logits.softmax(1).permute(0, 2, 3, 1).reshape(-1, K), target.flatten()
    chances, flat = chances[flat != 255], flat[flat != 255]
    entropy = -sum(math.log(chances[i, label]) for i, label in enumerate(flat.tolist())) / len(flat)
    shares = []
    for label in range(K - 1):
        there = (flat == label).float()
        both, said, true = (chances[:, label] * there).sum(), chances[:, label].sum(), there.sum()
        shares.append((2 * both + 1e-6) / (said + true + 1e-6))
    terms = CrossEntropyDice(dice_weight=0.5)(logits, target)
    assert set(terms) == {"cross_entropy", "dice"}
    assert float(terms["cross_entropy"]) == pytest.approx(entropy, rel=1e-5)
    assert float(terms["dice"]) == pytest.approx(0.5 * (1 - float(sum(shares)) / 3), rel=1e-5)


@pytest.mark.parametrize("ignored", [False, True])
def test_dice_is_another_librarys(ignored):
    """Which takes the mean over all classes, those without a pixel counting 0."""
    library = pytest.importorskip("segmentation_models_pytorch.losses")
    logits, target = given(ignored)
    theirs = library.DiceLoss("multiclass", ignore_index=255 if ignored else None)(logits, target) * K / (K - 1)
    torch.testing.assert_close(dice_loss(logits, target), theirs)


def test_cross_entropy_is_torchs_with_smoothing():
    logits, target = given()
    theirs = F.cross_entropy(logits, target, ignore_index=255, label_smoothing=0.2)
    torch.testing.assert_close(CrossEntropyDice(label_smoothing=0.2)(logits, target)["cross_entropy"], theirs)


def test_a_batch_without_a_pixel_that_counts_is_no_nan():
    logits, target = given()
    logits.requires_grad_()
    total = sum(CrossEntropyDice()(logits, torch.full_like(target, 255)).values())
    total.backward()
    assert float(total.detach()) == 0 and not logits.grad.any()


def test_ignored_pixels_get_no_gradient():
    logits, target = given()
    logits.requires_grad_()
    sum(CrossEntropyDice()(logits, target).values()).backward()
    moved = logits.grad.abs().sum(1) > 0
    assert torch.equal(moved, target != 255)


def test_the_penalty_on_the_maps_is_the_mean_of_their_means():
    maps = {"a": torch.tensor([[[[1.0, 0.0]]]]), "b": torch.full((1, 1, 3, 3), 0.25)}
    loss = CrossEntropyDice(sparsity=0.2)
    assert loss.needs_maps and not CrossEntropyDice().needs_maps
    assert float(loss(*given(), maps=maps)["sparsity"]) == pytest.approx(0.2 * (0.5 + 0.25) / 2)


@pytest.mark.parametrize("option", [{"dice_weight": -1}, {"sparsity": -0.1}, {"label_smoothing": 1.0}])
def test_refusals(option):
    with pytest.raises(InputError, match=f"loss.{next(iter(option))}"):
        CrossEntropyDice(**option)
