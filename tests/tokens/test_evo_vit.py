"""Evo-ViT against its equations, one image and one patch at a time; its read-out, and the second head of training."""

import copy

import pytest
import timm
import torch
from torch import nn

from zoomexp.errors import InputError
from zoomexp.tokens.evo_vit import evo_vit

TOKEN = {
    "deit": {},
    "deit3": {"init_values": 0.1, "no_embed_class": True},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
}
HOSTS = TOKEN | {
    "average": {"global_pool": "avg"},
    "average, norm first": {"global_pool": "avg", "fc_norm": False},
    "average without class token": {"global_pool": "avg", "class_token": False},
}


class SlowFast(nn.Module):
    """One image: what happens before blocks and in them, and, in place of the last norm, in the end."""

    def __init__(self, vit, rate, locations, momentum, representative):
        super().__init__()
        self.prefix, self.has_class_token = vit.num_prefix_tokens, vit.has_class_token
        self.rate, self.locations, self.momentum, self.representative = rate, locations, momentum, representative
        self.attention, self.slow, self.others = {}, list(range(36)), {}

    def back(self, x):
        patches = {j: x[self.prefix + place] for place, j in enumerate(self.slow)}
        moved = x[-1] - self.start if self.others and self.representative else 0
        patches |= {j: other + moved for j, other in self.others.items()}
        self.slow, self.others = list(range(36)), {}
        return torch.stack([*x[: self.prefix], *(patches[j] for j in range(36))])

    def before(self, i, x, sizes):
        if i in self.locations:
            x = self.back(x)
            order = sorted(range(36), key=lambda j: -self.attention[j])
            left = int(36 * self.rate)
            self.slow, self.others = order[:left], {j: x[self.prefix + j] for j in order[left:]}
            along = []
            if self.representative:
                total = sum(self.attention[j] for j in self.others)
                self.start = sum(self.attention[j] / total * other for j, other in self.others.items())
                along = [self.start]
            x = torch.stack([*x[: self.prefix], *(x[self.prefix + j] for j in self.slow), *along])
        return x, torch.ones(len(x))

    def step(self, i, x, attention, k, v, sizes):
        rows = attention[:, 0] if self.has_class_token else attention[:, self.prefix :].mean(1)
        for place, j in enumerate(self.slow):
            new = rows.mean(0)[self.prefix + place]
            old = self.attention[j] if self.others else new
            self.attention[j] = self.momentum * old + (1 - self.momentum) * new
        return x

    def forward(self, x):
        self.last = self.back(x)
        return x


def by_equations(vit, plain, image, **options):
    """Logits of one image, and its class token before the last norm."""
    method, host = SlowFast(vit, **options), copy.copy(vit)
    host._modules = {**vit._modules, "norm": method}
    plain(host, image, method.step, method.before)
    if vit.global_pool == "avg":
        return vit.forward_head(vit.norm(method.last)[None])[0], method.last[0]
    return vit.head(vit.norm(method.last[vit.num_prefix_tokens :].mean(0))), method.last[0]


@pytest.mark.parametrize("representative", [False, True])
@pytest.mark.parametrize("name", HOSTS)
def test_logits_are_those_of_the_equations(small_vit, plain, six_images, name, representative):
    vit = small_vit(depth=5, **HOSTS[name])
    for block in vit.blocks:
        block.attn.qkv.weight.data *= 2  # sharper attention, so that other patches go on at the second location
    options = {"locations": [1, 3], "momentum": 0.25, "representative": representative}
    net = evo_vit(vit, image_size=48, keep_rate=0.75, **options)
    with torch.no_grad():
        expected = [by_equations(vit, plain, image, rate=0.75, **options) for image in six_images]
        logits, class_tokens = (torch.stack(part) for part in zip(*expected, strict=True))
        for mode in (True, False):
            torch.testing.assert_close(net.train(mode)(six_images), logits, rtol=1e-4, atol=1e-4)
            assert (net.auxiliary_logits is not None) == (mode and vit.has_class_token)
        if vit.has_class_token:
            net.train()(six_images)
            weight, actual = net.auxiliary_logits["class_token"]
            norm, head = net.method.class_head
            x = class_tokens - class_tokens.mean(1, keepdim=True)
            x = x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias
            torch.testing.assert_close(actual, x @ head.weight.T + head.bias, rtol=1e-4, atol=1e-4)
            assert weight == 1
    seen = vit.num_prefix_tokens + 27 + representative
    assert [set(lengths.tolist()) for lengths in net.tokens_per_block[1:]] == [{seen}] * 4
    assert net.lengths.tolist() == net.tokens_per_block[0].tolist() == [vit.num_prefix_tokens + 36] * 6
    assert (net.places == torch.arange(vit.num_prefix_tokens + 36)).all() and (net.sizes == 1).all()


