"""The task's metrics against plain numpy, with a model small enough to follow."""

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

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")
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
def the_same_weights():
    torch.manual_seed(0)


def scores(model, parts):
    """Loss, acc1, acc5 of the model over batches, in numpy."""
    weight, bias = (p.detach().double().numpy() for p in (model.fc.weight, model.fc.bias))
    image = np.concatenate([batch["image"].flatten(1) for batch in parts]).astype(np.float64)
    label = np.concatenate([batch["label"] for batch in parts])
    logits = image @ weight.T + bias
    own = logits[np.arange(len(label)), label]
    rank = (logits > own[:, None]).sum(1)
    loss = np.log(np.exp(logits).sum(1)) - own
    confidence = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).max(1)
    assert len(set(confidence)) == len(label) <= 15  # so that each image has a bin to itself
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = (rank >= 1)[np.argsort(-confidence)]
    return logits, {"loss": loss.mean(), "acc1": 100 * np.mean(rank < 1), "acc5": 100 * np.mean(rank < 5),
                    "nll": loss.mean(), "ece": 100 * np.mean(np.abs((rank < 1) - confidence)),
                    "brier": ((shares - np.eye(shares.shape[1])[label]) ** 2).sum(1).mean(),
                    "aurc": 100 * np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))}  # fmt: skip


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
    found.pop("val/temperature", None)  # see below
    expected = scores(task.model, parts)[1]
    assert found == pytest.approx({f"val/{name}": value for name, value in expected.items()}, abs=1e-4)


def test_a_temperature_goes_with_the_weights_it_was_fitted_to(tmp_path):
    task, val, test = classifier(), batches((300, 200)), batches((40, 13), seed=1)
    for batch in val:  # labels as of logits half as large
        batch["label"] = torch.multinomial((task(batch["image"]) / 2).softmax(1), 1)[:, 0]
    first = trainer(tmp_path)
    (before,) = first.test(task, loader(test), verbose=False)
    assert "test/nll_t" not in before
    (found,) = first.validate(task, loader(val), verbose=False)
    assert found["val/temperature"] == pytest.approx(task.fitted) and 1.2 < task.fitted < 4
    first.save_checkpoint(tmp_path / "kept.ckpt")
    (after,) = trainer(tmp_path).test(
        classifier(Tiny()), loader(test), ckpt_path=tmp_path / "kept.ckpt", weights_only=True, verbose=False
    )
    logits = torch.cat([task(batch["image"]) for batch in test]).double().detach() / task.fitted
    labels = torch.cat([batch["label"] for batch in test])
    assert after["test/nll_t"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), abs=1e-5)
    squares = (logits.softmax(1) - nn.functional.one_hot(labels, CLASSES)).square().sum(1)
    assert after["test/brier_t"] == pytest.approx(float(squares.mean()), abs=1e-5)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {f"test/{name}" for name in ("temperature", "nll_t", "ece_t", "brier_t")}


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
    with pytest.raises(InputError, match=r"loss=SparseGate: needs a module with a map, .*; choose loss=cross_entropy"):
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


class Further(Tiny):
    """Beside its logits, those of its first three tokens of four pixels and those of a second head; and a loss."""

    def __init__(self, own=None) -> None:
        super().__init__()
        self.token, self.second, self.own = nn.Linear(4, CLASSES), nn.Linear(16, CLASSES), own

    def forward(self, x):
        tokens = self.token(x.flatten(1).unflatten(1, (4, 4))[:, :3])
        self.auxiliary_logits = {"tokens": (0.25, tokens), "second": (2.0, self.second(x.flatten(1)))}
        self.auxiliary_loss = self.own and self.own(self.fc.weight)
        return super().forward(x)


