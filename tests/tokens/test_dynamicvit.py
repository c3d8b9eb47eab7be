"""DynamicViT against its equations, one image at a time: dropping in tests, weighing and its losses in training."""

import copy
import math

import pytest
import timm
import torch

from zoomexp.errors import InputError
from zoomexp.tokens.dynamicvit import SMALLEST, dynamicvit

HOSTS = {"deit": {}, "average": {"global_pool": "avg", "class_token": False}, "registers": {"reg_tokens": 2}}


def make(vit, certainty=1.0, seed=67, **options):
    """Predictors that tell patches apart; very certain ones leave nothing to chance."""
    torch.manual_seed(0)
    net = dynamicvit(vit, image_size=48, keep_rate=0.6, locations=[1, 3], **({"distillation": 0} | options))
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.method.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.2
    for predictor in net.method.predictors:
        predictor.decide[-1].weight.data *= certainty
        predictor.decide[-1].bias.data *= 0
    return net


def decided(predictor, x, present):
    """log p (N, 2) of patches x (N, D), of which those present, [N] bool, are still there."""
    z = predictor.embed(x)
    half = z.shape[1] // 2
    shared = z[present, half:].mean(0)
    return torch.stack([predictor.decide(torch.cat([row[:half], shared])).log_softmax(0) for row in z])


