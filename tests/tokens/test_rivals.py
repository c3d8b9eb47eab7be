"""What every token-reduction method of configs/tokens keeps to, found by its file."""

import inspect
from pathlib import Path

import pytest
import timm
import torch
import yaml
from hydra.utils import get_object
from timm.models import VisionTransformer
from timm.models.deit import VisionTransformerDistilled
from torch import nn

from tests.tokens.hosts import close
from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs
from zoomexp.model import build_model
from zoomexp.tokens.reduced import ReducedViT

FILES = sorted((Path(__file__).parents[2] / "configs" / "tokens").glob("*.yaml"))
NEUTRAL = {  # the arguments with which nothing is reduced
    "a_vit": {"gate_center": 1e9},
    "ats": {"samples": 100_000},
    "diffrate": {"prune": 0, "merge": 0},
    "dynamicvit": {"keep_rate": 1},
    "evit": {"keep_rate": 1},
    "evo_vit": {"keep_rate": 1},
    "ia_red2": {"threshold": 0},
    "pitome": {"keep_rate": 1},
    "random": {"keep_rate": 1.0},
    "spvit": {"keep_rate": 1, "select": "rate"},
    "tofu": {"r": 0},
    "tome": {"r": 0},
    "topk": {"keep_rate": 1},
}
SOME = {  # with which a host of 4 blocks on 36 patches is reduced
    "a_vit": {"gate_scale": 0.4, "gate_center": 2.0, "target_depth": 2.5},
    "ats": {"samples": 20, "locations": [1, 2]},
    "diffrate": {"prune": 3, "merge": 4},
    "dynamicvit": {"keep_rate": 0.6, "locations": [1, 3]},
    "evit": {"keep_rate": 0.6, "locations": [1, 3]},
    "evo_vit": {"keep_rate": 0.6, "locations": [1, 3]},
    "ia_red2": {"threshold": 0.88, "locations": [1, 3]},
    "pitome": {"keep_rate": 0.8},
    "random": {"keep_rate": 0.6, "locations": [1, 3]},
    "spvit": {"locations": [1, 3]},
    "tofu": {"r": 6},
    "tome": {"r": 6},
    "topk": {"keep_rate": 0.6, "locations": [1, 3]},
}
COME_BACK = {"a_vit", "evo_vit"}  # methods whose tokens leave the blocks, and are all there in the end
LEARNT = {"dynamicvit", "evo_vit", "ia_red2", "spvit"}  # methods with parameters of their own
MEAN_OF_PATCHES = {"evo_vit"}  # methods whose head reads it, on hosts that read the class token too
HOSTS = {
    "deit": {},
    "deit3": {"init_values": 1e-6, "no_embed_class": True},
    "augreg": {"qkv_bias": True, "fc_norm": False},
    "q/k norms": {"qk_norm": True},
    "average": {"global_pool": "avg", "class_token": False},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
}


def methods():
    """Functions to a `ReducedViT`, by the file that names them."""
    functions = {
        path.stem: get_object(yaml.safe_load(path.read_text()).get("_target_", "builtins.dict")) for path in FILES
    }
    found = {}
    for name, function in functions.items():
        returned = None if inspect.isclass(function) else inspect.signature(function).return_annotation
        if returned is ReducedViT:
            found[name] = function
    return found


METHODS = methods()


@pytest.fixture(autouse=True)
def the_same_learnt_parameters():
    torch.manual_seed(0)


def test_all_methods_are_found():
    assert set(METHODS) == set(NEUTRAL) == set(SOME)
    assert all(function.__name__ == name for name, function in METHODS.items())


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", METHODS)
def test_reducing_nothing_is_the_plain_forward(small_vit, six_images, name, host):
    vit = small_vit(depth=10, **HOSTS[host])
    if name in MEAN_OF_PATCHES and vit.global_pool == "token":
        pytest.skip("has another read-out, see its own test")
    net = METHODS[name](vit, image_size=48, **NEUTRAL[name]).eval()
    with torch.no_grad():
        close(net(six_images), vit(six_images))
    assert (net.sizes == 1).all() and len(net.tokens_per_block) == 10


@pytest.mark.parametrize("name", METHODS)
def test_both_tokens_of_a_distilled_host_stay(small_vit, six_images, name):
    vit = small_vit(kind=VisionTransformerDistilled)
    net = METHODS[name](vit, image_size=48, **SOME[name]).eval()
    assert net(six_images).shape == (6, 7)
    assert (net.places[:, :2] == torch.arange(2)).all() and (net.sizes[:, :2] == 1).all()


@pytest.mark.parametrize("host", ["deit", "average"])
@pytest.mark.parametrize("name", METHODS)
def test_an_images_logits_do_not_depend_on_its_batch_mates(small_vit, six_images, name, host):
    net = METHODS[name](small_vit(**HOSTS[host]), image_size=48, **SOME[name]).eval()
    with torch.no_grad():
        together = net(six_images)
        alone = torch.cat([net(image[None]) for image in six_images])
    close(together, alone)


