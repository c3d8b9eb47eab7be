"""Processes that share a run: one folder, every test image once, and the numbers of one process."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

SHARED = ("trainer=ddp", "trainer.accelerator=cpu")
# Neither training nor test images divide; no batch norm, which would see half of each batch.
VIT = ("attention=none", "backbone=vit_digits", "backbone.image_size=32", "backbone.depth=2", "optimizer.lr=0.02",
       "trainer.max_epochs=2", "logger=none")  # fmt: skip
DIGITS = ("dataset=cluttered_digits", "dataset.canvas=32", "dataset.train_images=300", "dataset.test_images=61",
          "dataset.batch_size=32", "dataset.eval_batch_size=20", "dataset.flip=true", *VIT)  # fmt: skip


@pytest.fixture
def shared(start, tmp_path):
    """`shared("dataset=digits", ...)` does the run in two processes; returns its facts and its folder."""

    def run(*words: str) -> tuple[dict, Path]:
        process = start(*SHARED, *words, f"output_dir={tmp_path / 'shared'}")
        out, err = process.communicate(timeout=250)
        assert process.returncode == 0, err
        expected = ("epoch ", "module at ", "waiting for another", "recipe=", "experiment=")
        said = [line for line in err.splitlines() if not line.startswith(expected)]
        assert [line for line in said if "images: " not in line and "; 2 epochs of" not in line] == []
        *_, folder = sorted(tmp_path.glob("shared/runs/*/*/*/metrics.json"), key=lambda path: path.stat().st_mtime)
        facts = json.loads(folder.read_text())
        assert out.count("run folder") == 1 or "needs" in " ".join(words)
        assert (facts["status"], facts["cost"]["devices"]) == ("finished", 2)
        assert not list(tmp_path.rglob("*.partial*"))
        return facts, folder.parent

    return run


def read(folder: Path) -> tuple[dict, pd.DataFrame, dict]:
    """A run's metrics, history without the times, and predictions."""
    facts = json.loads((folder / "metrics.json").read_text())
    history = pd.read_csv(folder / "history.csv").drop(columns=["epoch_s", "img_per_s"])
    return facts["metrics"], history, dict(np.load(folder / "predictions.npz"))


def test_two_processes_have_the_numbers_of_one(shared, train, tmp_path):
    _, folder = shared(*DIGITS)
    assert train(base=DIGITS).code == 0
    alone = tmp_path / "out" / folder.relative_to(tmp_path / "shared")  # the same run: hardware decides nothing
    (metrics, history, predictions), (ours, own_history, own_predictions) = read(folder), read(alone)
    assert_close(metrics, ours, 1e-6)
    assert_close(history.to_dict("list"), own_history.to_dict("list"), 1e-6)
    np.testing.assert_array_equal(predictions["index"], np.arange(61))
    for name, values in own_predictions.items():
        rounded = "confidence" in name or name in (
            "nll",
            "brier",
            "probabilities",
        )  # batches of another size: another order of sums
        tolerance = 1e-5 if rounded else 0
        np.testing.assert_allclose(predictions[name], values, rtol=0, atol=tolerance)
    assert metrics["test/acc1"] == pytest.approx(100 * np.mean(predictions["top1"] == predictions["label"]), abs=1e-4)
    assert list(history["step"]) == [8, 16]  # 270 images, 8 full batches of 32


def assert_close(found, expected, tolerance):
    """The same values by name; calibration in percent, of confidences that are rounded in another order.

    So are probabilities, and two images that are next to each other by them may change places: 0.03 points of a rank.
    """
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        calibrated = name.endswith(("/ece", "/nll", "/temperature", "_t"))
        ranked = name in ("test/auroc", "test/average_precision")
        allowed = 0.5 if ranked else 1e-3 if calibrated else tolerance
        np.testing.assert_allclose(found[name], value, rtol=0, atol=allowed, err_msg=name)


def assert_as_alone(shared, train, tmp_path, words):
    _, folder = shared(*words)
    assert train(base=words).code == 0
    (metrics, history, _), (ours, own_history, _) = (
        read(folder),
        read(tmp_path / "out" / folder.relative_to(tmp_path / "shared")),
    )
    assert_close(metrics, ours, 1e-5)
    assert_close(history.to_dict("list"), own_history.to_dict("list"), 1e-5)


@pytest.mark.slow
def test_ragged_tokens_have_the_numbers_of_one_process(shared, train, tmp_path):
    assert_as_alone(shared, train, tmp_path, (*DIGITS, "tokens=zoomvit", "tokens/scorer=centre", "tokens.alpha=0.5"))


@pytest.mark.slow
def test_streamed_images_have_the_numbers_of_one_process(shared, train, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(45):
        split, kind = ("train", "train", "test")[number % 3], f"class{number // 3 % 2}"
        (tmp_path / "data" / "images" / split / kind).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8))
        image.save(tmp_path / "data" / "images" / split / kind / f"{number}.png")
    words = ("dataset=image_folder", f"data_dir={tmp_path / 'data'}", "dataset.erasing=0.5", "dataset.batch_size=8",
             "dataset.augment=randaugment", "dataset.eval_batch_size=4", "dataset.num_workers=1", *VIT)  # fmt: skip
    assert_as_alone(shared, train, tmp_path, words)


