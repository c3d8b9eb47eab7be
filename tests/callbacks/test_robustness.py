"""What the callback logs is what theory says of a linear network; testing is as without it."""

import math
import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("captum", reason="needs captum")
pytest.importorskip("pyautoattack", reason="needs pyautoattack")
from tests.host import Host
from zoomexp.attention.loupe import Loupe
from zoomexp.callbacks.robustness import Robustness
from zoomexp.errors import InputError
from zoomexp.insertion import insert
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.metrics.declared import declaration
from zoomexp.metrics.robustness import median_eps
from zoomexp.tasks.classification import Classifier

MEAN, STD = (0.4,), (0.3,)
FAST = {"eps": [0.5, 2.0], "at": 2.0, "steps": 10, "refine": 0, "long_steps": 0, "queries": 0}


class Data(pl.LightningDataModule):
    """Three batches of five images whose pixels are between 0.2 and 0.8."""

    mean, std = MEAN, STD

    def __init__(self):
        super().__init__()
        pixels = torch.rand(15, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
        images = ((pixels - MEAN[0]) / STD[0]).split(5)
        box = torch.tensor([[0.0, 0.0, 4.0, 8.0]]).repeat(5, 1)
        self.batches = [{"image": image, "label": torch.arange(5) % 3, "index": torch.arange(5) + 5 * i, "box": box}
                        for i, image in enumerate(images)]  # fmt: skip

    def part(self, name):
        return range(15)

    def test_dataloader(self):
        return DataLoader(self.batches, batch_size=None)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, x):
        return self.layer(x.flatten(1))


def loupe():
    net = Host()
    insert(net, Loupe, "stage1", torch.zeros(1, 1, 8, 8))
    return net


def scored(net, callbacks, **trainer):
    task = Classifier(model=net, loss=CrossEntropy(), num_classes=3, seed=0, scheduler=None,
                      optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1))  # fmt: skip
    trainer = pl.Trainer(accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False,
                         enable_model_summary=False, enable_checkpointing=False, **trainer)  # fmt: skip
    data = Data()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        (scores,) = trainer.test(task, data, verbose=False)
    predictions = {name: torch.cat(parts) for name, parts in task.predictions.items()}
    return scores, predictions, data, task


def test_a_linear_network_of_three_classes():
    """One class gains on the label's by at most eps times the L1 norm of their rows' difference, which FGSM reaches."""
    torch.manual_seed(0)
    net = Linear()
    scores, predictions, data, _ = scored(net, [Robustness(images=13, **FAST)])
    batch = {name: torch.cat([one[name] for one in data.batches])[:13] for name in ("image", "label")}
    weight, label = net.layer.weight.detach() / STD[0], batch["label"]
    logits = net(batch["image"]).detach()
    gap = logits.gather(1, label[:, None]) - logits
    norm = (weight[label][:, None] - weight).abs().sum(2)
    exact = 255 * (gap / norm.clamp_min(1e-9)).scatter(1, label[:, None], math.inf).amin(1).clamp_min(0)
    for eps in (0.5, 2.0):
        kept = predictions[f"robust/pgd10@{eps:g}"]
        assert torch.equal(kept[:13], (exact > eps).half()) and kept[13:].isnan().all()
        assert scores[f"test/robust/pgd10@{eps:g}"] == pytest.approx(100 * (exact > eps).float().mean().item())
    right = exact > 0
    assert 0 < right.sum() < 13 and scores["test/robust/clean"] == pytest.approx(100 * right.float().mean().item())
    flipped = 100 * (1 - (exact > 2).sum() / right.sum()).item()
    assert scores["test/robust/success@2"] == pytest.approx(flipped)
    at = predictions["robust/eps"].numpy()
    assert scores["test/robust/median_eps"] == pytest.approx(median_eps({"robust/eps": at}))
    assert "test/robust/map_shift@2" not in scores
    assert all(declaration(name) for name in scores)


def test_nothing_else_changes():
    torch.manual_seed(0)
    net = loupe()
    plain, kept, _, _ = scored(net, [])
    scored(net, [Robustness(**FAST)], precision="bf16-mixed")
    assert all(parameter.grad is None for parameter in net.parameters())
    scores, predictions, _, _ = scored(net, [Robustness(**FAST | {"queries": 50, "long_steps": 20})])
    assert {name: value for name, value in scores.items() if name in plain} == plain
    assert all(torch.equal(predictions[name], values) for name, values in kept.items())
    half, _, _, _ = scored(net, [Robustness(**FAST | {"checked": 7})])
    assert {name: value for name, value in half.items() if "missed" not in name and name in plain} == plain
    extra = {name for name in scores if name not in plain}
    assert {f"test/robust/{one}@2" for one in ("missed", "missed_of_right")} <= extra
    assert {f"test/robust/missed/{one}@2" for one in ("fgsm", "pgd20", "frozen", "square")} <= extra
    assert {"test/robust/map_shift@2", "test/robust/pointing_game@2"} <= extra
    assert set(predictions) - set(kept) == {"robust/eps", "robust/pgd10@0.5", "robust/pgd10@2"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"images": 0}, "images=0 must be a whole number, at least 1"),
        ({"refine": -1}, "refine=-1 must be a whole number, at least 0"),
        ({"eps": [1.0, 1.0]}, r"eps=\[1.0, 1.0\] must be a list of numbers above 0, each once"),
        ({"eps": [0.0, 1.0]}, r"eps=\[0.0, 1.0\] must be a list of numbers above 0, each once"),
        ({"at": 3.0}, r"at=3.0 must be one of callbacks\.robustness\.eps, 0.25, 0.5, 1, 2, 4, 8"),
    ],
)
def test_bad_arguments(argument, message):
    with pytest.raises(InputError, match=rf"^callbacks\.robustness\.{message}$"):
        Robustness(**argument)


def test_what_cannot_be_attacked_is_refused(tmp_path):
    _, _, data, task = scored(Linear(), [])
    trainer = pl.Trainer(accelerator="cpu", logger=False, precision="bf16-true", enable_checkpointing=False)
    with pytest.raises(InputError, match=r"^trainer\.precision=bf16-true: callbacks\.robustness needs gradients"):
        Robustness(**FAST).check_run(trainer, task, data)
    task.inputs = ("image", "map")
    with pytest.raises(InputError, match=r"^callbacks\.robustness: attacks what gives each image one class"):
        Robustness(**FAST).check_run(trainer, task, data)
    task.inputs = ("image",)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    data.num_classes, data.channels, data.image_size = 3, 1, 8
    with pytest.raises(InputError, match=r"^callbacks\.robustness\.transfer="):
        Robustness(**FAST, transfer=tmp_path).check_run(trainer, task, data)
