"""SPViT against its equations, one image, patch and head at a time: dropping and packing, in tests and in training."""

import copy

import pytest
import timm
import torch
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs
from zoomexp.tokens.spvit import spvit

HOSTS = {
    "deit": {},
    "average": {"global_pool": "avg", "class_token": False},
    "average with class token": {"global_pool": "avg"},
    "registers": {"reg_tokens": 2},
}


def make(vit, seed=44, locations=(1, 3), **options):
    """Selectors that tell patches apart."""
    torch.manual_seed(0)
    net = spvit(vit, image_size=48, keep_rate=0.6, locations=locations, **options)
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.method.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.5
    for selector in net.method.selectors:
        for head in selector.heads:
            head.decide[-1].bias.data *= 0
    return net


def votes(selector, x):
    """log p (M, 2) of keep and drop, and k (M,), of patches and packages x (M, D)."""
    heads = len(selector.heads)
    parts = x.view(len(x), heads, -1)
    hidden = [head.embed(parts[:, h]) for h, head in enumerate(selector.heads)]
    log_p, keep = [], []
    for j in range(len(x)):
        first, gelu, second, sigmoid = selector.weigh
        weights = sigmoid(second(gelu(first(torch.stack([parts[j, h].mean() for h in range(heads)])))))
        own = []
        for h, head in enumerate(selector.heads):
            half = hidden[h].shape[1] // 2
            both = torch.cat([hidden[h][j, :half], hidden[h][:, half:].mean(0)])
            own.append(head.decide(both).log_softmax(0))
        log_p.append(sum(weights[h] * own[h] for h in range(heads)) / weights.sum())
        keep.append(sum(weights[h] * own[h][0].exp() for h in range(heads)) / weights.sum())
    return torch.stack(log_p), torch.stack(keep)


