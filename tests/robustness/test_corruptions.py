"""Every image, kind and severity has its own draw; the scores are means over what the authors list."""

import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("imagecorruptions", reason="needs imagecorruptions-imaug, numba and scikit-image")
from zoomexp.callbacks.corruptions import EVERY, Corruptions
from zoomexp.errors import InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.metrics.declared import declaration
from zoomexp.robustness import corruptions
from zoomexp.robustness.corruptions import ALEXNET, GROUPS, KINDS, SEVERITIES, corrupted, mce, mean_scores
from zoomexp.tasks.classification import Classifier

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def picture(seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (32, 36, channels), dtype=np.uint8)


def test_the_kinds_are_the_librarys_in_its_order():
    from imagecorruptions import get_corruption_names

    assert list(KINDS) == get_corruption_names() and len(EVERY) == 75


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_for_each_image_and_nothing_else_is_drawn(kind):
    state = np.random.get_state()[1].copy()
    one, same = (corrupted(picture(), kind, 3, 7) for _ in range(2))
    assert one.shape == (32, 36, 3) and one.dtype == np.uint8 and not np.array_equal(one, picture())
    assert np.array_equal(one, same) and np.array_equal(state, np.random.get_state()[1])
    if kind in ("gaussian_noise", "impulse_noise", "glass_blur", "frost", "elastic_transform"):
        assert not np.array_equal(one, corrupted(picture(), kind, 3, 8))


def test_deterministic_kinds_are_the_library():
    from imagecorruptions import corrupt

    for kind in ("contrast", "pixelate", "jpeg_compression", "brightness"):
        for severity in SEVERITIES:
            expected = corrupt(picture(), severity=severity, corruption_name=kind)
            assert np.array_equal(corrupted(picture(), kind, severity, 0), expected)


def test_grey_images_stay_grey():
    assert corrupted(picture(channels=1), "gaussian_noise", 1, 0).shape == (32, 36, 1)


def test_means_and_mce_by_hand():
    accuracy = {(kind, severity): float(10 * severity + place) for place, kind in enumerate(KINDS)
                for severity in SEVERITIES}  # fmt: skip
    found = mean_scores(accuracy)
    assert found["noise"] == pytest.approx(31) and found["blur"] == pytest.approx(34.5)
    assert found["weather"] == pytest.approx(38.5) and found["digital"] == pytest.approx(42.5)
    assert found["mean"] == pytest.approx(37) and found["snow@2"] == 27
    assert mce(accuracy) == pytest.approx(sum((70 - place) / ALEXNET[kind] for place, kind in enumerate(KINDS)) / 15)
    assert ALEXNET["jpeg_compression"] == 0.6065 and ALEXNET["brightness"] == 0.564592
    assert sum(map(len, GROUPS.values())) == 15


class Data(pl.LightningDataModule):
    mean, std, image_size, channels, num_classes = MEAN, STD, 32, 3, 2

    def __init__(self, name):
        super().__init__()
        self.name = name
        pixels = torch.from_numpy(np.stack([picture(i)[:, :32] for i in range(6)])).permute(0, 3, 1, 2) / 255
        images = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        self.batches = [{"image": part, "label": torch.arange(3) % 2, "index": torch.arange(3) + 3 * i}
                        for i, part in enumerate(images.split(3))]  # fmt: skip

    def part(self, name):
        return range(6)

    def test_dataloader(self):
        return DataLoader(self.batches, batch_size=None)


def scored(net, callbacks, name="other"):
    task = Classifier(model=net, loss=CrossEntropy(), num_classes=2, seed=0, scheduler=None,
                      optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1))  # fmt: skip
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False,
                         enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    data = Data(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        (scores,) = trainer.test(task, data, verbose=False)
    return scores, {name: torch.cat(parts) for name, parts in task.predictions.items()}, task, data, trainer


def test_the_callback_scores_the_first_images():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    plain, kept, *_ = scored(net, [])
    scores, predictions, *_ = scored(net, [Corruptions(images=4)], "imagenet")
    assert {name: value for name, value in scores.items() if name in plain} == plain
    assert all(torch.equal(predictions[name], values) for name, values in kept.items())
    assert len(scores) == len(plain) + 75 + 5 + 1 and all(declaration(name) for name in scores)
    assert "test/mce" not in scored(net, [Corruptions(images=1)])[0]
    right = {}
    for kind, severity in EVERY:
        images = np.stack([corrupted(picture(i)[:, :32], kind, severity, i) for i in range(4)])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        shown = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        right[kind, severity] = (net(shown).argmax(1) == torch.tensor([0, 1, 0, 0])).float()
        assert scores[f"test/corrupted/{kind}@{severity}"] == pytest.approx(100 * right[kind, severity].mean().item())
    assert scores["test/corrupted/mean"] == pytest.approx(100 * torch.stack(list(right.values())).mean().item())
    assert scores["test/mce"] == pytest.approx(mce({key: 100 * value.mean().item() for key, value in right.items()}))
    torch.testing.assert_close(predictions["corrupted/mean"][:4], 100 * torch.stack(list(right.values())).mean(0))
    assert predictions["corrupted/mean"][4:].isnan().all()


def test_refusals(monkeypatch):
    with pytest.raises(InputError, match=r"^callbacks\.corruptions\.images=0 must be a whole number, at least 1$"):
        Corruptions(images=0)
    callback = Corruptions()
    *_, task, data, trainer = scored(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), [])
    data.image_size = 28
    with pytest.raises(InputError, match=r"^dataset\.image_size=28: callbacks\.corruptions needs images of 32 pixels"):
        callback.check_run(trainer, task, data)
    monkeypatch.setattr(corruptions.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^callbacks\.corruptions: needs imagecorruptions: pip install .* --no-deps"):
        Corruptions().check_run(trainer, task, data)
