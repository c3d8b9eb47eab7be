"""Relevance maps on timm's vision transformers: they run, leave the host as it was, and refuse what they cannot do."""

import pytest
import timm
import torch

from zoomexp.errors import InputError
from zoomexp.relevance.gradient import grad_attn
from zoomexp.relevance.lrp import lrp
from zoomexp.relevance.normalisation import min_max
from zoomexp.relevance.rollout import attention, rollout

METHODS = [lrp, grad_attn, rollout, attention]
HOSTS = {
    "deit": ("deit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "deit3": ("deit3_small_patch16_224", {}),
    "augreg": ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    "q/k norms": ("vit_tiny_patch16_224", {"qk_norm": True}),
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 2, "dynamic_img_size": True}),
}
TARGETS = torch.tensor([1, 2])


def make(host, **changes):
    torch.manual_seed(0)
    name, options = HOSTS[host]
    return timm.create_model(name, **({"img_size": 64, "depth": 2, "num_classes": 5} | options | changes))


def images(side=64):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("host", HOSTS)
def test_maps_of_a_host_that_stays_as_it_was(host, method):
    model = make(host)
    model.blocks[0].requires_grad_(False)
    model.blocks[1].eval()
    model.set_grad_checkpointing(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def settings():
        modules = list(model.modules())
        return [
            [p.requires_grad for p in model.parameters()],
            [m.training for m in modules],
            [getattr(m, "fused_attn", None) for m in modules],
            [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
            [p.grad is None for p in model.parameters()],
            model.grad_checkpointing,
        ]

    old = settings()
    with torch.no_grad():
        maps = method(model, images(), TARGETS)
    assert maps.shape == (2, 4, 4)
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert maps.amax((1, 2)).gt(0).all()
    assert settings() == old
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_host_is_put_back_after_an_error():
    model = make("deit")
    hook = model.head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lrp(model, images(), TARGETS)
    hook.remove()
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.blocks[-1].mlp(torch.zeros(1, 17, 192)).shape == (1, 17, 192)


@pytest.mark.parametrize("method", METHODS)
def test_under_bf16_autocast_and_inference_mode(method):
    model = make("deit").eval()
    for block in model.blocks:
        block.attn.qkv.weight.data *= 5  # away from the flat attention of small random weights
    exact = method(model, images(), TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        maps = method(model, images(), TARGETS)
    assert maps.dtype == torch.float32
    for one, other in zip(maps, exact, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.95
    with torch.inference_mode():
        assert torch.equal(method(model, images(), TARGETS), exact)


def test_a_dynamic_host_takes_any_square_of_patches():
    assert lrp(make("registers"), images(96), TARGETS).shape == (2, 6, 6)


def test_rollout_rows_sum_to_one_and_the_last_block_differs_from_the_mean():
    model = make("augreg", class_token=False)
    torch.testing.assert_close(rollout(model, images(), TARGETS).sum((1, 2)), torch.ones(2))
    last, mean = (attention(model, images(), TARGETS, blocks=blocks) for blocks in ("last", "mean"))
    torch.testing.assert_close(mean.sum((1, 2)), torch.ones(2))
    assert not torch.equal(last, mean)


def test_min_max_is_per_image():
    maps = min_max(torch.tensor([[[1.0, 2.0]], [[10.0, 30.0]], [[3.0, 3.0]]]))
    assert maps.flatten().tolist() == [0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": lambda: timm.create_model("resnet10t", num_classes=5)}, "ResNet has no attention maps; allowed: "),
        ({"images": torch.zeros(2, 3, 96, 96)}, "images must be 64 x 64 pixels .*16 x 16.*, got 96 x 96"),
        ({"images": torch.zeros(2, 3, 64)}, r"images must be \(B, 3, H, W\)"),
        ({"targets": torch.tensor([1])}, "targets must be 2 class numbers"),
        ({"targets": torch.tensor([1, 5])}, r"targets must lie in 0\.\.4, got 1\.\.5"),
        ({"model": lambda: make("deit", global_pool="max")}, "global_pool must be one of token, avg, got 'max'"),
    ],
)
def test_refusals(method, change, message):
    arguments = {"model": lambda: make("deit"), "images": images(), "targets": TARGETS} | change
    with pytest.raises(InputError, match=message) as error:
        method(arguments["model"](), arguments["images"], arguments["targets"])
    assert "\n" not in str(error.value)


def test_a_grid_that_is_not_square_is_refused():
    model = make("registers")
    with pytest.raises(InputError, match=r"squares of whole patches.*got 64 x 96"):
        grad_attn(model, torch.zeros(2, 3, 64, 96), TARGETS)


def test_lrp_refuses_what_it_has_no_rules_for():
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, mlp_layer=timm.layers.GluMlp)
    with pytest.raises(InputError, match="not for Block, Attention, GluMlp"):
        lrp(model, images(), TARGETS)
    assert grad_attn(model, images(), TARGETS).shape == (2, 4, 4)
    model = make("deit")
    model.inserted = torch.nn.ModuleDict({"norm": torch.nn.Identity()})
    with pytest.raises(InputError, match="no rules for inserted modules"):
        lrp(model, images(), TARGETS)
    with pytest.raises(InputError, match="blocks must be last or mean, got 'first'"):
        attention(make("deit"), images(), TARGETS, blocks="first")