@pytest.mark.slow
def test_a_detector_has_the_numbers_of_one_process(shared, train, tmp_path):
    """The loss is a sum over objects by their number in the whole batch, and processes see different numbers."""
    words = ("experiment=zoomvit/digit_scenes", "tokens=uniform", "backbone=vit_digits", "backbone.depth=1",
             "logger=none", "dataset.train_images=120", "dataset.test_images=30", "dataset.batch_size=8",
             "dataset.eval_batch_size=1", "trainer.max_epochs=2")  # fmt: skip
    assert_as_alone(shared, train, tmp_path, words)


@pytest.mark.slow
def test_weighted_classes_have_the_numbers_of_one_process(shared, train, tmp_path):
    """Processes see other classes, so the sums of their weights differ; so do those of validation batches."""
    weights = "loss.class_weights=[3,1,1,1,1,1,1,1,1,9]"
    even = {
        "dataset.test_images=61": "dataset.test_images=60",
        "dataset.eval_batch_size=20": "dataset.eval_batch_size=1",
    }
    words = tuple(even.get(word, word) for word in DIGITS)
    assert_as_alone(shared, train, tmp_path, (*words, "loss=cross_entropy", weights))


@pytest.mark.slow
def test_a_segmenter_has_the_numbers_of_one_process(shared, train, tmp_path):
    words = ("experiment=attzoom/digit_masks", "decoder=fcn", "attention=none", "backbone=timm",
             "backbone.name=test_convnext", "logger=none", "dataset.train_images=120", "dataset.test_images=30",
             "dataset.batch_size=8", "dataset.eval_batch_size=1", "trainer.max_epochs=2")  # fmt: skip
    assert_as_alone(shared, train, tmp_path, words)


@pytest.mark.slow
def test_a_teacher_its_maps_and_a_zoomer(shared, tmp_path):
    """Two runs one after the other: the second finds the processes of the first."""
    few = ("dataset=cluttered_digits", "dataset.train_images=60", "dataset.test_images=21", "attention=none",
           "dataset.batch_size=8", "trainer.max_epochs=1")  # fmt: skip
    teacher = ",".join(f"'{word}'" for word in (*few, "backbone=vit_digits"))
    facts, folder = shared(
        *few, f"+needs.teacher=[{teacher}]", "backbone=zoomer", "backbone.image_size=48", "backbone.patch_size=8",
        "loss=zoom_distillation", "task=distill_zoomer", "relevance=grad_attn", "callbacks.checkpoints.monitor=val/mse",
        "logger=none",
    )  # fmt: skip
    np.testing.assert_array_equal(np.load(folder / "predictions.npz")["index"], np.arange(21))
    (teacher,) = tmp_path.glob("shared/runs/*/vit_digits-*/seed0-*")
    assert json.loads((teacher / "metrics.json").read_text())["cost"]["devices"] == 2
    assert len(list(teacher.glob("maps/grad_attn-*.npy"))) == 3
    assert {"test/mse", "test/pointing_game"} <= set(facts["metrics"])


@pytest.mark.slow
def test_a_multirun_of_shared_runs(start, tmp_path):
    words = ("dataset=digits", "dataset.train_size=64", "dataset.test_size=31", "dataset.batch_size=16",
             "attention=none", "logger.mode=offline")  # fmt: skip
    process = start("-m", *SHARED, *words, "trainer.max_epochs=1", "seed=0,1", f"output_dir={tmp_path / 'shared'}")
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert (out.count("run folder"), err.count("epoch 1/1"), err.count("job 0 "), err.count("job 1 ")) == (2, 2, 1, 1)
    (sweep,) = tmp_path.glob("shared/sweeps/*")
    jobs = [json.loads((sweep / f"job_{number}.json").read_text()) for number in range(2)]
    assert [(job["status"], job["cost"]["devices"]) for job in jobs] == [("finished", 2)] * 2
    assert len(list(tmp_path.glob("shared/runs/*/*/*/wandb/offline-run-*"))) == 2


@pytest.mark.slow
def test_two_processes_share_the_work(shared, train, tmp_path):
    """What an epoch costs one process, against what it costs both together: the better of three epochs."""
    words = ("dataset=cluttered_digits", "dataset.train_images=1200", "dataset.test_images=60", "attention=none",
             "trainer.max_epochs=3", "logger=none",
             "+callbacks.clock._target_=tests.train.cpu_clock.CpuClock")  # fmt: skip
    assert train(f"+callbacks.clock.folder={tmp_path / 'alone'}", base=words).code == 0
    shared(*words, f"+callbacks.clock.folder={tmp_path / 'both'}")
    alone, *both = (
        json.loads((tmp_path / name).read_text()) for name in ("alone/0.json", "both/0.json", "both/1.json")
    )
    assert min(alone) / (2 * max(min(spent) for spent in both)) >= 0.75