@pytest.mark.parametrize("host", ["deit", "average", "registers"])
@pytest.mark.parametrize("name", METHODS)
def test_every_token_is_dropped_or_in_one_place(small_vit, six_images, name, host):
    vit = small_vit(**HOSTS[host])
    net = METHODS[name](vit, image_size=48, **SOME[name]).eval()
    net(six_images)
    first, prefix = 36 + vit.num_prefix_tokens, vit.num_prefix_tokens
    assert net.tokens_per_block[0].tolist() == [first] * 6
    blocks = torch.stack([*net.tokens_per_block, *[net.lengths] * (name not in COME_BACK)])
    assert (blocks.diff(dim=0) <= 0).all() and (blocks[-1] < first).all()
    assert net.places.shape == (6, first)
    for places, sizes, length in zip(net.places, net.sizes, net.lengths.tolist(), strict=True):
        assert places[:prefix].tolist() == list(range(prefix))
        assert sorted(set(places[places >= 0].tolist())) == list(range(length))
        assert sizes.sum() + (places < 0).sum() == first
        assert sizes[:prefix].tolist() == [1] * prefix and not sizes[length:].any()


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_every_parameter_and_checkpointing_changes_nothing(small_vit, six_images, name):
    gradients = []
    for checkpointing in (False, True):
        vit = small_vit(init_values=1e-6)
        vit.set_grad_checkpointing(checkpointing)
        torch.manual_seed(3)
        net = METHODS[name](vit, image_size=48, **SOME[name]).train()
        logits = [net(six_images), *(logits for _, logits in (net.auxiliary_logits or {}).values())]
        loss = torch.cat(logits).sin().sum()
        if callable(net.auxiliary_loss):  # learns by labels alone: here those it finds
            loss = loss + net.auxiliary_loss(logits[0].argmax(1))
        loss.backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(gradient is not None and gradient.any() for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_is_that_of_finite_differences(small_vit, six_images, name):
    """Along a random direction of the first block's weights; small steps change no choice of tokens."""
    net = METHODS[name](small_vit(), image_size=48, **SOME[name]).double().eval()
    images, weight = six_images[:2].double(), net.vit.blocks[0].attn.qkv.weight
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (slope,) = torch.autograd.grad(net(images).sin().sum(), weight)
    values = []
    for step in (-1e-6, 1e-6):
        with torch.no_grad():
            weight += step * direction
            values.append(net(images).sin().sum())
            weight -= step * direction
    close((values[1] - values[0]) / 2e-6, (slope * direction).sum(), 1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_bf16_and_copies(small_vit, bf16_and_copies, name):
    bf16_and_copies(METHODS[name](small_vit(), image_size=48, **SOME[name]).eval())


@pytest.mark.parametrize("name", METHODS)
def test_images_of_another_size_than_the_hosts(small_vit, name):
    net = METHODS[name](small_vit(), image_size=64, **SOME[name]).eval()
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    assert net.tokens_per_block[0].tolist() == [65, 65] and net.places.shape == (2, 65)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_is_built_from_the_file(name):
    options = yaml.safe_load((FILES[0].parent / f"{name}.yaml").read_text())
    options = {key: value for key, value in options.items() if not key.startswith(("_", "defaults"))} | {"seed": 0}
    known = inspect.signature(METHODS[name]).parameters
    assert set(options) - {"seed"} <= set(known)
    defaults = {key: list(p.default) if isinstance(p.default, tuple) else p.default for key, p in known.items()}
    assert all(options[key] == defaults[key] for key in options if key in known)
    net = build_model(
        lambda **shape: VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=12, num_heads=3, **shape),
        num_classes=3,
        in_chans=1,
        image_size=32,
        tokens=lambda vit, image_size: METHODS[name](vit, image_size=image_size),
    )
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 3) and net.inputs == ("image",)
    learnt = {key for key in net.state_dict() if key.startswith("method.")}
    assert set(net.state_dict()) - learnt == {f"vit.{key}" for key in net.vit.state_dict()}
    assert bool(learnt) == (name in LEARNT)


@pytest.fixture(scope="module")
def deit_s():
    return timm.create_model("deit_small_patch16_224", pretrained=False).eval()


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("tome", {"r": 8}, 3.428),
        ("tome", {"r": 13}, 2.712),
        ("tome", {"r": 16}, 2.298),
        ("tofu", {"r": 13}, 2.712),
        ("evit", {"keep_rate": 0.9}, 4.030),
        ("evit", {"keep_rate": 0.7}, 3.036),
        ("evit", {"keep_rate": 0.5}, 2.314),
        ("topk", {"keep_rate": 0.7}, 2.986),
        ("dynamicvit", {"keep_rate": 0.7}, 2.988),
        ("evo_vit", {"keep_rate": 0.5}, 3.04),
    ],
)
def test_multiply_accumulates_on_deit_s_are_those_of_the_released_code(deit_s, name, options, published):
    net = METHODS[name](deit_s, image_size=224, **options).eval()
    assert macs(net, torch.zeros(1, 3, 224, 224)) / 1e9 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("name", METHODS)
def test_hosts_that_are_refused(name):
    with pytest.raises(
        InputError, match=r"^tokens: the backbone must be a VisionTransformer of timm \(deit, deit3, vit\), got Linear$"
    ):
        METHODS[name](nn.Linear(2, 2), image_size=48)
