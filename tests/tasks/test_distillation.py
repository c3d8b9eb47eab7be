"""Distillation's metrics against numpy and scipy, and what it does to a Zoomer."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy.stats import spearmanr
from torch.utils.data import DataLoader

from tests.tasks.scores import Scores
from zoomexp.errors import InputError
from zoomexp.losses.zoom_distillation import ZoomDistillation
from zoomexp.metrics.localisation import centre_prior, hits, random_prior
from zoomexp.optimizer import make_optimizer
from zoomexp.tasks.distillation import ZoomerDistillation, rank_correlation

pytestmark = pytest.mark.filterwarnings("ignore:::pytorch_lightning")


def batches(sizes, seed=0, boxes=True):
    draw = torch.Generator().manual_seed(seed)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        batch = {
            "image": torch.randn(size, 1, 4, 4, generator=draw),
            "map": torch.rand(size, 2, 2, generator=draw),
            "cls_attention": torch.rand(size, 2, 2, generator=draw),
            "label": torch.zeros(size, dtype=torch.int64),
            "index": torch.arange(start, start + size),
        }
        yield batch | ({"box": torch.tensor([[0.0, 0.0, 2.0, 2.0]]).expand(size, 4)} if boxes else {})


def task(lr=0.05, opt="momentum", mixing=None, **options):
    torch.manual_seed(1)
    optimizer = partial(make_optimizer, opt=opt, lr=lr, **options)
    return ZoomerDistillation(
        model=Scores(), loss=ZoomDistillation(), optimizer=optimizer, scheduler=None, num_classes=10, seed=0,
        mixing=mixing,
    )  # fmt: skip


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return pl.Trainer(accelerator="cpu", enable_model_summary=False, num_sanity_val_steps=0, **quiet, **options)


def loader(parts):
    return DataLoader(parts, batch_size=None)


def test_test_metrics_are_means_over_images():
    one, parts = task(), list(batches([5, 3, 7]))
    (got,) = trainer().test(one, loader(parts), verbose=False)
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    with torch.no_grad():
        scores = one.model(whole["image"])
        losses = [sum(ZoomDistillation()(one.model(part["image"]), part["map"]).values()) for part in parts]
    error = (scores - whole["map"]).numpy()
    ranks = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(scores, whole["map"], strict=True)]
    maps = {"": scores, "/teacher": whole["map"], "/cls_attention": whole["cls_attention"],
            "/centre_prior": centre_prior(scores[:, None])[:, 0],
            "/random_prior": random_prior(scores[:, None], whole["index"])[:, 0]}  # fmt: skip
    expected = {
        f"test/pointing_game{name}": 100 * hits(one[:, None], whole["box"], 4).mean().item()
        for name, one in maps.items()
    }
    expected |= {"test/mse": (error**2).mean(), "test/mae": np.abs(error).mean()}
    expected["test/rank_correlation"] = np.mean(ranks)
    expected["test/loss"] = float(5 * losses[0] + 3 * losses[1] + 7 * losses[2]) / 15
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert {name.split("/")[1] for name in got} >= {"energy_in_box", "best_iou", "entropy", "gini", "regions"}
    kept = {name: torch.cat(values) for name, values in one.predictions.items()}
    torch.testing.assert_close(kept["mse"], torch.tensor((error**2).mean((1, 2))))
    assert kept["index"].tolist() == list(range(15))


def test_without_boxes_there_is_no_pointing_game():
    (got,) = trainer().test(task(), loader(list(batches([4], boxes=False))), verbose=False)
    assert {"test/mse", "test/mae", "test/rank_correlation", "test/loss", "test/entropy"} <= set(got)
    assert not any("pointing_game" in name for name in got)


def test_training_lowers_the_loss_and_logs_each_term():
    one, parts = task(), list(batches([8, 8]))
    fit = trainer(max_epochs=1)
    fit.fit(one, loader(parts), loader(parts))
    first = {name: float(value) for name, value in fit.callback_metrics.items()}
    assert first["train/loss"] == pytest.approx(first["train/mse"] + first["train/kl"] + first["train/dice"], rel=1e-5)
    fit = trainer(max_epochs=20)
    fit.fit(one, loader(parts), loader(parts))
    assert float(fit.callback_metrics["val/loss"]) < 0.9 * first["val/loss"]


def test_mixing_is_refused():
    with pytest.raises(InputError, match=r"^mixing: task=distill_zoomer cannot mix .*; choose mixing=none$"):
        task(mixing=dict)


def test_rank_correlation_of_constants_is_zero():
    maps = torch.rand(3, 4, 4)
    scores = torch.stack([maps[0] ** 3, torch.full((4, 4), 0.5), -maps[2]])
    torch.testing.assert_close(rank_correlation(scores, maps), torch.tensor([1.0, 0.0, -1.0]))


@pytest.mark.parametrize(("lr", "warned"), [(0.01, True), (1e-3, False)])
def test_the_papers_rate_is_warned_of(caplog, lr, warned):
    trainer(max_epochs=1).fit(task(lr, "adamw"), loader(list(batches([4]))))
    assert ("optimizer.lr=0.01 is high for AdamW" in caplog.text) == warned
