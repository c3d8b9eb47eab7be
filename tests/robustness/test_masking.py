"""The checks find what gradients do not: behind steps, behind gates that follow the image, by another network."""

import pytest
import torch
from torch import nn

pytest.importorskip("captum", reason="needs captum")
pytest.importorskip("pyautoattack", reason="needs pyautoattack")
from zoomexp.attention.attzoom import AttZoom
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.loupe import Loupe
from zoomexp.robustness.attacks import pgd
from zoomexp.robustness.masking import checks, held_masks, masks_of, missed
from zoomexp.robustness.pixels import Pixels
from zoomexp.robustness.survival import survival
from zoomexp.robustness.trial import Trial, scores, tried

TRIAL = Trial(eps=(1.0, 8.0), steps=5, restarts=1, refine=0, at=8.0, long_steps=10, queries=300, checked=50)


class Steps(nn.Module):
    """A linear network behind steps of 1 / 255: no gradient passes, and every pixel matters."""

    def __init__(self, seed, stepped):
        super().__init__()
        torch.manual_seed(seed)
        self.linear, self.stepped = nn.Linear(64, 2), stepped

    def forward(self, x):
        x = (x * 255).round() / 255 if self.stepped else x
        return self.linear(x.flatten(1))


def images(count=50):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(0.2, 0.8)


def test_steps_mask_gradients_and_the_checks_say_so():
    masked, plain = (Pixels(Steps(0, stepped).eval(), [0.0], [1.0]) for stepped in (True, False))
    labels = masked.says(images())
    found = tried(TRIAL, masked, plain, images(), labels)
    assert found["fgsm@8"].all()
    right = found["pgd5@8"]  # its random start alone flips a few
    assert right.sum() > 40
    open_to = masked.says(pgd(plain, images(), labels, 8 / 255, 5)) == labels
    assert 5 < (~open_to).sum() < 50
    torch.testing.assert_close(found["missed/transfer@8"], ~open_to & right)
    assert found["missed/square@8"].sum() > 5
    ways = [found[f"missed/{name}@8"] for name in ("fgsm", "pgd10", "square", "transfer")]
    assert torch.equal(found["missed@8"], torch.stack(ways).any(0)) and not ways[0].any()
    torch.testing.assert_close(found["transfer@8"], open_to)
    said = scores(TRIAL, found)
    assert said["clean"] == 100 and said["success@8"] == pytest.approx(100 - said["pgd5@8"])
    assert said["auc"] == pytest.approx((said["pgd5@1"] + said["pgd5@8"]) / 2)
    assert said["missed/transfer@8"] == pytest.approx(100 * ways[3].float().mean().item())


def test_nothing_is_missed_where_gradients_say_all():
    plain = Pixels(Steps(0, False).eval(), [0.0], [1.0])
    labels = plain.says(images())
    ways = checks(plain, 20, 40, 300, None)
    assert set(ways) == {"fgsm", "pgd40", "square"}
    right = survival(plain, images(), labels, ways["fgsm"], [4 / 255]).right[4 / 255]
    assert 5 < right.sum() < 50
    assert not any(flipped.any() for flipped in missed(plain, images(), labels, 4 / 255, right, ways).values())


@pytest.mark.parametrize("make", [lambda: Loupe(3), lambda: CBAM(3), lambda: AttZoom(3, keep_size=True)],
                         ids=["loupe", "cbam", "attzoom"])  # fmt: skip
def test_a_mask_that_is_held_is_a_constant(make):
    torch.manual_seed(0)
    module = make()
    net = nn.Sequential(nn.Conv2d(1, 3, 3), module, nn.Flatten(), nn.Linear(108, 2)).eval()
    before, after = images(4), images(8)[4:]
    net(after)
    free = module.map.detach()
    net(before)
    kept = module.map.detach().clone()
    assert not torch.equal(kept, free)
    with held_masks(net, before):
        held = net(after.requires_grad_())
        assert torch.equal(module.map, kept)
        gradient = torch.autograd.grad(held.sum(), after)[0]
    assert masks_of(net) == [module] and module.held is None
    net(after)
    assert torch.equal(module.map, free)
    if isinstance(module, Loupe):  # the same written out: the mask is a factor like any other
        features = net[0](after) * kept
        expected = net[3](net[2](features))
        torch.testing.assert_close(held, expected)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), after)[0])


def test_masks_are_held_for_one_of_the_checks():
    torch.manual_seed(0)
    net = Pixels(nn.Sequential(nn.Conv2d(1, 3, 3), Loupe(3), nn.Flatten(), nn.Linear(108, 2)).eval(), [0.0], [1.0])
    found = tried(TRIAL, net, None, images(), net.says(images()))
    assert "missed/frozen@8" in found and "transfer@8" not in found
    assert "missed/frozen@8" not in tried(TRIAL, Pixels(Steps(0, False), [0.0], [1.0]), None, images(),
                                          torch.zeros(50, dtype=torch.int64))  # fmt: skip


def test_what_is_missed_of_the_images_that_pgd_leaves_right():
    """Ten images, six of them checked: PGD leaves two of the six right, and a check flips one of the two."""
    right = torch.tensor([1, 0, 0, 1, 0, 0, 1, 1, 1, 1]).bool()
    found = {"clean": torch.ones(10).bool(), "eps": torch.ones(10), "pgd5@1": right, "pgd5@8": right,
             "missed@8": torch.tensor([0, 0, 0, 1, 0, 0]).bool()}  # fmt: skip
    said = scores(TRIAL, found)
    assert (said["missed@8"], said["missed_of_right@8"]) == (pytest.approx(100 / 6), 50)
    none = {"pgd5@8": torch.zeros(10).bool(), "missed@8": torch.zeros(6).bool()}
    assert "missed_of_right@8" not in scores(TRIAL, found | none)
    unchecked = {name: values for name, values in found.items() if name != "missed@8"}
    assert "missed_of_right@8" not in scores(TRIAL, unchecked)
