"""Attacks are those of another library bit for bit, stay in the ball, and do what theory says of a linear network."""

import pytest
import torch
from torch import nn

pytest.importorskip("captum", reason="needs captum")
from zoomexp.robustness import attacks
from zoomexp.robustness.attacks import fgsm, pgd, square
from zoomexp.robustness.pixels import Pixels
from zoomexp.robustness.survival import survival


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
                         nn.Linear(8 * 16, 3)).eval()  # fmt: skip


def images(count=40, seed=1):
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def attacked(name):
    """A network, images, the labels that it gives them, and the other library's attack of that name."""
    theirs = pytest.importorskip("torchattacks", reason="needs torchattacks (pip install --no-deps torchattacks)")
    net = network()
    return net, images(), net(images()).argmax(1), getattr(theirs, name)


def test_fgsm_is_torchattacks():
    net, pixels, labels, theirs = attacked("FGSM")
    assert torch.equal(fgsm(net, pixels, labels, 4 / 255), theirs(net, eps=4 / 255)(pixels, labels))


@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_is_torchattacks(steps):
    net, pixels, labels, theirs = attacked("PGD")
    expected = theirs(net, eps=4 / 255, alpha=2.5 * (4 / 255) / steps, steps=steps, random_start=False)(pixels, labels)
    assert torch.equal(pgd(net, pixels, labels, 4 / 255, steps, seed=None), expected)


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_from_a_random_start_is_torchattacks_on_the_same_draw(steps, seed):
    """The radius is a power of two, so that neither library rounds where it scales the numbers drawn."""
    net, pixels, labels, theirs = attacked("PGD")
    eps = 2.0**-6
    attack = theirs(net, eps=eps, alpha=2.5 * eps / steps, steps=steps, random_start=True)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        expected = attack(pixels, labels)
    found = pgd(net, pixels, labels, eps, steps, seed=seed)
    assert torch.equal(found, expected)
    assert not torch.equal(found, pgd(net, pixels, labels, eps, steps, seed=None))  # the start was not the image


def test_pgd_begins_anywhere_in_the_ball():
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 2)).eval()
    nn.init.zeros_(net[1].weight)  # no gradient, so the start is the end
    pixels = images().clamp(0.2, 0.8)
    one, same, other = (pgd(net, pixels, torch.zeros(40, dtype=torch.int64), 0.1, 3, seed) - pixels
                        for seed in (0, 0, 1))  # fmt: skip
    assert torch.equal(one, same) and not torch.equal(one, other)
    quartiles = one.flatten().quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    torch.testing.assert_close(quartiles, torch.tensor([-0.1, -0.05, 0.0, 0.05, 0.1]), atol=0.006, rtol=0)


def test_small_gradients_count_like_large_ones():
    """By captum's default the pixels of an image of which the network is sure would not move."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 2)).eval()
    with torch.no_grad():
        net[1].weight[:] = torch.tensor([[1e-7], [-1e-7]]).expand(2, 128)
    pixels = images(3).clamp(0.2, 0.8)
    torch.testing.assert_close(fgsm(net, pixels, torch.zeros(3, dtype=torch.int64), 0.1), pixels - 0.1)


@pytest.mark.parametrize("attack", [fgsm, lambda *given: pgd(*given, steps=5), lambda *given: square(*given[:3], 0.03)],
                         ids=["fgsm", "pgd", "square"])  # fmt: skip
def test_examples_are_near_pixels_and_nothing_else_is_drawn(attack):
    if attack is not fgsm:
        pytest.importorskip("pyautoattack", reason="needs pyautoattack")
    net, pixels = network(), images()
    labels, kept, state = net(pixels).argmax(1), pixels.clone(), torch.get_rng_state()
    examples = attack(net, pixels, labels, torch.full((40,), 0.03))
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(pixels, kept) and not pixels.requires_grad
    assert (examples - pixels).abs().amax() <= 0.03 + 1e-6
    assert examples.amin() >= 0 and examples.amax() <= 1
    assert not torch.equal(examples, pixels)
    assert torch.equal(examples, attack(net, pixels, labels, torch.full((40,), 0.03)))


def test_a_radius_for_each_image():
    net, pixels = network(), images(6)
    labels, radii = net(pixels).argmax(1), torch.tensor([0.01, 0.02, 0.03] * 2)
    for attack in (fgsm, lambda *given: pgd(*given, seed=None)):
        together = attack(net, pixels, labels, radii)
        alone = [attack(net, pixels[i : i + 1], labels[i : i + 1], radii[i].item()) for i in range(6)]
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)


def linear(seed=0):
    """A linear network of two classes, and images far enough from black and white."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 2)).eval()
    return Pixels(net, [0.5, 0.4], [0.25, 0.2]), images(60).clamp(0.3, 0.7)


def test_the_smallest_radius_of_a_linear_network():
    """Its logits' difference falls by eps times the L1 norm of its gradient, so eps = difference / norm flips it."""
    net, pixels = linear()
    labels = net(pixels).argmax(1).detach()
    labels[:5] = 1 - labels[:5]  # wrong without attack
    pixels.requires_grad_()
    difference = net(pixels)[:, 0] - net(pixels)[:, 1]
    norm = torch.autograd.grad(difference.sum(), pixels)[0].abs().flatten(1).sum(1)
    exact = (difference.abs() / norm).detach().double()
    exact[:5] = 0
    radii = [2**power / 255 for power in (-3, -1, 1, 3)]
    found = survival(net, pixels.detach(), labels, lambda *given: pgd(net, *given), radii, refine=3)
    for radius, right in found.right.items():
        assert torch.equal(right, exact > radius)
    bracketed = (exact > radii[0]) & (exact < radii[-1])
    ratio = found.flipped_at[bracketed] / exact[bracketed]
    assert bracketed.sum() > 20 and ratio.min() >= 0.999 and ratio.max() <= 4 ** (1 / 8) + 1e-3
    assert (found.flipped_at[:5] == 0).all()
    assert (found.flipped_at[exact > radii[-1]] == 2 * radii[-1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_pgd_is_never_weaker_than_fgsm(seed):
    net = Pixels(network(seed), [0.5, 0.5], [0.02, 0.02])
    pixels = images(200, seed)
    labels = net.says(pixels)
    radii = [eps / 255 for eps in (0.25, 0.5, 1, 2, 4, 8)]
    weak = survival(net, pixels, labels, lambda *given: fgsm(net, *given), radii)
    strong = survival(net, pixels, labels, lambda *given: pgd(net, *given), radii)
    left = [(int(strong.right[radius].sum()), int(weak.right[radius].sum())) for radius in radii]
    assert all(few <= many for few, many in left) and any(few < many for few, many in left), left
    assert left[0][0] > 150 and left[-1][0] < 100, left


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(attacks.importlib.util, "find_spec", lambda name: None)
    from zoomexp.callbacks.robustness import Robustness
    from zoomexp.errors import InputError

    with pytest.raises(InputError, match=r"^callbacks\.robustness: needs captum: pip install 'zoomexp\[robustness\]'$"):
        Robustness().check_run(None, None, None)