@pytest.mark.parametrize("name", HOSTS)
def test_in_tests_the_best_patches_stay(small_vit, plain, six_images, name):
    vit = small_vit(**HOSTS[name])
    net, prefix = make(vit).eval(), vit.num_prefix_tokens

    def before(i, x, sizes):
        if i not in (1, 3):
            return x, sizes
        scores = decided(net.method.predictors[(i - 1) // 2], x[prefix:], torch.ones(len(x) - prefix).bool())[:, 0]
        left = int(36 * 0.6 ** (1 + (i - 1) // 2))
        order = sorted(range(len(scores)), key=lambda j: -scores[j])[:left]
        x = torch.stack([*x[:prefix], *(x[prefix + j] for j in order)])
        return x, torch.ones(len(x))

    with torch.no_grad():
        expected = torch.stack([plain(vit, image, before=before) for image in six_images])
        torch.testing.assert_close(net(six_images), expected, rtol=1e-4, atol=1e-4)
    assert [int(lengths[0]) - prefix for lengths in net.tokens_per_block] == [36, 21, 21, 12]
    assert net.auxiliary_loss is None


@pytest.mark.parametrize("name", HOSTS)
def test_in_training_dropped_patches_are_hidden_and_the_share_is_drawn_to_the_rate(small_vit, plain, six_images, name):
    vit = small_vit(**HOSTS[name])
    net, prefix, shares = make(vit, certainty=1e5, ratio_weight=3.0).train(), vit.num_prefix_tokens, []

    def before(i, x, sizes):
        if i in (1, 3):
            present = sizes[prefix:] > 0
            scores = decided(net.method.predictors[(i - 1) // 2], x[prefix:], present)
            present = present & (scores[:, 0] > scores[:, 1])
            shares.append(present.float().mean())
            sizes = torch.cat([torch.ones(prefix), present.float()])
        return x, sizes

    with torch.no_grad():
        expected = torch.stack([plain(vit, image, before=before) for image in six_images])
    torch.testing.assert_close(net(six_images), expected, rtol=1e-3, atol=1e-3)
    first, second = torch.stack(shares).view(6, 2).T
    assert 0.05 < second.mean() < first.mean() < 0.95
    loss = 3 / 2 * ((first - 0.6).square().mean() + (second - 0.36).square().mean())
    torch.testing.assert_close(net.auxiliary_loss, loss)
    assert net.lengths.tolist() == [36 + prefix] * 6
    assert copy.deepcopy(net).auxiliary_loss is None


class Watched:
    """The patches (B, N, D) that the last block of a net's forward in training hands on, normed, and what stays."""

    def __init__(self, net, monkeypatch):
        vit, add_ratio = net.vit, net.method.add_ratio
        vit.norm.register_forward_hook(lambda m, args, x: setattr(self, "x", x.detach().view(6, -1, 48)))
        monkeypatch.setattr(
            net.method, "add_ratio", lambda d, stage: (setattr(self, "d", d.detach()), add_ratio(d, stage))
        )


@pytest.mark.parametrize("name", HOSTS)
def test_the_teacher_is_the_host_as_it_came(small_vit, six_images, monkeypatch, name):
    vit = small_vit(fc_norm=False, **HOSTS[name])
    before = copy.deepcopy(vit)
    net, plain = (make(vit, ratio_weight=0.5, distillation=weight) for weight in (0.3, 0))
    for parameter in vit.parameters():
        parameter.data *= 1.1
    watched = Watched(net.train(), monkeypatch)
    torch.manual_seed(0)
    logits = net(six_images)
    torch.manual_seed(0)
    torch.testing.assert_close(plain.train()(six_images), logits, rtol=0, atol=0)

    with torch.no_grad():
        tokens, target = before.forward_features(six_images), before(six_images).softmax(1)
    divergence, distances, prefix = 0.0, [], vit.num_prefix_tokens
    for b in range(6):
        own = logits[b].detach().softmax(0)
        divergence += sum(float(target[b, k] * math.log(target[b, k] / own[k])) for k in range(7)) / 6
        for j in range(36):
            if watched.d[b, j]:
                distances.append((watched.x[b, prefix + j] - tokens[b, prefix + j]).square().mean())
    assert 0 < len(distances) < 6 * 36
    expected = 0.3 * (divergence + float(torch.stack(distances).mean()))
    found = net.auxiliary_loss - plain.auxiliary_loss
    assert float(found.detach()) == pytest.approx(expected, rel=1e-3) and expected > 1e-3


def test_what_the_teacher_teaches_trains_host_and_predictors(small_vit, six_images):
    net = make(small_vit(), ratio_weight=0.0, distillation=1.0).train()
    net.vit.patch_embed.proj.weight.data *= 1.1
    net(six_images)
    net.auxiliary_loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn(small_vit, six_images):
    net = dynamicvit(small_vit(), image_size=48, locations=[], distillation=1.0).train()
    net(six_images)
    torch.testing.assert_close(net.auxiliary_loss, torch.tensor(0.0), atol=1e-6, rtol=0)


def test_the_teacher_is_no_part_of_the_network(small_vit, six_images):
    net = make(small_vit(), distillation=0.5)
    alone = make(small_vit(), distillation=0)
    assert net.state_dict().keys() == alone.state_dict().keys()
    assert [p.shape for p in net.parameters()] == [p.shape for p in alone.parameters()]
    assert len(list(net.modules())) == len(list(alone.modules()))
    teacher = net.method.teacher.net.vit
    net.train().double()(six_images.double())  # it follows, and stays as it was
    assert not teacher.training and teacher.head.weight.dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert net.auxiliary_loss.isfinite()
    assert alone.method.teacher is None


def test_a_teacher_for_images_of_another_size_than_its_grid(small_vit):
    net = dynamicvit(small_vit(), image_size=64, locations=[1], distillation=0.5).train()
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 7) and net.auxiliary_loss.isfinite()


def test_a_weight_that_is_refused(small_vit):
    with pytest.raises(InputError, match=r"^tokens\.distillation=-0\.5 must be a finite number, at least 0$"):
        dynamicvit(small_vit(), image_size=48, locations=[1], distillation=-0.5)


def test_what_is_drawn_is_the_probability(small_vit, six_images):
    net, kept, scores = make(small_vit()).train(), [], []
    net.method.predictors[0].register_forward_hook(lambda *call: scores.append(call[2]))
    torch.manual_seed(0)
    net.method.add_ratio = lambda present, stage: kept.append(present.detach())
    with torch.no_grad():
        for _ in range(300):
            net(six_images)
    share, wanted = torch.stack(kept[::2]).mean(0), scores[0][..., 0].exp()
    assert wanted.std() > 0.03
    assert ((share - wanted).abs() < 5 * (wanted * (1 - wanted) / 300).sqrt() + 1e-3).all()  # five standard deviations


def test_the_loss_alone_brings_the_share_to_the_rate(small_vit, six_images, own_losses):
    torch.manual_seed(0)
    net = dynamicvit(small_vit(), image_size=48, keep_rate=0.3, locations=[1], distillation=0).train()
    losses = own_losses(net, six_images)
    assert losses[0] > 0.05 > 0.03 > sum(losses[-10:]) / 10


def test_the_weight_of_a_key_has_the_gradient_of_the_papers_softmax():
    """softmax by exp(a) D / sum exp(a) D, at D = 0 and at D = 1."""
    scores = torch.tensor([0.3, -1.0, 0.8])
    present = torch.tensor([1.0, 0.0, 1.0], requires_grad=True)
    ours = (scores + (present + SMALLEST).log()).softmax(0)
    papers = scores.exp() * present / (scores.exp() * present).sum()
    torch.testing.assert_close(ours, papers, atol=1e-5, rtol=0)
    for j in range(3):
        one, other = (torch.autograd.grad(x[j], present, retain_graph=True)[0] for x in (ours, papers))
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_parameters_on_deit_s_are_those_of_the_paper():
    with torch.device("meta"):
        net = dynamicvit(timm.create_model("deit_small_patch16_224"), image_size=224)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(22.77, abs=0.005)


def test_gumbel_noise_comes_from_the_global_generator(small_vit, six_images):
    net = make(small_vit()).train()
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(net(six_images))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert not torch.allclose(results[0], results[2])
