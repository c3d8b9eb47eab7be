"""A-ViT against its equations, one image and one token at a time: dropping in tests, hiding and losses in training."""

import copy

import pytest
import torch

from zoomexp.errors import InputError
from zoomexp.tokens.a_vit import a_vit

GATE = {"gate_scale": 0.4, "gate_center": 1.0, "eps": 0.05, "target_depth": 2.5}
HOSTS = {
    "deit": {},
    "registers": {"reg_tokens": 2},
    "average": {"global_pool": "avg", "class_token": False},
    "average beside a class token": {"global_pool": "avg"},
    "average with it": {"global_pool": "avg", "pool_include_prefix": True},
}


def equations(vit, image):
    """Logits (K,), and for each token N_k, r_k and the scores of its blocks, with the host's own blocks."""
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(image[None])))[0]
    alive, scores, depths, rests = list(range(len(x))), [[] for _ in x], [0] * len(x), [0.0] * len(x)
    x, sums = list(x), [torch.zeros_like(x[0]) for _ in x]
    for block in vit.blocks:
        output = block(torch.stack([x[k] for k in alive])[None])[0] if alive else []
        for k, row in zip(list(alive), output, strict=True):
            x[k], h, before = row, torch.sigmoid(0.4 * row[0] - 1.0), sum(scores[k])
            scores[k].append(h)
            if before + h >= 1 - 0.05 or len(scores[k]) == len(vit.blocks):
                depths[k], rests[k] = len(scores[k]), 1 - before
                alive.remove(k)
            sums[k] = sums[k] + (h if k in alive else rests[k]) * row
    return vit.forward_head(vit.norm(torch.stack(sums))[None])[0], depths, rests, scores


@pytest.mark.parametrize("name", HOSTS)
def test_in_tests_tokens_that_halt_are_dropped(small_vit, six_images, name):
    vit = small_vit(**HOSTS[name])
    net = a_vit(vit, image_size=48, **GATE).eval()
    with torch.no_grad():
        logits, depths, *_ = zip(*(equations(vit, image) for image in six_images), strict=True)
        torch.testing.assert_close(net(six_images), torch.stack(logits), rtol=1e-4, atol=1e-4)
    depths = torch.tensor(depths)
    assert len(set(depths.flatten().tolist())) >= 3
    read = (
        depths[:, :1] if vit.global_pool == "token" else depths[:, 0 if "with it" in name else vit.num_prefix_tokens :]
    )
    for i, lengths in enumerate(net.tokens_per_block):  # one of an image of which all that is read has halted
        assert lengths.tolist() == torch.where((read > i).any(1), (depths > i).sum(1), 1).tolist()
    assert net.lengths.tolist() == [depths.shape[1]] * 6 and net.auxiliary_loss is None


@pytest.mark.parametrize("name", HOSTS)
def test_in_training_halted_tokens_are_hidden_and_the_losses_are_those_of_the_equations(small_vit, six_images, name):
    vit = small_vit(**HOSTS[name])
    net = a_vit(vit, image_size=48, ponder_weight=0.3, prior_weight=0.7, **GATE).train()
    with torch.no_grad():
        logits, depths, rests, scores = zip(*(equations(vit, image) for image in six_images), strict=True)
    torch.testing.assert_close(net(six_images), torch.stack(logits), rtol=1e-4, atol=1e-4)
    assert all(lengths.tolist() == net.lengths.tolist() for lengths in net.tokens_per_block)
    depths, rests = torch.tensor(depths), torch.tensor(rests)
    by_block = torch.tensor([[*h, 0, 0, 0, 0][:4] for image in scores for h in image]).mean(0)
    found = (by_block / by_block.sum()).clamp(0.01, 0.99)
    target = torch.distributions.Normal(2.5, 1).log_prob(torch.arange(1, 5)).softmax(0)
    divergence = torch.nn.functional.kl_div(found.log(), target, reduction="sum")
    assert divergence > 0.01
    torch.testing.assert_close(net.auxiliary_loss, 0.3 * (depths + rests).mean() + 0.7 * divergence)
    assert copy.deepcopy(net).auxiliary_loss is None