class Soft:
    """What happens to one image before blocks; `stages`: how many patches stay, of which patches tokens are made."""

    def __init__(self, net, package="mean", select="threshold"):
        self.selectors, self.prefix = net.method.selectors, net.vit.num_prefix_tokens
        self.mean, self.threshold, self.packages = package == "mean", select == "threshold", 0
        self.made_of, self.stages = [[j] for j in range(36)], []

    def __call__(self, i, x, sizes):
        if i not in (1, 3):
            return x, sizes
        log_p, keep = votes(self.selectors[i // 2], x[self.prefix :])
        patches = range(len(x) - self.prefix - self.packages)
        surplus = [float(log_p[j, 0] - log_p[j, 1]) for j in patches]
        order = sorted(patches, key=lambda j: -surplus[j])
        stay = [j for j in order if surplus[j] >= 0] or order[:1]
        stay = sorted(stay if self.threshold else order[: int(36 * 0.6 ** (1 + i // 2))])
        gone = [j for j in patches if j not in stay]
        package = sum(keep[j] * x[self.prefix + j] for j in gone)
        package = [package / sum(keep[j] for j in gone) if self.mean else package] if gone else []
        rest = x[self.prefix + len(patches) :]
        x = torch.stack([*x[: self.prefix], *(x[self.prefix + j] for j in stay), *rest, *package])
        self.packages += len(package)
        lost = [[j for k in gone for j in self.made_of[k]]] if gone else []
        self.made_of = [self.made_of[j] for j in stay] + self.made_of[len(patches) :] + lost
        self.stages.append((len(stay), self.made_of))
        return x, torch.ones(len(x))


def expected(net, plain, images, **options):
    """Logits (B, K), and of each image its `Soft`."""
    logits, softs = [], []
    for image in images:
        soft = Soft(net, **options)
        logits.append(plain(net.vit, image, before=soft))
        softs.append(soft)
    return torch.stack(logits), softs


@pytest.mark.parametrize(
    "options", [{}, {"package": "sum"}, {"select": "rate"}], ids=["threshold", "sum of the dropped", "rate"]
)
@pytest.mark.parametrize("name", HOSTS)
def test_in_tests_patches_are_dropped_and_packed(small_vit, plain, six_images, name, options):
    vit = small_vit(**HOSTS[name])
    net = make(vit, **options).eval()
    with torch.no_grad():
        logits, softs = expected(net, plain, six_images, **options)
        torch.testing.assert_close(net(six_images), logits, rtol=1e-4, atol=1e-4)
    first, counts = vit.num_prefix_tokens, torch.tensor([[len(tokens) for _, tokens in soft.stages] for soft in softs])
    assert torch.equal(torch.stack(net.tokens_per_block)[[1, 3]].T, first + counts)
    assert len({tuple(row) for row in counts.tolist()}) > 1 or counts[0].tolist() == [21 + 1, 12 + 2]
    assert net.auxiliary_loss is None
    for places, sizes, soft in zip(net.places, net.sizes, softs, strict=True):
        for place, patches in enumerate(soft.made_of, first):
            assert set(places[first:][patches].tolist()) == {place} and sizes[place] == len(patches)
        assert sizes.sum() == 36 + first


@pytest.mark.parametrize("package", ["mean", "sum"])
@pytest.mark.parametrize("name", HOSTS)
def test_in_training_dropped_patches_are_hidden_and_the_share_is_drawn_to_the_rate(
    small_vit, plain, six_images, monkeypatch, name, package
):
    """With the likelier of keep and drop drawn each time."""
    monkeypatch.setattr(F, "gumbel_softmax", lambda log_p, hard: F.one_hot(log_p.argmax(2), 2).to(log_p.dtype))
    vit = small_vit(**HOSTS[name])
    net = make(vit, package=package, ratio_weight=3.0).train()
    with torch.no_grad():
        logits, softs = expected(net, plain, six_images, package=package)
    torch.testing.assert_close(net(six_images), logits, rtol=1e-3, atol=1e-3)
    first, second = torch.tensor([[stay / 36 for stay, _ in soft.stages] for soft in softs]).mean(0)
    assert 0.05 < second < first < 0.95
    torch.testing.assert_close(net.auxiliary_loss, 3 / 2 * ((first - 0.6).square() + (second - 0.36).square()))
    tokens = 36 + vit.num_prefix_tokens
    assert net.lengths.tolist() == [tokens + 2] * 6
    assert torch.equal(net.places, torch.arange(tokens).expand(6, -1))
    assert copy.deepcopy(net).auxiliary_loss is None


def pushed(vit, bias, **options):
    """Selectors that want all the same: each head's last bias is that of keeping."""
    net = make(vit, **options)
    for selector in net.method.selectors:
        for head in selector.heads:
            head.decide[-1].bias.data = torch.tensor([bias, 0.0])
    return net


@pytest.mark.parametrize("name", HOSTS)
def test_where_nothing_is_dropped_there_is_no_package(small_vit, six_images, name):
    vit = small_vit(**HOSTS[name])
    net = pushed(vit, 1e4)
    with torch.no_grad():
        for mode in (False, True):
            torch.testing.assert_close(net.train(mode)(six_images), vit(six_images), rtol=1e-4, atol=1e-4)
    assert net.eval()(six_images) is not None and net.lengths.tolist() == [36 + vit.num_prefix_tokens] * 6


@pytest.mark.parametrize("name", HOSTS)
def test_one_patch_stays_at_least(small_vit, plain, six_images, name):
    vit = small_vit(**HOSTS[name])
    net = pushed(vit, -50.0).eval()
    with torch.no_grad():
        logits, softs = expected(net, plain, six_images)
        torch.testing.assert_close(net(six_images), logits, rtol=1e-4, atol=1e-4)
    assert all(stay == 1 for soft in softs for stay, _ in soft.stages)
    assert net.lengths.tolist() == [vit.num_prefix_tokens + 2] * 6  # the second step drops none


def test_what_is_drawn_is_the_probability(small_vit, six_images):
    net, kept, scores = make(small_vit(depth=2), locations=[1]).train(), [], []
    net.method.selectors[0].register_forward_hook(lambda *call: scores.append(call[2][0]))
    net.method.add_loss = lambda present, stage: kept.append(present.detach().view(2, 36))
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(300):
            net(six_images[:2])
    share, wanted = torch.stack(kept).mean(0), scores[0].softmax(2)[..., 0]
    assert wanted.std() > 0.03
    assert ((share - wanted).abs() < 5 * (wanted * (1 - wanted) / 300).sqrt() + 1e-3).all()  # five standard deviations


def test_the_loss_alone_brings_the_share_to_the_rate(small_vit, six_images, own_losses):
    torch.manual_seed(0)
    net = spvit(small_vit(), image_size=48, keep_rate=0.3, locations=[1]).train()
    losses = own_losses(net, six_images)
    assert losses[0] > 0.05 > 0.03 > sum(losses[-10:]) / 10


def test_the_gradient_through_a_package_is_that_of_its_weights(small_vit):
    """d P / d w_j = (x_j - P) / sum w, also where w_j is 0: so a patch that stays learns what packing it would do."""
    pack = spvit(small_vit(), image_size=48, locations=[1]).method.pack
    x, weights = torch.randn(1, 4, 5), torch.tensor([[0.0, 0.3, 0.0, 0.6]], requires_grad=True)
    package = pack(x, weights)
    torch.testing.assert_close(package[0], (x[0, 1] + 2 * x[0, 3]) / 3)
    for channel in range(5):
        (slope,) = torch.autograd.grad(package[0, channel], weights, retain_graph=True)
        torch.testing.assert_close(slope[0], (x[0, :, channel] - package[0, channel].detach()) / 0.9)


def test_cost_on_deit_s_is_that_of_its_layers():
    net = spvit(timm.create_model("deit_small_patch16_224"), image_size=224, select="rate").eval()
    tokens = [197] * 3 + [1 + 137 + 1] * 3 + [1 + 96 + 2] * 3 + [1 + 67 + 3] * 3
    blocks = sum(n * 12 * 384**2 + 2 * n**2 * 384 for n in tokens)
    head = 64 * 64 + 64 * 32 + 32 * 16 + 16 * 2
    selectors = sum(n * (6 * head + 2 * 6 * 3) + (1 + n) * 384 for n in (196, 137 + 1, 96 + 2))  # 384: the package
    assert macs(net, torch.zeros(1, 3, 224, 224)) == 196 * 768 * 384 + blocks + selectors + 384 * 1000
    assert [int(lengths) for lengths in net.tokens_per_block] == tokens
    biases = 64 + 32 + 16 + 2
    selector = 6 * (2 * 64 + head + biases) + (6 * 3 + 3) + (3 * 6 + 6)
    assert sum(p.numel() for p in net.method.parameters()) == 3 * selector
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(22.05 + 3 * selector / 1e6, abs=0.005)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"package": "max"}, r"tokens\.package='max' must be one of mean, sum"),
        ({"select": "all"}, r"tokens\.select='all' must be one of threshold, rate"),
        ({"ratio_weight": -1}, r"tokens\.ratio_weight=-1 must be a finite number, at least 0"),
    ],
)
def test_arguments_that_are_refused(small_vit, options, message):
    with pytest.raises(InputError, match=rf"^{message}$"):
        spvit(small_vit(), image_size=48, locations=[1], **options)


def test_hosts_that_are_refused(small_vit):
    with pytest.raises(InputError, match=r"^tokens: spvit needs a host with at least 4 channels a head, got 2$"):
        spvit(small_vit(num_heads=24), image_size=48, locations=[1])
