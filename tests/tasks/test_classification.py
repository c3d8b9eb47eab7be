"""The task's metrics against plain numpy, with a model small enough to follow."""

import warnings
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from timm.data import Mixup
from torch import nn
from torch.utils.data import DataLoader

from zoomexp.errors import DivergedError, InputError
from zoomexp.losses.cross_entropy import CrossEntropy
from zoomexp.losses.sparse_gate import SparseGate
from zoomexp.optimizer import make_optimizer
from zoomexp.scheduler import multistep
from zoomexp.tasks.classification import Classifier

CLASSES = 7


class Peak(nn.Module):
    """Passes features on and keeps their sigmoid mean as a map."""

    map = None

    def forward(self, x):
        self.map = x.mean(1, keepdim=True).sigmoid()
        return x


class Tiny(nn.Module):
    """A linear classifier of 4 x 4 images, with or without a map."""

    def __init__(self, with_map: bool = False) -> None:
        super().__init__()
        self.inserted = nn.ModuleDict({"stem": Wrapped(Peak())} if with_map else {})
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x):
        for inserted in self.inserted.values():
            x = inserted.module(x)
        return self.fc(x.flatten(1))


class Wrapped(nn.Module):
    """As the insertion registers a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def batches(sizes, *, boxes=False, seed=0):
    """Batches of uneven sizes; their indices count up."""
    generator = torch.Generator().manual_seed(seed)
    found, start = [], 0
    for size in sizes:
        batch = {
            "image": torch.randn(size, 1, 4, 4, generator=generator),
            "label": torch.randint(CLASSES, (size,), generator=generator),
            "index": torch.arange(start, start + size),
        }
        if boxes:
            corner = torch.randint(0, 3, (size, 2), generator=generator)
            batch["box"] = torch.cat([corner, corner + 2], dim=1).float()
        found.append(batch)
        start += size
    return found


def loader(parts) -> DataLoader:
    return DataLoader(parts, batch_size=None)


def classifier(model=None, loss=None, lr=0.1, scheduler=None, **options):
    model = model or Tiny()
    model(torch.zeros(1, 1, 4, 4))  # as the insertion does: maps exist once the model has run
    optimizer = partial(make_optimizer, opt="momentum", momentum=0.9, lr=lr)
    return Classifier(model=model, loss=loss or CrossEntropy(), optimizer=optimizer, scheduler=scheduler,
                      num_classes=CLASSES, seed=0, **options)  # fmt: skip


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "num_sanity_val_steps": 0, "max_epochs": 1}
    return pl.Trainer(default_root_dir=tmp_path, **(quiet | options))


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        torch.manual_seed(0)
        yield


def scores(model, parts):
    """Loss, acc1, acc5 of the model over batches, in numpy."""
    weight, bias = (p.detach().double().numpy() for p in (model.fc.weight, model.fc.bias))
    image = np.concatenate([batch["image"].flatten(1) for batch in parts]).astype(np.float64)
    label = np.concatenate([batch["label"] for batch in parts])
    logits = image @ weight.T + bias
    own = logits[np.arange(len(label)), label]
    rank = (logits > own[:, None]).sum(1)
    loss = np.log(np.exp(logits).sum(1)) - own
    return logits, {"loss": loss.mean(), "acc1": 100 * np.mean(rank < 1), "acc5": 100 * np.mean(rank < 5)}


def test_test_metrics_and_predictions(tmp_path):
    task, parts = classifier(), batches((5, 5, 3))
    (found,) = trainer(tmp_path).test(task, loader(parts), verbose=False)
    logits, expected = scores(task.model, parts)
    assert found == pytest.approx({f"test/{name}": value for name, value in expected.items()}, abs=1e-4)
    kept = {name: torch.cat(values).numpy() for name, values in task.predictions.items()}
    np.testing.assert_array_equal(kept["index"], np.arange(13))
    np.testing.assert_array_equal(kept["label"], np.concatenate([batch["label"] for batch in parts]))
    np.testing.assert_array_equal(kept["top1"], logits.argmax(1))


def test_validation_metrics(tmp_path):
    task, parts = classifier(), batches((5, 5, 3))
    (found,) = trainer(tmp_path).validate(task, loader(parts), verbose=False)
    expected = scores(task.model, parts)[1]
    assert found == pytest.approx({f"val/{name}": value for name, value in expected.items()}, abs=1e-4)


@pytest.mark.parametrize(("boxes", "with_map"), [(True, True), (True, False), (False, True)])
def test_the_pointing_game_needs_boxes_and_maps(tmp_path, boxes, with_map):
    task, parts = classifier(Tiny(with_map)), batches((6, 5), boxes=boxes)
    (found,) = trainer(tmp_path).test(task, loader(parts), verbose=False)
    names = {f"test/pointing_game{of}" for of in ("", "/stem", "/centre_prior", "/random_prior")}
    assert names & set(found) == (names if boxes and with_map else set())
    if boxes and with_map:
        hits, centre = [], []
        for batch in parts:
            for image, box in zip(batch["image"][:, 0].numpy(), batch["box"].numpy(), strict=True):
                row, col = np.unravel_index(image.argmax(), (4, 4))
                cells = [(row, col), (1, 1), (1, 2), (2, 1), (2, 2)]
                inside = [box[0] <= c + 0.5 < box[2] and box[1] <= r + 0.5 < box[3] for r, c in cells]
                hits.append(inside[0])
                centre.append(np.mean(inside[1:]))
        assert found["test/pointing_game"] == found["test/pointing_game/stem"] == pytest.approx(100 * np.mean(hits))
        assert found["test/pointing_game/centre_prior"] == pytest.approx(100 * np.mean(centre))


def test_training_equals_a_hand_loop(tmp_path):
    parts, rate, epochs = batches((4, 4, 2)), 0.1, 3
    model = Tiny(with_map=True)
    weight, bias = (p.detach().clone().requires_grad_() for p in (model.fc.weight, model.fc.bias))
    loss = SparseGate(sparsity=0.5, warmup_epochs=2)
    task = classifier(model, loss, rate, partial(multistep, epochs=epochs, milestones=[1], gamma=0.5))
    fitter = trainer(tmp_path, max_epochs=epochs)
    fitter.fit(task, loader(parts))

    hand = torch.optim.SGD([weight, bias], lr=rate, momentum=0.9)
    for epoch in range(epochs):
        hand.param_groups[0]["lr"] = rate * (0.5 if epoch >= 1 else 1)
        sums = np.zeros(4)
        for index, batch in enumerate(parts):
            logits = batch["image"].flatten(1) @ weight.T + bias
            crossed = -logits.log_softmax(1)[torch.arange(len(logits)), batch["label"]].mean()
            sparse = 0.5 * min(1, (epoch + index / 3) / 2) * batch["image"].sigmoid().mean()
            hand.zero_grad()
            (crossed + sparse).backward()
            hand.step()
            right = (logits.argmax(1) == batch["label"]).sum()
            size = len(logits)
            sums += [
                size * float((crossed + sparse).detach()),
                size * float(crossed.detach()),
                size * float(sparse),
                right,
            ]
    expected = dict(zip(("loss", "cross_entropy", "sparsity", "acc1"), sums / 10 * [1, 1, 1, 100], strict=True))
    found = {name: value.item() for name, value in fitter.callback_metrics.items()}
    assert found == pytest.approx({f"train/{name}": value for name, value in expected.items()}, abs=1e-4)
    torch.testing.assert_close(model.fc.weight, weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.fc.bias, bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("interval", [1, 2, 50])
def test_a_diverged_loss_names_its_step(tmp_path, interval):
    parts = batches((4, 4, 4, 4, 4))
    parts[2]["image"][0, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"step 2$"):
        trainer(tmp_path, max_epochs=3, log_every_n_steps=interval).fit(classifier(), loader(parts))


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_not_averaged_away(tmp_path, split, bad):
    parts = batches((4, 4))
    parts[0]["image"][1, 0, 0, 0] = bad
    fitter = trainer(tmp_path)
    score = fitter.test if split == "test" else fitter.validate
    with pytest.raises(DivergedError, match=rf"^the {split} loss is NaN or infinite after step 0$"):
        score(classifier(), loader(parts), verbose=False)


def test_a_loss_that_needs_maps_is_refused_without_any():
    with pytest.raises(InputError, match="loss=SparseGate: needs a module with a map"):
        classifier(Tiny(), SparseGate())


def test_mistakes_in_optimizer_and_schedule_show_at_once():
    with pytest.raises(InputError, match=r"optimizer\.lr"):
        classifier(lr=-1)
    with pytest.raises(InputError, match=r"scheduler\.milestones"):
        classifier(scheduler=partial(multistep, epochs=3, milestones=[2, 1]))


def test_every_epoch_has_its_own_random_numbers_whatever_came_before(tmp_path):
    drawn = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, *args):
            drawn.append((torch.rand(()).item(), np.random.rand()))

    for noise in (0, 1):
        torch.manual_seed(noise)
        np.random.seed(noise)
        trainer(tmp_path, max_epochs=2, callbacks=[Watch()]).fit(classifier(), loader(batches((4, 4))))
    assert drawn[:4] == drawn[4:]
    assert len(set(drawn)) == 4


MIXUP = partial(Mixup, mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1)


def test_training_on_mixed_images_equals_a_hand_loop(tmp_path):
    parts, held_out, model = batches((4, 4, 6)), batches((5,), seed=1), Tiny()
    weight, bias = (p.detach().clone().requires_grad_() for p in (model.fc.weight, model.fc.bias))
    fitter = trainer(tmp_path, max_epochs=2)
    fitter.fit(classifier(model, mixing=MIXUP), loader(parts), loader(held_out))

    hand, mix = torch.optim.SGD([weight, bias], lr=0.1, momentum=0.9), MIXUP(num_classes=CLASSES)
    for epoch in range(2):
        np.random.seed(1009 * epoch)
        losses, right = 0.0, 0
        for batch in parts:
            images, targets = mix(batch["image"].clone(), batch["label"])
            logits = images.flatten(1) @ weight.T + bias
            loss = -(targets * logits.log_softmax(1)).sum(1).mean()
            hand.zero_grad()
            loss.backward()
            hand.step()
            losses += len(images) * loss.item()
            right += (logits.argmax(1) == targets.argmax(1)).sum().item()
    plain = scores(model, held_out)[1]
    expected = {"train/loss": losses / 14, "train/acc1": 100 * right / 14}
    expected |= {f"val/{name}": value for name, value in plain.items()}
    assert {name: fitter.callback_metrics[name].item() for name in expected} == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(model.fc.weight, weight, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_mixes_as_the_uninterrupted_one(tmp_path):
    def fit(epochs, noise, resume=None):
        torch.manual_seed(0)
        task = classifier(mixing=MIXUP)
        np.random.seed(noise)
        fitter = trainer(tmp_path, max_epochs=epochs)
        fitter.fit(task, loader(batches((4, 4, 6))), ckpt_path=resume)
        fitter.save_checkpoint(tmp_path / "last.ckpt")
        return task.model.fc.weight

    whole = fit(3, noise=1)
    fit(1, noise=2)
    assert torch.equal(fit(3, noise=3, resume=tmp_path / "last.ckpt"), whole)


def test_mixing_is_refused_by_a_model_that_reads_maps_too():
    model = Tiny()
    model.inputs = ("image", "map")
    with pytest.raises(InputError, match=r"^mixing: would mix images alone, and the model reads image, map; "):
        classifier(model, mixing=MIXUP)
