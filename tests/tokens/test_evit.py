"""EViT and top-k against their equations, one image at a time."""

import math

import pytest
import torch

from zoomexp.tokens.evit import evit
from zoomexp.tokens.topk import topk

HOSTS = {
    "deit": {},
    "average": {"global_pool": "avg", "class_token": False},
    "average with registers": {"global_pool": "avg", "class_token": False, "reg_tokens": 2, "no_embed_class": True},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
}


def keeping(rate, locations, prefix, has_class_token, fuse):
    def step(i, x, attention, k, v, sizes):
        rows = attention[:, 0] if has_class_token else attention[:, prefix:].mean(1)
        scores = rows.mean(0)
        order = sorted(range(prefix, len(x)), key=lambda j: -scores[j])
        left = math.ceil(rate * len(order))
        if i not in locations or left == len(order):
            return x
        kept = torch.stack([*x[:prefix], *(x[j] for j in order[:left])])
        fused = sum(scores[j] * x[j] for j in order[left:])
        return torch.cat([kept, fused[None]]) if fuse else kept

    return step


@pytest.mark.parametrize(("method", "fuse"), [(evit, True), (topk, False)])
@pytest.mark.parametrize("name", HOSTS)
def test_logits_are_those_of_the_equations(small_vit, plain, six_images, method, fuse, name):
    vit = small_vit(**HOSTS[name])
    step = keeping(0.6, (0, 2, 3), vit.num_prefix_tokens, vit.has_class_token, fuse)
    net = method(vit, image_size=48, keep_rate=0.6, locations=[0, 2, 3])
    with torch.no_grad():
        torch.testing.assert_close(
            net(six_images), torch.stack([plain(vit, image, step) for image in six_images]), rtol=1e-4, atol=1e-4
        )


def test_evit_counts_what_it_fuses(small_vit, six_images):
    net = evit(small_vit(), image_size=48, keep_rate=0.5, locations=[1, 2])
    net(six_images)
    assert [int(lengths[0]) for lengths in net.tokens_per_block] == [37, 37, 1 + 18 + 1, 1 + 10 + 1]
    assert (net.sizes.sum(1) == 37).all() and (net.places >= 0).all()
    others = net.sizes[:, -1]  # the second fused token; the first one is in it, or among the kept
    assert ((others >= 9) & (net.sizes[:, :-1] == 1).sum(1).ge(10)).all()


def test_topk_keeps_patches_as_they_are(small_vit, six_images):
    net = topk(small_vit(), image_size=48, keep_rate=0.5, locations=[1, 2])
    net(six_images)
    assert net.lengths.tolist() == [10] * 6 and (net.sizes == 1).all()
    assert ((net.places >= 0).sum(1) == 10).all() and (net.places[:, 0] == 0).all()