def crossed(logits, targets, smoothing):
    """Cross-entropy of one row (K,) with shares of classes (K,)."""
    targets = (1 - smoothing) * targets + smoothing / CLASSES
    return -sum(targets[k] * logits.log_softmax(0)[k] for k in range(CLASSES))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_further_logits_learn_the_targets_of_their_images(soft, smoothing):
    task, (batch,) = classifier(Further(), CrossEntropy(smoothing)), batches((4,))
    task.model(batch["image"])
    shares = torch.eye(CLASSES)[batch["label"]]
    shares = torch.rand(4, CLASSES).softmax(1) if soft else shares
    found = task.own_losses(shares if soft else batch["label"])
    logits = {name: rows for name, (_, rows) in task.model.auxiliary_logits.items()}
    tokens = [crossed(logits["tokens"][i, j], shares[i], smoothing) for i in range(4) for j in range(3)]
    second = [crossed(logits["second"][i], shares[i], smoothing) for i in range(4)]
    assert list(found) == ["tokens", "second"]
    torch.testing.assert_close(found["tokens"], 0.25 * torch.stack(tokens).mean())
    torch.testing.assert_close(found["second"], 2 * torch.stack(second).mean())


@pytest.mark.parametrize("of_targets", [False, True])
def test_a_networks_own_loss_is_a_scalar_or_a_function_of_the_targets(of_targets):
    def own(weight):
        return (lambda targets: (targets + 1).sum() * weight.square().sum()) if of_targets else weight.square().sum()

    task, (batch,) = classifier(Further(own)), batches((4,))
    task.model(batch["image"])
    expected = task.model.fc.weight.square().sum() * ((batch["label"] + 1).sum() if of_targets else 1)
    found = task.own_losses(batch["label"])
    assert list(found) == ["auxiliary", "tokens", "second"]
    torch.testing.assert_close(found["auxiliary"], expected)


def test_a_network_without_terms_of_its_own_adds_none():
    assert classifier().own_losses(torch.tensor([1, 2])) == {}


class Square(nn.Module):
    """A loss of one's own, which knows nothing of smoothing."""

    def forward(self, logits, target, maps=None, epoch=0.0):
        return {"square": self.compare(logits, target)}

    def compare(self, logits, target):
        return logits.square().mean()


def test_further_logits_need_nothing_of_a_loss_but_that_it_compares():
    task, (batch,) = classifier(Further(), Square()), batches((4,))
    task.model(batch["image"])
    found = task.own_losses(batch["label"])
    torch.testing.assert_close(found["second"], 2 * task.model.auxiliary_logits["second"][1].square().mean())
    task.loss = nn.Identity()
    with pytest.raises(InputError, match=r"^loss=Identity: the model trains further logits, and it has no compare$"):
        task.own_losses(batch["label"])


@pytest.mark.parametrize("mixing", [None, MIXUP])
def test_own_terms_are_trained_with_the_loss(tmp_path, mixing):
    (batch,), model = batches((4,)), Further(lambda weight: weight.square().sum())
    before = [parameter.detach().clone().requires_grad_() for parameter in model.parameters()]
    fitter = trainer(tmp_path)
    fitter.fit(classifier(model, mixing=mixing), loader([batch]))
    weight, bias, token, token_bias, second, second_bias = before
    images, targets = batch["image"], torch.eye(CLASSES)[batch["label"]]
    if mixing is not None:
        np.random.seed(0)
        images, targets = mixing(num_classes=CLASSES)(images.clone(), batch["label"])
    flat = images.flatten(1)
    rows = [flat @ weight.T + bias, flat @ second.T + second_bias]
    rows += [flat[:, 4 * j : 4 * j + 4] @ token.T + token_bias for j in range(3)]
    each = [-(targets * logits.log_softmax(1)).sum(1).mean() for logits in rows]
    loss = each[0] + 2 * each[1] + 0.25 * sum(each[2:]) / 3 + weight.square().sum()
    loss.backward()
    for parameter, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), (old - 0.1 * old.grad).detach(), rtol=1e-4, atol=1e-6)
    found = fitter.callback_metrics
    assert float(found["train/loss"]) == pytest.approx(loss.item(), rel=1e-5)
    assert float(found["train/second"]) == pytest.approx(2 * each[1].item(), rel=1e-5)
