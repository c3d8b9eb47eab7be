"""ATS against its sampling written out, one image at a time; lengths that differ by image."""

from itertools import accumulate

import pytest
import torch

from zoomexp.tokens.ats import ats, sampled

HOSTS = {"deit": {}, "average": {"global_pool": "avg", "class_token": False}}


def sampling(samples, locations, prefix, order, lengths):
    def step(i, x, attention, k, v, sizes):
        if i not in locations:
            return x
        row = (attention[:, 0] if prefix else attention.mean(1)).mean(0)
        significance = {j: float(row[j] * v[j].flatten().norm()) for j in range(prefix, len(x))}
        places = sorted(significance, key=significance.get) if order == "score" else list(significance)
        total = sum(significance.values())
        sums = dict(zip(places, accumulate(significance[j] / total for j in places), strict=True))
        points = [(2 * k - 1) / (2 * samples) for k in range(1, samples + 1)]
        chosen = {min(sums, key=lambda j: abs(sums[j] - point)) for point in points}
        lengths.append(prefix + len(chosen))
        return torch.stack([*x[:prefix], *(x[j] for j in sorted(chosen))])

    return step


@pytest.mark.parametrize("order", ["place", "score"])
@pytest.mark.parametrize("samples", [10, None])
@pytest.mark.parametrize("name", HOSTS)
def test_logits_and_lengths_are_those_of_the_equations(small_vit, plain, six_images, name, samples, order):
    vit, lengths = small_vit(**HOSTS[name]), []
    net = ats(vit, image_size=48, samples=samples, locations=[1, 2], order=order)
    with torch.no_grad():
        actual = net(six_images)
        step = sampling(samples or 36, (1, 2), vit.num_prefix_tokens, order, lengths)
        expected = [plain(vit, image, step) for image in six_images]
    assert net.lengths.tolist() == lengths[1::2]
    assert net.tokens_per_block[2].tolist() == lengths[::2]
    assert len(set(lengths)) > 1
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-4, atol=1e-4)


def test_filling_is_never_sampled():
    scores = torch.tensor([[0.25, 0.749, 0, 0], [0.1, 0.2, 0.3, 0.4]])  # the first sums to less than the last points
    picked = sampled(scores, torch.tensor([2, 4]), 100_000)
    assert picked.tolist() == [[True, True, False, False], [True] * 4]


def test_what_is_not_sampled_is_dropped(small_vit, six_images):
    net = ats(small_vit(), image_size=48, samples=12)
    net(six_images)
    assert torch.equal((net.places >= 0).sum(1), net.lengths) and torch.equal(net.sizes.sum(1), net.lengths)
    for places, length in zip(net.places, net.lengths.tolist(), strict=True):
        assert places[places >= 0].tolist() == list(range(length))  # in their order
