"""PiToMe against its equations, token by token, one image at a time."""

import math

import pytest
import torch
from torch.nn import functional as F

from zoomexp.tokens.pitome import pairs_of_all, pairs_of_redundant, pitome

HOSTS = {
    "deit": {},
    "average": {"global_pool": "avg", "class_token": False},
    "registers": {"reg_tokens": 2, "no_embed_class": True},
    "q/k norms": {"qk_norm": True, "init_values": 1e-6},
}
PAPER = {"margin": 0.9, "bsm_blocks": "none", "proportional": True}
BSM_OF_FOUR = {"first": {0, 1}, "last": {2, 3}, "none": set(), "all": {0, 1, 2, 3}}


def by_energy(keys, margin):
    """Places, the highest energy first, and the similarity of two places."""
    similarity = [[float(F.cosine_similarity(a, b, 0)) for b in keys] for a in keys]
    energy = [sum(x if (x := s - margin) >= 0 else math.exp(x) - 1 for s in row) for row in similarity]
    return sorted(range(len(keys)), key=lambda i: -energy[i]), similarity


def pairs(keys, count, margin, of_all):
    """(source, target) of each pair."""
    order, similarity = by_energy(keys, margin)
    chosen = order if of_all else order[: 2 * count]
    edges = [max((similarity[i][j], i, j) for j in chosen[1::2]) for i in chosen[::2]]
    return [(i, j) for _, i, j in (sorted(edges, reverse=True)[:count] if of_all else edges)]


def merging(prefix, keep_rate, margin=0.75, bsm_blocks="first", proportional=False):
    counts = []

    def step(i, x, attention, k, v, sizes):
        sizes = counts[-1] if counts else sizes
        patches = len(x) - prefix
        count = math.floor(patches - patches * keep_rate)
        groups = {place: [place] for place in range(len(x))}
        keys = k.mean(1)[prefix:]
        for source, target in pairs(keys, count, margin * (1 - i / 4), i in BSM_OF_FOUR[bsm_blocks]):
            groups[target + prefix] += groups.pop(source + prefix)
        counts.append(torch.stack([sizes[group].sum() for group in groups.values()]))
        x = torch.stack([(x[g] * sizes[g, None]).sum(0) / sizes[g].sum() for g in groups.values()])
        return x, counts[-1] if proportional or (prefix == 0 and i == 3) else torch.ones(len(x))

    return step


@pytest.mark.parametrize("options", [{}, PAPER, {"bsm_blocks": "last"}, {"bsm_blocks": "all", "margin": 0.0}])
@pytest.mark.parametrize("name", HOSTS)
def test_logits_are_those_of_the_equations(small_vit, plain, six_images, name, options):
    vit = small_vit(**HOSTS[name])
    with torch.no_grad():
        actual = pitome(vit, image_size=48, keep_rate=0.8, **options)(six_images[:3])
        expected = [plain(vit, image, merging(vit.num_prefix_tokens, 0.8, **options)) for image in six_images[:3]]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_tokens_of_each_block(small_vit, six_images):
    net = pitome(small_vit(), image_size=48, keep_rate=0.9)
    net(six_images)
    counts = [36]
    for _ in range(4):
        counts.append(counts[-1] - math.floor(counts[-1] - counts[-1] * 0.9))
    assert [lengths.tolist() for lengths in net.tokens_per_block] == [[n + 1] * 6 for n in counts[:4]]
    assert net.lengths.tolist() == [counts[4] + 1] * 6


@pytest.mark.parametrize("pair", [pairs_of_all, pairs_of_redundant])
@pytest.mark.parametrize("count", [1, 4])
def test_the_match_is_a_partition(pair, count):
    found = pair(torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(1)), count, 0.5)
    for source, target, stay in zip(*found, strict=True):
        assert sorted([*source.tolist(), *stay.tolist()]) == list(range(9))
        assert len(source) == count and set(target.tolist()) <= set(stay.tolist())


def test_equal_energies_are_split_in_turn():
    keys = torch.eye(6)[None]
    found = pairs_of_redundant(keys, 2, 0.5)
    assert found.source.tolist() == [[0, 2]] and found.stay.tolist() == [[4, 5, 1, 3]]


def test_tokens_that_stand_alone_are_kept():
    """Three directions: five tokens of one, two of another, one of a third."""
    keys = torch.eye(3)[[0, 1, 0, 0, 2, 0, 1, 0]][None]
    assert pairs_of_redundant(keys, 2, 0.5).source.tolist() == [[0, 3]]  # of the five, and into their like
    assert set(pairs_of_redundant(keys, 2, 0.5).target[0].tolist()) <= {2, 5}
