"""CAL against its equations written out with the same weights and draws, value by value, and what it stands on."""

import copy
from functools import partial

import pytest
import torch
from timm.data import Mixup
from torch import nn
from torch.nn import functional as F

from tests.heads.by_hand import crop_by_hand, large
from tests.tokens.stand_in import Accelerator, to_remote
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.loupe import Loupe
from zoomexp.backbones.from_timm import from_timm
from zoomexp.backbones.lv_vit import lv_vit
from zoomexp.backbones.resnet20 import resnet20
from zoomexp.backbones.start_weights import StartWeights, say_start_weights
from zoomexp.errors import InputError
from zoomexp.heads.cal import CAL
from zoomexp.insertion import attention_maps
from zoomexp.learning_rates import factors
from zoomexp.losses.bce import BCE
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.sparse_gate import SparseGate
from zoomexp.metrics.cost import macs, parameters
from zoomexp.model import build_model
from zoomexp.parts import part_parameters
from zoomexp.tasks.classification import Classifier
from zoomexp.tasks.localising import maps_of
from zoomexp.weights.checkpoint import load_weights

VIT = partial(from_timm, "vit_tiny_patch16_224", image_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
SWIN = partial(from_timm, "swin_tiny_patch4_window7_224", image_size=64, window_size=2, embed_dim=24,
               depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2))  # fmt: skip
