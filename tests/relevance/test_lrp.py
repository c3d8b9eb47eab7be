"""LRP on a whole model against a plain implementation: one image at a time, the published rules one after the other."""

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch.nn import functional as F

from zoomexp.relevance.gradient import grad_attn
from zoomexp.relevance.lrp import lrp

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 3, "num_classes": 5}


def divide(a, b):
    """A safe division with 1e-9, as published."""
    return torch.where(b == 0, torch.zeros_like(b), a / (b + 1e-9))


def through_linear(r, x, weight):
    positive = (x[:, None] * weight).clamp(min=0)  # (N, out, in)
    return (positive * divide(r, positive.sum(2))[:, :, None]).sum(1)


def through_add(r, a, b):
    a_part, b_part = a * divide(r, a + b), b * divide(r, a + b)
    sizes = abs(a_part.sum()) + abs(b_part.sum())
    return tuple(part * (abs(part.sum()) / sizes * r.sum() / part.sum()) for part in (a_part, b_part))


def through_clone(x, *parts):
    return x * sum(divide(part, x) for part in parts)


def through_product(r, left, right):
    share = divide(r, left @ right)
    return left * (share @ right.mT) / 2, right * (left.mT @ share) / 2


def scale(block, name):
    layer = getattr(block, name)
    return layer.gamma if hasattr(layer, "gamma") else 1.0


def plain_block(block, x):
    """The block's forward, and what each step received."""
    attn, n = block.attn, len(x)
    normed = block.norm1(x)
    q, k, v = attn.qkv(normed).reshape(n, 3, attn.num_heads, attn.head_dim).permute(1, 2, 0, 3)
    q, k = attn.q_norm(q), attn.k_norm(k)
    weights = (q @ k.mT * attn.scale).softmax(-1)
    weights.retain_grad()
    mixed = (weights @ v).transpose(0, 1).reshape(n, -1)
    first = attn.proj(mixed) * scale(block, "ls1")
    middle = x + first
    normed2 = block.norm2(middle)
    hidden = F.gelu(block.mlp.fc1(normed2))
    second = block.mlp.fc2(hidden) * scale(block, "ls2")
    kept = (x, normed, q, k, v, weights, mixed, first, middle, normed2, hidden, second)
    return middle + second, kept


def plain_back(block, kept, r):
    """Relevance of the block's output to that of its softmax map and its input."""
    x, normed, q, k, v, weights, mixed, first, middle, normed2, hidden, second = kept
    attn = block.attn
    direct, branch = through_add(r, middle, second)
    branch = through_linear(through_linear(branch, hidden, block.mlp.fc2.weight), normed2, block.mlp.fc1.weight)
    r = through_clone(middle, direct, branch)
    direct, branch = through_add(r, x, first)
    branch = through_linear(branch, mixed, attn.proj.weight)
    branch = branch.reshape(len(x), attn.num_heads, attn.head_dim).transpose(0, 1)
    of_weights, of_v = through_product(branch, weights, v)
    of_q, of_k = through_product(of_weights, q, k.mT)
    stacked = torch.stack([of_q, of_k.mT, of_v]).permute(2, 0, 1, 3).reshape(len(x), -1)
    return of_weights, through_clone(x, direct, through_linear(stacked, normed, attn.qkv.weight))


def plain_map(model, image, target):
    """One image's map: matrices multiplied in full."""
    x = model._pos_embed(model.patch_embed(image[None]))[0]
    records = []
    for block in model.blocks:
        x, kept = plain_block(block, x)
        records.append(kept)
    if model.global_pool == "avg":
        tokens = x[1:] if model.has_class_token else x
        pooled = model.fc_norm(tokens.mean(0))
    else:
        pooled = model.norm(x)[0]
    model.head(pooled)[target].backward()
    with torch.no_grad():
        r = F.one_hot(torch.tensor([target]), model.num_classes).to(x.dtype)
        r_pooled = through_linear(r, pooled[None], model.head.weight)
        r = torch.zeros_like(x)
        if model.global_pool == "avg":
            r[-len(tokens) :] = tokens * divide(r_pooled, tokens.sum(0, keepdim=True))
        else:
            r[0] = r_pooled
        product = torch.eye(len(x), dtype=x.dtype)
        for block, kept in zip(reversed(model.blocks), reversed(records), strict=True):
            of_weights, r = plain_back(block, kept, r)
            weights = kept[5]
            matrix = torch.eye(len(x), dtype=x.dtype) + (weights.grad * of_weights).clamp(min=0).mean(0)
            product = product @ matrix  # the last block ends leftmost
    row = product[-len(tokens) :].mean(0) if model.global_pool == "avg" else product[0]
    return row[model.num_prefix_tokens :].reshape(4, 4)


def tiny(**changes):
    torch.manual_seed(0)
    model = VisionTransformer(**(TINY | changes)).double()
    for parameter in model.parameters():  # larger than at initialisation, so that nothing is nearly linear
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


VARIANTS = {
    "class token": {},
    "layer scale": {"init_values": 0.5, "no_embed_class": True},
    "q/k norms": {"qk_norm": True, "qkv_bias": False},
    "average": {"global_pool": "avg"},
    "average without class token": {"global_pool": "avg", "class_token": False},
    "one block": {"depth": 1},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_equals_the_plain_implementation(name):
    model = tiny(**VARIANTS[name])
    images, targets = torch.randn(3, 3, 32, 32).double(), torch.tensor([0, 4, 2])
    maps = lrp(model, images, targets)
    for i in range(3):
        expected = plain_map(model, images[i], int(targets[i]))
        torch.testing.assert_close(maps[i], expected, rtol=1e-5, atol=1e-7 * float(expected.max()))


@pytest.mark.parametrize("method", [lrp, grad_attn])
@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_a_batch_equals_single_calls(method, name):
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=96, depth=3, num_classes=10).eval()
    images, targets = torch.randn(3, 3, 96, 96), torch.tensor([1, 7, 7])
    together = method(model, images, targets)
    alone = torch.cat([method(model, images[i : i + 1], targets[i : i + 1]) for i in range(3)])
    assert ((together - alone).abs().amax((1, 2)) <= 1e-6 * alone.amax((1, 2))).all()
    assert together.min() >= 0
    assert together.amax((1, 2)).min() > 0


@pytest.mark.parametrize("method", [lrp, grad_attn])
def test_the_map_depends_on_the_class(method):
    model, image = tiny(), torch.randn(1, 3, 32, 32).double()
    first, second = method(model, image.repeat(2, 1, 1, 1), torch.tensor([0, 1]))
    assert (first - second).abs().max() > 0.1 * first.max()


def test_grad_attn_is_its_equation():
    model, image = tiny(), torch.randn(1, 3, 32, 32).double()
    x, product, kept = model._pos_embed(model.patch_embed(image))[0], torch.eye(17).double(), []
    for block in model.blocks:
        x, values = plain_block(block, x)
        kept.append(values[5])
    model.head(model.norm(x)[0])[3].backward()
    for weights in kept:
        product = (torch.eye(17) + (weights.grad * weights.detach()).clamp(min=0).mean(0)) @ product
    expected = product[0, 1:].reshape(4, 4)
    torch.testing.assert_close(grad_attn(model, image, torch.tensor([3]))[0], expected)
