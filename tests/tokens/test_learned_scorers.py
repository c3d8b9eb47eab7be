"""The two region finders that learn on their own: their losses, and that they find what they are meant to find."""

import copy

import pytest
import torch
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.tokens.scorers.dqvae import DQVAE
from zoomexp.tokens.scorers.hpm import HPM, relative_loss

SIZES = {"image_size": 64, "patch_size": 16}


def textured(count=8):
    """Flat grey images with texture in the left half: hard to code, and hard to guess."""
    images = torch.zeros(count, 1, 64, 64)
    images[..., :32] = F.interpolate(torch.randn(count, 1, 32, 16), scale_factor=2.0)
    return images


def make(kind):
    torch.manual_seed(0)
    return kind(**SIZES, in_chans=1, width={DQVAE: 16, HPM: 64}[kind])


def train(scorer, steps):
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=3e-3)
    for _ in range(steps):
        scorer.train()(textured())
        optimizer.zero_grad()
        scorer.auxiliary_loss.backward()
        optimizer.step()
    return scorer.eval()(textured(32))


@pytest.mark.parametrize("kind", [DQVAE, HPM])
def test_the_loss_reaches_every_parameter_in_training_and_is_none_in_eval(kind):
    scorer = make(kind)
    assert scorer.auxiliary_loss is None
    scorer(textured())
    scorer.auxiliary_loss.backward()
    shifts = ("predict.2.bias", "predict.3.bias")  # of all predictions alike: no pair changes
    assert all(p.grad.abs().sum() > 0 for name, p in scorer.named_parameters() if name not in shifts)
    assert copy.deepcopy(scorer).auxiliary_loss is None
    scorer.eval()(textured())
    assert scorer.auxiliary_loss is None


@pytest.mark.parametrize("kind", [DQVAE, HPM])
def test_after_some_steps_the_textured_half_scores_higher(kind):
    scores = train(make(kind), 100)
    assert scores[..., :2].mean() > scores[..., 2:].mean() + 0.3


@pytest.mark.parametrize("ratio", [0.25, 0.75])
def test_the_budget_sets_the_share_of_fine_patches(ratio):
    scorer = make(DQVAE)
    scorer.ratio, scorer.budget_weight = ratio, 10.0
    assert abs(float(train(scorer, 60).mean()) - ratio) < 0.1


@pytest.mark.parametrize("fine", [0, 1])
def test_the_gates_loss_codes_a_patch_finely_or_coarsely(fine):
    scorer, images = make(DQVAE), textured(2)
    scorer.ratio, scorer.budget_weight = 0.25, 3.0
    scorer.gate[-1].bias.data = torch.tensor([1.0 - fine, fine]) * 1e4  # beyond any noise
    assert torch.equal(scorer(images), torch.full((2, 4, 4), float(fine)))
    code = scorer.fine(images)
    code = code if fine else scorer.coarse(code).repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = (scorer.decoder(code) - images).square().mean() + 3 * (fine - 0.25) ** 2
    torch.testing.assert_close(scorer.auxiliary_loss, expected)


def test_relative_loss_over_all_pairs():
    predicted, errors = torch.randn(2, 5), torch.rand(2, 5)
    errors[0, 1] = errors[0, 2]  # a pair without an order
    terms = [
        -torch.sigmoid(predicted[b, i] - predicted[b, j]).log()
        for b in range(2)
        for i in range(5)
        for j in range(5)
        if errors[b, i] > errors[b, j]
    ]
    assert len(terms) == 19
    torch.testing.assert_close(relative_loss(predicted, errors), torch.stack(terms).mean())
    assert relative_loss(predicted, torch.ones(2, 5)) == 0


def test_the_hardest_patches_are_masked_first_and_the_rest_at_random():
    scorer = make(HPM)
    difficulty = torch.rand(4, 16)
    assert (scorer.masked, scorer.hard) == (12, 6)
    torch.manual_seed(0)
    orders = [scorer._order(difficulty) for _ in range(2)]
    for order in orders:
        assert torch.equal(order.sort(1).values, torch.arange(16).expand(4, 16))
        assert torch.equal(order[:, :6].sort(1).values, difficulty.topk(6, 1).indices.sort(1).values)
    assert not torch.equal(*orders)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (DQVAE, {"patch_size": 1, "image_size": 4}, r"tokens\.scorer\.patch_size=1 must be a positive multiple of 2"),
        (DQVAE, {"width": 20}, r"tokens\.scorer\.width=20 must be a positive multiple of 8"),
        (DQVAE, {"ratio": 1.5}, r"tokens\.scorer\.ratio=1\.5 must be a number in \[0, 1\]"),
        (HPM, {"image_size": 16}, r"tokens\.scorer\.image_size must hold 2 x 2 patches or more, got 16"),
        (HPM, {"width": 100}, r"tokens\.scorer\.width=100 must be a positive multiple of 64"),
        (HPM, {"mask_ratio": -1}, r"tokens\.scorer\.mask_ratio=-1 must be a number in \[0, 1\]"),
    ],
)
def test_refusals(kind, arguments, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        kind(**(SIZES | arguments))