def test_the_gradient_in_training_is_that_of_finite_differences(small_vit, six_images):
    """Of logits and both losses, through scores and remainders; along a random direction of the first block."""
    net = a_vit(small_vit(), image_size=48, ponder_weight=1, prior_weight=1, **GATE).double().train()
    images, weight = six_images[:2].double(), net.vit.blocks[0].mlp.fc2.weight
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def objective():
        return net(images).sin().sum() + net.auxiliary_loss

    (slope,) = torch.autograd.grad(objective(), weight)
    values = []
    for step in (-1e-6, 1e-6):
        with torch.no_grad():
            weight += step * direction
            values.append(objective())
            weight -= step * direction
    torch.testing.assert_close((values[1] - values[0]) / 2e-6, (slope * direction).sum(), rtol=1e-3, atol=1e-5)


def test_the_loss_on_the_depth_makes_tokens_halt_earlier(small_vit, six_images):
    net = a_vit(small_vit(), image_size=48, ponder_weight=1.0, **GATE | {"gate_center": 2.0}).train()
    optimizer = torch.optim.Adam(net.parameters(), 0.003)
    spent = []
    for _ in range(21):
        net.eval()(six_images)
        spent.append(torch.stack(net.tokens_per_block).sum().item())
        net.train()(six_images)
        optimizer.zero_grad()
        net.auxiliary_loss.backward()
        optimizer.step()
    assert spent[-1] < 0.8 * spent[0]


def test_a_head_that_reads_patches_keeps_them_running(small_vit, six_images):
    vit = small_vit()
    vit.reads_patches, vit.forward_head = True, lambda x: vit.head(x.amax(1))
    with torch.no_grad():
        expected = torch.stack([equations(vit, image)[0] for image in six_images])
        torch.testing.assert_close(a_vit(vit, image_size=48, **GATE).eval()(six_images), expected, rtol=1e-4, atol=1e-4)


def test_a_batch_that_halts_at_once(small_vit, six_images):
    """The first block's output is all there is; nothing is left to attend to, in training either."""
    vit = small_vit(global_pool="avg")
    net = a_vit(vit, image_size=48, gate_scale=0.0, gate_center=0.0, eps=0.5, target_depth=1.0)
    first = copy.deepcopy(vit)
    first.blocks = first.blocks[:1]
    for training in (False, True):
        logits = net.train(training)(six_images)
        torch.testing.assert_close(logits, first(six_images), rtol=1e-4, atol=1e-4)
    (logits.sum() + net.auxiliary_loss).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    net.eval()(six_images)
    assert [lengths.tolist() for lengths in net.tokens_per_block] == [[37] * 6, *[[1] * 6] * 3]


def test_scores_that_are_as_they_should_be_cost_nothing(small_vit):
    """The clamped ones sum to more than 1, which would make the divergence negative."""
    gate = a_vit(small_vit(depth=12), image_size=48).method
    gate.set_loss(torch.zeros(3), gate.prior)
    assert gate.auxiliary_loss == 0
    gate.set_loss(torch.full((3,), 20.0), gate.prior.flip(0))
    divergence = (gate.prior * (gate.prior / gate.prior.flip(0).clamp(min=0.01)).log()).sum()
    torch.testing.assert_close(gate.auxiliary_loss, 20 * 5e-4 + 0.1 * divergence)


def test_without_any_score_the_loss_is_finite(small_vit, six_images):
    net = a_vit(small_vit(), image_size=48, gate_center=1e9, target_depth=1).train()
    net(six_images)
    net.auxiliary_loss.backward()
    assert net.auxiliary_loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gate_scale": -1}, r"gate_scale=-1 must be a finite number, at least 0"),
        ({"gate_center": float("inf")}, r"gate_center=inf must be a finite number, at least 0"),
        ({"eps": 1.5}, r"eps=1\.5 must be a number in \[0, 1\]"),
        ({"ponder_weight": -0.1}, r"ponder_weight=-0\.1 must be a finite number, at least 0"),
        ({"prior_weight": None}, r"prior_weight=None must be a finite number, at least 0"),
        ({}, r"target_depth must be in \(0, 4\], the host's blocks, got 7\.0"),
        ({"target_depth": 0}, r"target_depth must be in \(0, 4\], the host's blocks, got 0"),
    ],
)
def test_arguments_that_are_refused(small_vit, options, message):
    with pytest.raises(InputError, match=rf"^tokens\.{message}$"):
        a_vit(small_vit(), image_size=48, **options)