SWIN_B = partial(from_timm, "swin_base_patch4_window7_224", image_size=224)
K, M, SIDE = 5, 4, 32
IMAGES = torch.randn(3, 1, SIDE, SIDE, dtype=torch.double, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([2, 4, 2])  # one class twice


def built(backbone=resnet20, size=SIDE, attention=None, at=None, **options):
    torch.manual_seed(0)
    head = partial(CAL, **{"maps": M, **options})
    return build_model(backbone, num_classes=K, in_chans=1, image_size=size, attention=attention, at=at, head=head)


def learnt(**options):
    """In double precision, with weights, statistics and centres that training might have left."""
    net = built(**options).double()
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    with torch.no_grad():
        for _ in range(30):
            net.train()(IMAGES + 0.3 * torch.randn_like(IMAGES))  # the batch norms' statistics
    net.centres.values.copy_(torch.randn_like(net.centres.values))
    return net


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def maps_by_hand(net, features, training):
    norm = net.head.norm
    z = torch.einsum("mc,bchw->bmhw", net.head.attend.weight[:, :, 0, 0], features)
    mean, variance = (value[:, None, None] for value in (norm.running_mean, norm.running_var))
    if training:
        mean = z.mean((0, 2, 3), keepdim=True)
        variance = (z - mean).square().mean((0, 2, 3), keepdim=True)
    z = (z - mean) / (variance + 0.001).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    return z.clamp(min=0)


def vectors_by_hand(features, maps):
    """The mean over positions of a map's value times a feature's, map after map; its signed root; length 1."""
    mean = torch.cat([(maps[:, m, None] * features).mean((2, 3)) for m in range(maps.shape[1])], 1)
    root = mean.sign() * (mean.abs() + 1e-6).sqrt()
    return root / root.square().sum(1, keepdim=True).sqrt()


def logits_by_hand(net, vectors):
    return 100 * vectors @ net.head.fc.weight.T


@pytest.mark.parametrize(("test", "share"), [("raw", 0.1), ("crop", 0.1), ("crop", 0.85)])
def test_logits_are_those_of_the_equations(test, share):
    net = learnt(**({} if (test, share) == ("crop", 0.1) else {"test": test, "test_threshold": share})).eval()
    host = copy.deepcopy(net.host)

    def said(images):
        features = host.forward_features(images)
        maps = maps_by_hand(net, features, training=False)
        return logits_by_hand(net, vectors_by_hand(features, maps)), maps.mean(1)

    with torch.no_grad():
        expected, mean = said(IMAGES)
        if test == "crop":
            parts = [crop_by_hand(one, own, share, 0.05) for one, own in zip(IMAGES, mean, strict=True)]
            changed = [not torch.equal(part, one) for part, one in zip(parts, IMAGES, strict=True)]
            assert all(changed) or share < 0.8
            expected = (expected + said(torch.stack(parts))[0]) / 2
        close(net(IMAGES), expected)
        close(net.scores, mean)
    assert net.auxiliary_logits is None and net.auxiliary_loss is None


@pytest.mark.parametrize("counterfactual", [True, False])
def test_the_loss_and_its_gradients_are_those_of_the_formula(counterfactual):
    """CE(p) / 3 + 2/3 CE(p of crop and drop) + CE(effects) + centres; without the effect WS-DAN's."""
    net = learnt(counterfactual=counterfactual).train()
    twin, centres = copy.deepcopy(net), net.centres.values.clone()
    task = classifier(net)
    torch.manual_seed(7)
    terms, _ = task.training_terms({"image": IMAGES, "label": LABELS}, 0.0)
    assert list(terms) == ["cross_entropy", "auxiliary", "augmented", *(["effect"] if counterfactual else [])]

    torch.manual_seed(7)
    features = twin.host.forward_features(IMAGES)
    maps = maps_by_hand(twin, features, training=True)
    weights = (maps.sum((2, 3)) + 1e-6).sqrt()
    first = (weights[:, None] / torch.empty(3, 2, M).exponential_()).argmax(2)  # which clock rings first
    shares = [0.4 + 0.2 * torch.rand(3), 0.2 + 0.3 * torch.rand(3)]
    crops, drops = [], []
    with torch.no_grad():
        for i, image in enumerate(IMAGES):
            to_crop, to_drop = maps[i, first[i, 0]], maps[i, first[i, 1]]
            crops.append(crop_by_hand(image, to_crop, shares[0][i], 0.1))
            drops.append(image * (large(to_drop, image) < shares[1][i] * to_drop.max()))
    seen = torch.stack([*crops, *drops])
    again = twin.host.forward_features(seen)
    found = maps_by_hand(twin, again, training=True)
    vectors = vectors_by_hand(features, maps)
    said, further = logits_by_hand(twin, vectors), logits_by_hand(twin, vectors_by_hand(again, found))
    doubled = torch.cat([LABELS, LABELS])
    expected = {"cross_entropy": F.cross_entropy(said, LABELS) / 3}
    near = centres[LABELS] / centres[LABELS].norm(dim=1, keepdim=True)
    expected["auxiliary"] = (vectors - near).square().sum() / 3
    expected["augmented"] = F.cross_entropy(further, doubled) * 2 / 3
    if counterfactual:
        other = [logits_by_hand(twin, vectors_by_hand(x, 2 * torch.rand(a.shape, dtype=a.dtype))) for x, a in
                 ((features, maps), (again, found))]  # fmt: skip
        effects = torch.cat([said - other[0], further - other[1]])
        expected["effect"] = F.cross_entropy(effects, torch.cat([LABELS, doubled]))
    for name, value in expected.items():
        close(terms[name], value)
    ours = torch.autograd.grad(sum(terms.values()), list(net.parameters()))
    theirs = torch.autograd.grad(sum(expected.values()), list(twin.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        close(one, other, 1e-7)
    for label, away in zip(LABELS, (vectors - near).detach(), strict=True):
        centres[label] += 0.05 * away
    close(net.centres.values, centres)


def classifier(net, loss=None, **options):
    given = {"scheduler": None, "num_classes": K, "seed": 0, **options}
    return Classifier(model=net, loss=loss or CrossEntropy(), optimizer=sgd, **given)


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("views", "weights"),
    [
        (["drop", "mix", "crop"], {"augmented": 1, "effect": 4 / 3}),
        (["mix"], {"augmented": 1 / 3, "effect": 2 / 3}),
        ([], {"effect": 1 / 3}),
    ],
)
def test_each_view_counts_a_third(views, weights):
    net = built(views=views).train()
    net(IMAGES.float())
    assert {name: weight for name, (weight, _) in net.auxiliary_logits.items()} == pytest.approx(weights)
    for name, (_, logits) in net.auxiliary_logits.items():
        assert logits.shape == (3, len(views) + (name == "effect"), K)


def test_nothing_is_left_to_train_without_views_and_effect():
    net = built(views=[], counterfactual=False).train()
    net(IMAGES.float())
    assert net.auxiliary_logits is None and net.auxiliary_loss is not None


def test_the_effect_of_the_same_maps_is_none():
    net = learnt().eval()
    with torch.no_grad():
        features = net.host.forward_features(IMAGES)
        maps = net.head.maps(features)
        logits = logits_by_hand(net, vectors_by_hand(features, maps))
        close(net.effect(logits, features, maps), torch.zeros(3, K, dtype=torch.double))
        averages = features.mean((2, 3)).repeat(1, M)
        root = averages.sign() * (averages.abs() + 1e-6).sqrt()
        plain = logits_by_hand(net, root / root.norm(dim=1, keepdim=True))
        close(net.effect(logits, features, torch.ones_like(maps)), logits - plain)


def test_only_the_loss_of_the_classes_is_weighed_and_only_in_training():
    net = built(attention=Loupe).train()
    task, batch = classifier(net, SparseGate(sparsity=0.5)), {"image": IMAGES.float(), "label": LABELS}
    logits = task.outputs(batch)
    mask = attention_maps(net)["layer2"]
    terms = task.losses(logits, LABELS, 0.0)
    close(terms["cross_entropy"], F.cross_entropy(logits, LABELS) / 3, 1e-6)
    assert mask.shape == (3, 1, 16, 16)  # of the images, not of their views
    close(terms["sparsity"], 0.5 * mask.mean(), 1e-6)
    task.eval()
    close(task.losses(logits, LABELS, 0.0)["cross_entropy"], F.cross_entropy(logits, LABELS), 1e-6)


def test_further_logits_have_the_loss_of_the_run():
    net = built().train()
    task, batch = classifier(net, BCE()), {"image": IMAGES.float(), "label": LABELS}
    terms, _ = task.training_terms(batch, 0.0)
    logits, shares = net.auxiliary_logits["augmented"][1], F.one_hot(LABELS, K).float()
    expected = F.binary_cross_entropy_with_logits(logits, shares[:, None].expand_as(logits))
    assert list(terms) == ["bce", "auxiliary", "augmented", "effect"]
    close(terms["augmented"], expected * 2 / 3, 1e-5)


@pytest.mark.parametrize("test", ["raw", "crop"])
def test_maps_are_of_the_images_as_they_are(test):
    net = built(attention=Loupe, test=test).eval()
    images = IMAGES.float()
    with torch.no_grad():
        net.host.forward_features(images)
        mask = attention_maps(net)["layer2"].clone()
        net(images)
    assert list(maps_of(net)) == ["layer2", "scores"]
    assert torch.equal(attention_maps(net)["layer2"], mask)
    assert maps_of(net)["scores"].shape == (3, 1, 8, 8) and (net.scores >= 0).all()


@pytest.mark.parametrize(
    ("backbone", "size", "channels", "cells"),
    [
        (resnet20, 32, 64, 8),
        (VIT, 32, 24, 4),
        (partial(VIT, global_pool="avg"), 32, 24, 4),
        (SWIN, 64, 192, 2),
        (partial(from_timm, "test_efficientnet"), 64, 256, 2),
    ],
    ids=["resnet20", "vit", "averaging vit", "swin", "efficientnet"],
)
def test_it_stands_on_every_kind_of_host(backbone, size, channels, cells):
    net, images = built(backbone, size, test="raw"), torch.randn(2, 1, size, size)
    assert net.head.attend.in_channels == channels
    net.train()(images).sum().backward()
    net.eval()
    with torch.no_grad():
        assert net(images).shape == (2, K) and net.scores.shape == (2, cells, cells)
        twin, own = copy.deepcopy(net), copy.deepcopy(net.host)
        features = own.forward_features(images)
        if features.dim() == 3:
            features = features[:, -cells * cells :].mT.reshape(2, channels, cells, cells)
        elif features.shape[1] != channels:
            features = features.movedim(3, 1)
        close(twin(images), logits_by_hand(net, vectors_by_hand(features, maps_by_hand(net, features, False))), 1e-3)


def test_what_no_logit_depends_on_is_not_trained():
    net = built(partial(from_timm, "test_convnext"), 64)
    net.train()(torch.randn(2, 1, 64, 64)).sum().backward()
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {"host.head.norm.weight", "host.head.norm.bias"}
    assert all((parameter.grad is None) == (name in frozen) for name, parameter in net.named_parameters())


def test_a_module_that_enlarges_the_grid():
    net = built(VIT, attention=AttZoom, at="last").eval()
    with torch.no_grad():
        assert net(IMAGES.float()).shape == (3, K) and net.scores.shape == (3, 8, 8)


def test_parameters_of_swin_b_with_200_classes():
    with torch.device("meta"):
        net = build_model(SWIN_B, num_classes=200, in_chans=3,
                          image_size=224, head=CAL)  # fmt: skip
        host = SWIN_B(num_classes=1, in_chans=3)
    own = sum(parameter.numel() for parameter in net.head.parameters())
    assert own == 1024 * 32 + 2 * 32 + 32 * 1024 * 200 == 6_586_432
    assert parameters(net)["params"] == parameters(host)["params"] - 1025 + own
    assert net.centres.values.shape == (200, 32 * 1024) and not list(net.centres.parameters())


def test_macs_count_both_looks():
    plain = build_model(resnet20, num_classes=K, in_chans=1, image_size=SIDE)
    image = torch.zeros(1, 1, SIDE, SIDE)
    look = macs(plain, image) - 64 * K + 64 * M * 64 + M * 64 * 64 + M * 64 * K  # maps, pooling, classes
    assert macs(built(test="raw"), image) == look and macs(built(test="crop"), image) == 2 * look


def test_centres_and_class_rows_are_new_for_other_classes(tmp_path):
    net = learnt().float()
    torch.save(
        {"state_dict": {f"model.{name}": value for name, value in net.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    same, other = built(), build_model(resnet20, num_classes=7, in_chans=1, image_size=SIDE, head=partial(CAL, maps=M))
    assert "centres.values" in same.state_dict()
    load_weights(same, tmp_path / "a.ckpt", K)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in same.state_dict().items())
    load_weights(other, tmp_path / "a.ckpt", 7)
    assert not other.centres.values.any() and torch.equal(other.head.attend.weight, net.head.attend.weight)
    renamed = built()
    load_weights(renamed, tmp_path / "a.ckpt", K, new_head=True)
    assert not renamed.centres.values.any() and torch.equal(renamed.head.attend.weight, net.head.attend.weight)


def test_the_whole_head_is_new():
    net = built(attention=Loupe)
    names = {name for name, _ in net.named_parameters()}
    head = {name for name in names if name.startswith("head.")}
    module = {name for name in names if "inserted" in name.split(".")}
    assert part_parameters(net, "head") == head and part_parameters(net, "module") == module
    rates = factors(net, layer_decay=None, head_factor=4.0, module_factor=2.0)
    assert {name for name, rate in rates.items() if rate == 4} == head
    assert {name for name, rate in rates.items() if rate == 2} == module


def test_weights_of_the_host_have_no_classes_for_it():
    def pretrained(**shape):
        host = resnet20(**shape)
        say_start_weights(host, StartWeights("somewhere", classifier=True))
        return host

    assert built(pretrained).start_weights == StartWeights("somewhere", classifier=False)


def test_copies_leave_behind_what_was_to_be_trained():
    net = built().train()
    net(IMAGES.float())
    twin = copy.deepcopy(net)
    assert twin.auxiliary_logits is None and twin.auxiliary_loss is None
    kept = net.auxiliary_logits
    with torch.no_grad():
        net(IMAGES[:1].float())
    assert kept is not None and net.auxiliary_logits is kept  # as of the forward that is trained
    net.eval()(IMAGES.float())
    assert net.auxiliary_logits is None and net.auxiliary_loss is None


@pytest.mark.parametrize("training", [True, False])
def test_it_never_waits_for_the_device(training):
    net = built(views=["crop", "drop", "mix"]).train(training).requires_grad_(False)
    far = copy.deepcopy(net)
    images, labels = to_remote(far, IMAGES.float(), LABELS)
    with Accelerator() as device:
        far(images)
        if training:
            far.auxiliary_loss(labels)
    assert device.waits == []


def test_steps_lower_the_loss():
    """Eight images of noise, four classes: all learnt by heart in a few steps, by the sum of all terms."""
    torch.manual_seed(0)
    net = built(maps=8).train()
    task, images = classifier(net), torch.randn(8, 1, SIDE, SIDE)
    batch = {"image": images, "label": torch.arange(8) % 4}
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        terms, _ = task.training_terms(batch, 0.0)
        losses.append(terms["cross_entropy"].item())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


class Nameless(nn.Module):
    """A loss of one's own that names no term."""

    def forward(self, logits, target, maps=None, epoch=0.0):
        return {"square": logits.square().mean()}


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: built(maps=0), r"^head\.maps=0 must be a whole number, at least 1$"),
        (lambda: built(counterfactual="no"), r"^head\.counterfactual='no' must be true or false$"),
        (lambda: built(views="crop"), r"^head\.views='crop' must be a list of crop, drop, mix, each at most once$"),
        (
            lambda: built(views=["zoom"]),
            r"^head\.views=\['zoom'\] must be a list of crop, drop, mix, each at most once$",
        ),
        (lambda: built(views=["drop", "drop"]), r"^head\.views=\['drop', 'drop'\] must be a list of crop, drop, mix"),
        (lambda: built(centre_rate=1.5), r"^head\.centre_rate=1\.5 must be a number in \[0, 1\]$"),
        (lambda: built(test="both"), r"^head\.test='both' must be one of crop, raw$"),
        (lambda: built(test_threshold=-1), r"^head\.test_threshold=-1 must be a number in \[0, 1\]$"),
        (lambda: built(test_padding=2), r"^head\.test_padding=2 must be a number in \[0, 1\]$"),
        (lambda: built(depth=3), r"^head\.depth: CAL has no such option; allowed: host, num_classes, example, maps, "),
        (
            lambda: build_model(VIT, num_classes=K, in_chans=1, image_size=32, head=CAL, tokens=lambda vit, **_: vit),
            r"^head: takes the place of a host's last layer; tokens=uniform detector=none decoder=none$",
        ),
        (
            lambda: built(lambda **_: nn.Flatten()),
            r"^head: Flatten gives no last features of images \(forward_features",
        ),
        (
            lambda: built(partial(lv_vit, image_size=32, embed_dim=24, depth=1)),
            r"^head: LVViT trains further logits of its patches; choose another backbone, or head=none$",
        ),
        (
            lambda: classifier(built(), mixing=partial(Mixup, mixup_alpha=1.0)),
            r"^mixing: head=cal keeps a centre for each class, and mixed images have two; mixing=none$",
        ),
        (
            lambda: classifier(built(), Nameless()),
            r"^loss=Nameless: the model weighs its classes' term, and none is named$",
        ),
    ],
)
def test_refusals(act, said):
    with pytest.raises(InputError, match=said):
        act()


def test_a_host_whose_features_are_no_map():
    class Flat(nn.Module):
        num_features = 16

        def __init__(self, num_classes, in_chans):
            super().__init__()
            self.fc = nn.Linear(16, num_classes)

        def forward_features(self, images):
            return images.flatten(1)[:, :16]

        def get_classifier(self):
            return self.fc

    with pytest.raises(InputError, match=r"^head: the last features of Flat are no map: "):
        built(Flat)
