"""ToFu against dropping and norm-preserving merging written out, one image at a time."""

import pytest
import torch
from torch.nn import functional as F

from zoomexp.tokens.tofu import tofu


def stepping(r, prune_blocks):
    """The closest even places after the class token are dropped, or merged by MLERP, into their odd partners."""
    counts = []

    def step(i, x, attention, k, v, sizes):
        sizes = counts[-1] if counts else sizes
        keys, found = k.mean(1), []
        for a in range(2, len(x), 2):
            found.append(max((float(F.cosine_similarity(keys[a], keys[b], 0)), a, b) for b in range(1, len(x), 2)))
        best = sorted(found, reverse=True)[:r]
        groups = {place: [place] for place in range(len(x))}
        for _, a, b in best:
            gone = groups.pop(a)
            groups[b] += gone if i >= prune_blocks else []
        order = [0, *sorted(p for p in groups if p and p % 2 == 0), *sorted(p for p in groups if p % 2)]
        new = []
        for group in (groups[place] for place in order):
            mean = (x[group] * sizes[group, None]).sum(0) / sizes[group].sum()
            new.append(mean / mean.norm() * x[group].norm(dim=1).max())
        counts.append(torch.stack([sizes[groups[place]].sum() for place in order]))
        return torch.stack(new), counts[-1]

    return step


@pytest.mark.parametrize("prune_blocks", [0, 1, None, 4])
def test_logits_are_those_of_dropping_and_merging_pair_by_pair(small_vit, plain, six_images, prune_blocks):
    vit = small_vit()
    with torch.no_grad():
        actual = tofu(vit, image_size=48, r=7, prune_blocks=prune_blocks)(six_images)
        early = 2 if prune_blocks is None else prune_blocks
        expected = [plain(vit, image, stepping(7, early)) for image in six_images]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_what_is_dropped_early_is_in_no_token(small_vit, six_images):
    net = tofu(small_vit(), image_size=48, r=7, prune_blocks=1)
    net(six_images)
    assert ((net.places < 0).sum(1) == 7).all()
    assert (net.sizes.sum(1) == 30).all() and net.lengths.tolist() == [37 - 4 * 7] * 6
