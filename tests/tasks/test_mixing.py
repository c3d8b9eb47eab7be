"""Mixed training batches against the equations."""

from functools import partial

import numpy as np
import pytest
import torch
from timm.data import Mixup
from torch.nn import functional as F

from zoomexp.errors import InputError
from zoomexp.tasks.mixing import Mixing

CLASSES = 5
IMAGES = torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 4])


def mixed(seed=0, images=IMAGES, **options):
    np.random.seed(seed)
    return Mixing(partial(Mixup, **options), CLASSES)(images, LABELS[: len(images)])


def targets_at(own, smoothing):
    """`own` of the weight on an image's own label, the rest on its partner's, both smoothed over all classes."""
    hot = F.one_hot(LABELS, CLASSES) * (1 - smoothing) + smoothing / CLASSES
    return own * hot + (1 - own) * hot.flip(0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixup_is_a_weighted_mean_of_partners(smoothing):
    weights = []
    for seed in range(20):
        images, targets = mixed(seed, mixup_alpha=0.8, label_smoothing=smoothing)
        own = float((targets[1, 1] - smoothing / CLASSES) / (1 - smoothing))  # labels 1 and 4: a weight of its own
        torch.testing.assert_close(images, own * IMAGES + (1 - own) * IMAGES.flip(0))
        torch.testing.assert_close(targets, targets_at(own, smoothing))
        weights.append(own)
    assert min(weights) < 0.3 and max(weights) > 0.7


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cutmix_puts_in_a_rectangle_of_the_partner_and_its_share_of_the_label(smoothing):
    areas = set()
    for seed in range(20):
        images, targets = mixed(seed, mixup_alpha=0.0, cutmix_alpha=1.0, label_smoothing=smoothing)
        rows, columns = torch.where((images != IMAGES).all(1).all(0))
        expected, area = IMAGES.clone(), len(rows)
        if area:
            window = (..., slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
            expected[window] = IMAGES.flip(0)[window]
        assert torch.equal(images, expected)
        torch.testing.assert_close(targets, targets_at(1 - area / 120, smoothing))
        areas.add(area)
    assert len(areas) > 10


def test_the_shares_of_both_and_of_neither():
    kinds = []
    for seed in range(200):
        images, _ = mixed(seed, mixup_alpha=0.8, cutmix_alpha=1.0, prob=0.5, switch_prob=0.25)
        same = (images == IMAGES).float().mean()
        kinds.append("plain" if same == 1 else "mixup" if same == 0 else "cutmix")
    shares = {kind: kinds.count(kind) / 200 for kind in ("plain", "mixup", "cutmix")}
    assert shares == pytest.approx({"plain": 0.5, "mixup": 0.375, "cutmix": 0.125}, abs=0.1)


def test_the_data_sets_own_images_stay_as_they_are():
    before = IMAGES.clone()
    assert not torch.equal(mixed(mixup_alpha=0.8)[0], before)
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup_alpha": -1}, r"mixing\.mixup_alpha must be at least 0, got -1"),
        ({"mixup_alpha": float("nan")}, r"mixing\.mixup_alpha must be at least 0, got nan"),
        ({"cutmix_alpha": "large"}, r"mixing\.cutmix_alpha must be at least 0, got large"),
        ({"mixup_alpha": 0, "cutmix_alpha": 0}, r"mixing\.mixup_alpha or mixing\.cutmix_alpha must be above 0"),
        ({"prob": 1.1}, r"mixing\.prob must be in \[0, 1\], got 1\.1"),
        ({"switch_prob": -0.1}, r"mixing\.switch_prob must be in \[0, 1\], got -0\.1"),
        ({"label_smoothing": 1}, r"mixing\.label_smoothing must be in \[0, 1\), got 1"),
        (
            {"images": IMAGES[:5]},
            r"dataset\.batch_size: mixing needs an even number of images a batch, the last too, got 5",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        mixed(**options)
