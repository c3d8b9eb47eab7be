"""IA-RED2 against its equations, one image at a time: dropping in tests, drawing, reward and loss in training."""

import copy
import math

import pytest
import timm
import torch

from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs, macs_over
from zoomexp.tokens.ia_red2 import ia_red2

HOSTS = {"deit": {}, "average": {"global_pool": "avg", "class_token": False}, "registers": {"reg_tokens": 2}}
LABELS = torch.tensor([0, 1, 2, 3, 4, 5])


def make(vit, sharpness=1.0, **options):
    """Interpreters that tell patches apart; very sharp ones leave nothing to chance."""
    net = ia_red2(vit, image_size=48, **({"locations": [1, 3]} | options))
    generator = torch.Generator().manual_seed(6)
    for interpreter in net.method.interpreters:
        for layer in (interpreter.query, interpreter.key):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) * 0.1
            layer.bias.data = torch.randn(layer.bias.shape, generator=generator) * 0.1
        interpreter.policy.data = torch.randn(interpreter.policy.shape, generator=generator)
        interpreter.key.weight.data *= sharpness
        interpreter.key.bias.data *= sharpness
    return net


def worth(interpreter, x, heads=3):
    """I (N,) of patches x (N, D)."""
    found = []
    for row in x:
        q = interpreter.query.weight @ row + interpreter.query.bias
        k = interpreter.key.weight @ interpreter.policy + interpreter.key.bias
        width = len(q) // heads
        dots = [sum(q[i] * k[i] for i in range(h * width, (h + 1) * width)) for h in range(heads)]
        found.append(sum(1 / (1 + torch.exp(-dot / math.sqrt(width))) for dot in dots) / heads)
    return torch.stack(found)


