"""ToMe against merging written out pair by pair, one image at a time."""

import pytest
import torch
from torch.nn import functional as F

from zoomexp.tokens.merging import match
from zoomexp.tokens.tome import tome

HOSTS = {
    "deit": {},
    "average": {"global_pool": "avg", "class_token": False},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
    "q/k norms": {"qk_norm": True, "init_values": 1e-6},
}


def pairs(keys, r, prefix):
    """The r closest pairs (i, j) of an even and an odd place, each i once."""
    edges = []
    for i in range(0, len(keys), 2):
        found = [(float(F.cosine_similarity(keys[i], keys[j], 0)), i, j) for j in range(1, len(keys), 2) if j >= prefix]
        if i >= prefix:
            edges.append(max(found))
    return [(i, j) for _, i, j in sorted(edges, reverse=True)[:r]]


def merging(r, prefix, proportional=True):
    counts = []

    def step(i, x, attention, k, v, sizes):
        sizes = counts[-1] if counts else sizes
        groups = {place: [place] for place in range(len(x))}
        for source, target in pairs(k.mean(1), min(r[i], (len(x) - prefix) // 2), prefix):
            groups[target] += groups.pop(source)
        order = sorted(groups, key=lambda place: (place >= prefix, place % 2 if place >= prefix else 0, place))
        members = [groups[place] for place in order]
        counts.append(torch.stack([sizes[group].sum() for group in members]))
        x = torch.stack([(x[g] * sizes[g, None]).sum(0) / sizes[g].sum() for g in members])
        return x, counts[-1] if proportional else torch.ones(len(x))

    return step


@pytest.mark.parametrize("name", HOSTS)
def test_logits_are_those_of_merging_pair_by_pair(small_vit, plain, six_images, name):
    vit = small_vit(**HOSTS[name])
    r = [5, 9, 30, 1]
    with torch.no_grad():
        actual = tome(vit, image_size=48, r=r)(six_images)
        expected = [plain(vit, image, merging(r, vit.num_prefix_tokens)) for image in six_images]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_without_proportional_attention(small_vit, plain, six_images):
    vit = small_vit()
    with torch.no_grad():
        actual = tome(vit, image_size=48, r=6, proportional=False)(six_images)
        expected = [plain(vit, image, merging([6] * 4, 1, proportional=False)) for image in six_images]
        torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(actual, tome(vit, image_size=48, r=6)(six_images), atol=1e-2)


def test_places_and_sizes_are_of_the_groups(small_vit, six_images):
    net = tome(small_vit(), image_size=48, r=12)
    net(six_images)
    assert [lengths.tolist() for lengths in net.tokens_per_block] == [[n] * 6 for n in (37, 25, 13, 7)]
    assert net.lengths.tolist() == [4] * 6
    for places, sizes in zip(net.places, net.sizes, strict=True):
        assert torch.equal(places.bincount(minlength=4), sizes)
        assert places[0] == 0 and sizes[0] == 1 and sizes.sum() == 37


@pytest.mark.parametrize(("prefix", "width"), [(0, 8), (0, 9), (1, 8), (1, 9), (2, 8), (2, 9), (3, 8), (3, 9)])
def test_the_match_is_a_partition_and_leaves_the_prefix_alone(prefix, width):
    keys = torch.randn(5, width, 4, generator=torch.Generator().manual_seed(1))
    keys[:, :prefix] = keys[:, prefix : prefix + 1]  # the prefix would be the closest
    found = match(keys, (width - prefix) // 2, prefix)
    for source, target, stay in zip(*found, strict=True):
        assert sorted([*source.tolist(), *stay.tolist()]) == list(range(width))
        assert stay[:prefix].tolist() == list(range(prefix)) and target.min() >= prefix
        assert (source % 2 == 0).all() and (target % 2 == 1).all()