@pytest.mark.parametrize("representative", [False, True])
def test_first_before_every_block_then_before_some(small_vit, plain, six_images, representative):
    """Epochs 0 and 1 of 3 choose before blocks 1 to 4, the last one and every test before 1 and 3, by the equations."""
    vit = small_vit(depth=5)
    for block in vit.blocks:
        block.attn.qkv.weight.data *= 2  # sharper attention, so that other patches go on each time
    options = {"momentum": 0.1, "representative": representative}
    net = evo_vit(vit, image_size=48, keep_rate=0.25, locations=[1, 3], schedule="layer_to_stage", **options)

    def expected(locations):
        found = [by_equations(vit, plain, image, rate=0.25, locations=locations, **options) for image in six_images]
        logits, class_tokens = (torch.stack(part) for part in zip(*found, strict=True))
        return logits, net.method.class_head(class_tokens)

    with torch.no_grad():
        by_layer, by_stage = expected([1, 2, 3, 4]), expected([1, 3])
        assert ((by_layer[0] - by_stage[0]).abs().amax(1) > 0.01).any()
        for epoch, wanted in ((None, by_stage), (0, by_layer), (1, by_layer), (2, by_stage)):
            if epoch is not None:
                net.method.begin_epoch(epoch, 3)
            said = net.train()(six_images), net.auxiliary_logits["class_token"][1]
            torch.testing.assert_close(said, wanted, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(net.eval()(six_images), by_stage[0], rtol=1e-4, atol=1e-4)


def test_the_first_two_thirds_of_the_epochs(small_vit):
    method = evo_vit(small_vit(), image_size=48, locations=[1], schedule="layer_to_stage").method
    for epochs, first in ((300, 200), (100, 66), (4, 2), (3, 2), (2, 1), (1, 0)):
        told = []
        for epoch in range(epochs):
            method.begin_epoch(epoch, epochs)
            told.append(method.layer_wise)
        assert told == [True] * first + [False] * (epochs - first)
    method = evo_vit(small_vit(), image_size=48, locations=[1]).method
    method.begin_epoch(0, 300)
    assert not method.layer_wise and not method.changes


def test_the_ranking_has_no_gradient_while_every_block_chooses(small_vit, six_images):
    net = evo_vit(small_vit(), image_size=48, locations=[1], schedule="layer_to_stage").train()
    net.method.begin_epoch(0, 3)
    net(six_images).sin().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.vit.blocks.parameters())
    assert net.method.class_head[1].weight.grad is None


def test_no_place_at_all_is_the_mean_of_the_patches(small_vit, six_images):
    vit = small_vit()
    logits = evo_vit(vit, image_size=48, keep_rate=1, locations=[1]).eval()(six_images)
    torch.testing.assert_close(evo_vit(vit, image_size=48, locations=[]).eval()(six_images), logits)


@pytest.mark.parametrize("name", TOKEN)
def test_with_all_patches_the_head_reads_their_mean(small_vit, six_images, name):
    vit, last = small_vit(**TOKEN[name]), []
    net = evo_vit(vit, image_size=48, keep_rate=1, locations=[1, 3]).eval()
    with torch.no_grad():
        hook = vit.norm.register_forward_pre_hook(lambda _, x: last.append(x[0]))
        vit(six_images)
        hook.remove()
        expected = vit.head(vit.norm(last[0][:, vit.num_prefix_tokens :].mean(1)))
        torch.testing.assert_close(net(six_images), expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_through_a_representative_is_that_of_finite_differences(small_vit, six_images):
    """Along a random direction of the weights whose attention weighs what it is made of."""
    net = evo_vit(small_vit(), image_size=48, locations=[1], representative=True).double().eval()
    images, weight = six_images[:2].double(), net.vit.blocks[0].attn.qkv.weight
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (slope,) = torch.autograd.grad(net(images).sin().sum(), weight)
    values = []
    with torch.no_grad():
        for step in (-1e-6, 2e-6):
            weight += step * direction
            values.append(net(images).sin().sum())
    torch.testing.assert_close((values[1] - values[0]) / 2e-6, (slope * direction).sum(), rtol=1e-6, atol=0)


def test_the_second_head_alone_trains_the_class_token(small_vit, six_images):
    """With representatives or without: the ranking has no gradient, and the mean of the patches no class token."""
    net = evo_vit(small_vit(depth=2), image_size=48, locations=[1], class_weight=0.5).train()
    logits = net(six_images)
    weight, further = net.auxiliary_logits["class_token"]
    head = [parameter for parameter in net.method.parameters()]
    assert weight == 0.5 and len(head) == 4
    assert all(g is None for g in torch.autograd.grad(logits.sum(), head, retain_graph=True, allow_unused=True))
    assert all(g.any() for g in torch.autograd.grad(further.sin().sum(), head))


def test_copies_start_without_logits(small_vit, six_images):
    net = evo_vit(small_vit(), image_size=48, locations=[1]).train()
    net(six_images)
    other = copy.deepcopy(net)
    assert net.auxiliary_logits is not None and other.auxiliary_logits is None
    assert other.state_dict().keys() == net.state_dict().keys()


def test_no_second_head(small_vit, six_images):
    for host, options in (({}, {"class_weight": 0}), (HOSTS["average without class token"], {})):
        net = evo_vit(small_vit(**host), image_size=48, locations=[1], **options).train()
        net(six_images)
        assert net.auxiliary_logits is None and not list(net.method.parameters())


@pytest.mark.parametrize(("options", "millions"), [({}, 22.44), ({"class_weight": 0}, 22.05)])
def test_parameters_on_deit_s_are_those_of_the_released_code(options, millions):
    with torch.device("meta"):
        net = evo_vit(timm.create_model("deit_small_patch16_224"), image_size=224, **options)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"locations": [2, 0]}, r"locations must leave out block 0, which no attention goes before, got \[0, 2\]"),
        ({"momentum": 1.5}, r"momentum=1\.5 must be a number in \[0, 1\]"),
        ({"schedule": "layer"}, r"schedule='layer' must be one of stage, layer_to_stage"),
        ({"class_weight": -1}, r"class_weight=-1 must be a finite number, at least 0"),
    ],
)
def test_arguments_that_are_refused(small_vit, options, message):
    with pytest.raises(InputError, match=rf"^tokens\.{message}$"):
        evo_vit(small_vit(), **({"image_size": 48, "locations": [1]} | options))
