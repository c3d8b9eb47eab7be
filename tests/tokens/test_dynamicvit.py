"""DynamicViT against its equations, one image at a time: dropping in tests, weighing and its loss in training."""

import copy

import pytest
import timm
import torch

from zoomexp.tokens.dynamicvit import SMALLEST, dynamicvit

HOSTS = {"deit": {}, "average": {"global_pool": "avg", "class_token": False}, "registers": {"reg_tokens": 2}}


def make(vit, certainty=1.0, seed=67, **options):
    """Predictors that tell patches apart; very certain ones leave nothing to chance."""
    torch.manual_seed(0)
    net = dynamicvit(vit, image_size=48, keep_rate=0.6, locations=[1, 3], **options)
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


def test_what_is_drawn_is_the_probability(small_vit, six_images):
    net, kept, scores = make(small_vit()).train(), [], []
    net.method.predictors[0].register_forward_hook(lambda *call: scores.append(call[2]))
    torch.manual_seed(0)
    net.method.add_loss = lambda present, stage: kept.append(present.detach())
    with torch.no_grad():
        for _ in range(300):
            net(six_images)
    share, wanted = torch.stack(kept[::2]).mean(0), scores[0][..., 0].exp()
    assert wanted.std() > 0.03
    assert ((share - wanted).abs() < 5 * (wanted * (1 - wanted) / 300).sqrt() + 1e-3).all()  # five standard deviations


def test_the_loss_alone_brings_the_share_to_the_rate(small_vit, six_images):
    torch.manual_seed(0)
    net = dynamicvit(small_vit(), image_size=48, keep_rate=0.3, locations=[1]).train()
    optimizer = torch.optim.Adam(net.method.parameters(), 0.01)
    losses = []
    for _ in range(60):
        net(six_images)
        losses.append(net.auxiliary_loss.item())
        optimizer.zero_grad()
        net.auxiliary_loss.backward()
        optimizer.step()
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