@pytest.mark.parametrize("name", HOSTS)
def test_in_tests_patches_below_the_threshold_leave(small_vit, plain, six_images, name):
    vit = small_vit(**HOSTS[name])
    net, prefix, lengths = make(vit).eval(), vit.num_prefix_tokens, []

    def before(i, x, sizes):
        if i in (1, 3):
            scores = worth(net.method.interpreters[(i - 1) // 2], x[prefix:]).tolist()
            stay = [j for j, score in enumerate(scores) if score >= 0.5 or score == max(scores)]
            x = torch.stack([*x[:prefix], *(x[prefix + j] for j in stay)])
        lengths.append(len(x))
        return x, torch.ones(len(x))

    with torch.no_grad():
        expected = torch.stack([plain(vit, image, before=before) for image in six_images])
        torch.testing.assert_close(net(six_images), expected, rtol=1e-4, atol=1e-4)
    assert torch.stack(net.tokens_per_block).T.tolist() == torch.tensor(lengths).view(6, 4).tolist()
    assert len(set(net.lengths.tolist())) > 1 and net.auxiliary_loss is None
    assert min(lengths) < 30 and torch.equal((net.places >= 0).sum(1), net.lengths)


@pytest.mark.parametrize("name", HOSTS)
def test_one_patch_is_left_whatever_the_threshold(small_vit, six_images, name):
    vit = small_vit(**HOSTS[name])
    net = make(vit, threshold=1.0).eval()
    assert net(six_images).isfinite().all()
    assert net.lengths.tolist() == [vit.num_prefix_tokens + 1] * 6
    with torch.no_grad():
        x = vit.blocks[0](vit.norm_pre(vit._pos_embed(vit.patch_embed(six_images))))[:, vit.num_prefix_tokens :]
        best = torch.stack([worth(net.method.interpreters[0], rows).argmax() for rows in x])
    assert torch.equal((net.places[:, vit.num_prefix_tokens :] >= 0).nonzero()[:, 1], best)


@pytest.mark.parametrize("name", HOSTS)
def test_in_training_what_is_drawn_is_hidden_and_the_rest_is_as_if_it_had_left(small_vit, six_images, name):
    """Where nothing is left to chance, which takes one head, training is what tests are."""
    vit = small_vit(num_heads=1, **HOSTS[name])
    net = make(vit, sharpness=1e5)
    with torch.no_grad():
        torch.testing.assert_close(net.train()(six_images), (expected := net.eval()(six_images)), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(expected, make(vit, threshold=0.0).eval()(six_images), rtol=1e-2, atol=1e-2)


class Recorded:
    """What a forward in training draws: scores and numbers of each interpreter."""

    def __init__(self, net, monkeypatch):
        self.scores, self.drawn, draw = [], [], torch.bernoulli
        for interpreter in net.method.interpreters:
            interpreter.register_forward_hook(lambda m, args, output: self.scores.append(output.detach()))
        monkeypatch.setattr(torch, "bernoulli", lambda p: self.drawn.append(draw(p)) or self.drawn[-1])


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_that_of_the_equation(small_vit, six_images, monkeypatch, name, mixed):
    vit = small_vit(**HOSTS[name])
    net, prefix = make(vit, tau=0.7).train(), vit.num_prefix_tokens
    recorded = Recorded(net, monkeypatch)
    torch.manual_seed(0)
    logits = net(six_images)
    labels = torch.where(torch.arange(6) % 3 > 0, logits.argmax(1), LABELS)
    drawn_scores, drawn = recorded.scores[:2], recorded.drawn
    assert len(drawn) == 2 and len(recorded.scores) == 4

    with torch.no_grad():
        kept = make(vit, tau=0.7).eval()
        kept_right = kept(six_images).argmax(1) == labels
        blocks = torch.stack([kept.tokens_per_block[1], kept.tokens_per_block[3]], 1) - prefix
    total = 0.0
    for b in range(6):
        there = [True] * 36
        for group in range(2):
            scores = drawn_scores[group][b].tolist()
            best = max((j for j in range(36) if there[j]), key=lambda j: scores[j])
            log_policy = 0.0
            for j in range(36):
                if there[j] and j != best:
                    stays = bool(drawn[group][b, j])
                    log_policy += math.log(scores[j] if stays else 1 - scores[j])
                    there[j] = stays
            right = bool(logits[b].argmax() == labels[b])
            gain = 1 - (sum(there) / 36) ** 2 if right else -0.7
            gain -= 1 - (int(blocks[b, group]) / 36) ** 2 if kept_right[b] else -0.7
            total -= gain * log_policy / 6
    targets = torch.nn.functional.one_hot(labels, 7) * 0.6 + 0.05 if mixed else labels
    assert float(net.auxiliary_loss(targets).detach()) == pytest.approx(total, rel=1e-3)
    assert abs(total) > 1e-2
    assert net.lengths.tolist() == [36 + prefix] * 6
    assert copy.deepcopy(net).auxiliary_loss is None


def test_patches_stay_as_often_as_their_scores_say(small_vit, six_images, monkeypatch):
    net = make(small_vit(), locations=[1]).train()
    recorded = Recorded(net, monkeypatch)
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(200):
            net.method().before(1, net.tokenize(six_images))
    wanted, share = recorded.scores[0], torch.stack(recorded.drawn).mean(0)
    assert wanted.std() > 0.05
    assert ((share - wanted).abs() < 5 * (wanted * (1 - wanted) / 200).sqrt() + 1e-3).all()  # five standard deviations


def test_the_reward_trains_the_interpreters_and_the_logits_the_host(small_vit, six_images):
    net = make(small_vit()).train()
    torch.manual_seed(0)
    logits = net(six_images)
    own, hosts = list(net.method.parameters()), list(net.vit.parameters())
    loss = net.auxiliary_loss(logits.argmax(1))
    by_reward = torch.autograd.grad(loss, [*own, *hosts], allow_unused=True)
    assert all(gradient.any() for gradient in by_reward[: len(own)])
    assert all(gradient is None for gradient in by_reward[len(own) :])
    by_logits = torch.autograd.grad(logits.sin().sum(), [*own, *hosts], allow_unused=True)
    assert all(gradient is None for gradient in by_logits[: len(own)])
    assert all(gradient.any() for gradient in by_logits[len(own) :])


def test_where_the_class_is_always_right_the_loss_alone_drops_patches(small_vit, six_images):
    torch.manual_seed(0)
    net = ia_red2(small_vit(num_classes=1), image_size=48, locations=[1]).train()
    optimizer = torch.optim.Adam(net.method.parameters(), 0.003)
    for _ in range(60):
        net(six_images)
        optimizer.zero_grad()
        net.auxiliary_loss(torch.zeros(6, dtype=torch.int64)).backward()
        optimizer.step()
    net.eval()(six_images)
    assert net.tokens_per_block[0].tolist() == [37] * 6 and net.lengths.max() < 20


def test_a_new_network_keeps_all_patches(small_vit, six_images):
    net = ia_red2(small_vit(), image_size=48, locations=[0, 2]).eval()
    net(six_images)
    assert net.lengths.tolist() == [37] * 6
    for interpreter in net.method.interpreters:
        torch.testing.assert_close(interpreter(torch.zeros(5, 48)), torch.full((5,), 2.0).sigmoid(), atol=1e-3, rtol=0)


def test_no_interpreters_are_the_host(small_vit, six_images):
    vit = small_vit()
    net = ia_red2(vit, image_size=48, locations=[]).train()
    torch.testing.assert_close(net(six_images), vit(six_images), rtol=1e-5, atol=1e-5)
    assert net.auxiliary_loss is None


def test_multiply_accumulates_are_those_of_what_is_left(small_vit, six_images):
    vit = small_vit()
    net = make(vit).eval()
    counted = macs_over(net, [(image[None],) for image in six_images])
    expected = []
    for image in six_images:
        net(image[None])
        lengths = [37, *(int(n) for n in net.tokens_per_block)]
        blocks = sum(n * 12 * 48 * 48 + 2 * n * n * 48 for n in lengths[1:])
        interpreters = sum((n + 1) * 48 * 48 for n in (lengths[1], lengths[3]))
        expected.append(36 * 192 * 48 + blocks + interpreters + 48 * 7)
    assert counted["macs"] == pytest.approx(sum(expected) / 6, rel=1e-9) and counted["macs_spread"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold=1\.5 must be a number in \[0, 1\]"),
        ({"tau": -1}, r"tau=-1 must be a finite number, at least 0"),
        ({"locations": [1, 4]}, r"locations must be different blocks in 0\.\.3, got \[1, 4\]"),
        ({}, r"locations must be different blocks in 0\.\.3, got \[0, 4, 8\]"),
    ],
)
def test_arguments_that_are_refused(small_vit, options, message):
    with pytest.raises(InputError, match=rf"^tokens\.{message}$"):
        ia_red2(small_vit(), image_size=48, **options)


def test_counts_on_deit_s_with_all_patches():
    net = ia_red2(timm.create_model("deit_small_patch16_224"), image_size=224, threshold=0.0)
    assert sum(p.numel() for p in net.method.parameters()) == 3 * (2 * (384 * 384 + 384) + 384)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(22.94, abs=0.005)
    with torch.device("meta"):
        host = macs(timm.create_model("deit_small_patch16_224"), torch.zeros(1, 3, 224, 224))
    assert macs(net, torch.zeros(1, 3, 224, 224)) == host + 3 * (197 + 1) * 384 * 384
