"""One real run: its record, its files, and the same again."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from zoomexp.metrics.calibration import calibration_error
from zoomexp.model import build_model
from zoomexp.results.identity import config_hash

ROOT = Path(__file__).parents[2]
CLUTTERED = (
    "recipe=none", "loss=cross_entropy",
    "dataset.train_images=300", "dataset.test_images=121", "dataset.canvas=32", "dataset.batch_size=60",
    "dataset.eval_batch_size=50", "trainer.max_epochs=3", "optimizer.lr=0.05", "seed=3", "logger=none",
)  # fmt: skip
KINDS = ("loss", "acc1", "acc5", "nll", "ece", "brier", "aurc")
PLAIN = {"train/loss", "train/acc1", "val/acc1_best", "epochs", *(f"{s}/{k}" for s in ("val", "test") for k in KINDS),
         "test/balanced_acc", "test/macro_f1", "test/auroc", "test/average_precision"}  # fmt: skip
SCALED = {
    "val/temperature",
    *(f"test/{key}" for key in ("temperature", "nll_t", "ece_t", "brier_t")),
}  # if there is one


def composed(overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "configs")):
        return compose("train", overrides=list(overrides))


def by_hand(folder: Path, checkpoint: str) -> dict[str, float]:
    """The test scores of a checkpoint, from the run folder alone, one image at a time and in numpy."""
    config = OmegaConf.load(folder / "config.yaml")
    data = instantiate(config.dataset)
    data.prepare_data()
    data.setup("test")
    network = build_model(
        instantiate(config.backbone), num_classes=10, in_chans=1, image_size=32,
        attention=instantiate(config.attention), at=config.insertion.at,
    )  # fmt: skip
    stored = torch.load(folder / "checkpoints" / checkpoint, weights_only=True)["state_dict"]
    network.load_state_dict({key[6:]: value for key, value in stored.items() if key.startswith("model.")})
    network.eval()
    losses, ranks, hits, centre = [], [], [], []
    for batch in data.test_dataloader():
        for image, label, box in zip(batch["image"], batch["label"], batch["box"].numpy(), strict=True):
            with torch.no_grad():
                logits = network(image[None])[0].double().numpy()
            losses.append(np.log(np.exp(logits - logits[label]).sum()))
            ranks.append((logits > logits[label]).sum())
            heat = network.inserted["layer2"].module.map[0, 0].numpy()
            row, col = np.unravel_index(heat.argmax(), heat.shape)
            cell = 32 / heat.shape[0]
            hits.append(inside(box, (col + 0.5) * cell, (row + 0.5) * cell))
            middle = [16 - cell / 2, 16 + cell / 2]
            centre.append(np.mean([inside(box, x, y) for x in middle for y in middle]))
    return {
        "test/loss": np.mean(losses),
        "test/acc1": 100 * np.mean(np.array(ranks) < 1),
        "test/acc5": 100 * np.mean(np.array(ranks) < 5),
        "test/pointing_game": 100 * np.mean(hits),
        "test/pointing_game/layer2": 100 * np.mean(hits),
        "test/pointing_game/centre_prior": 100 * np.mean(centre),
    }


def inside(box, x, y) -> bool:
    return bool(box[0] <= x < box[2] and box[1] <= y < box[3])


def test_the_record_of_a_run(train, folders, facts, tmp_path):
    ended = train(base=CLUTTERED)
    assert (ended.code, len(ended.err.splitlines())) == (0, 6)
    (folder,), stored = folders(), facts()
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml", "metrics.json", "code.json", "data.json", "history.csv", "predictions.npz", "predictions.csv",
        "classes.csv", "confusion.csv",
        "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    }  # fmt: skip

    config = composed([*CLUTTERED, f"output_dir={tmp_path / 'out'}"])
    resolved = OmegaConf.to_container(config, resolve=True)
    assert OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")) == resolved
    run = f"cluttered_digits/resnet20-loupe-default/seed3-{config_hash(resolved)}"
    assert folder == tmp_path / "out" / "runs" / run

    assert list(stored) == [
        "run", "status", "choices", "overrides", "seed", "identity", "metrics", "cost", "health", "versions", "git",
        "host", "data", "weights", "shape", "main", "quantities", "classes", "seeing",
    ]  # fmt: skip
    assert (stored["run"], stored["status"], stored["seed"]) == (run, "finished", 3)
    assert stored["weights"] == "checkpoints/best.ckpt"
    assert stored["shape"] == {"num_classes": 10, "in_chans": 1, "image_size": 32}
    assert stored["overrides"] == [*CLUTTERED, f"output_dir={tmp_path / 'out'}"]
    assert stored["choices"] == {
        "dataset": "cluttered_digits", "relevance": "none", "backbone": "resnet20", "attention": "loupe",
        "insertion": "default", "tokens": "uniform", "loss": "cross_entropy", "mixing": "none",
        "optimizer": "sgd", "scheduler": "cosine", "train": "all", "task": "classification", "trainer": "cpu",
        "logger": "none", "recipe": "none", "detector": "none", "decoder": "none", "head": "none", "experiment": None,
        "sweep": None,
    }  # fmt: skip
    assert stored["versions"].pop("python") == platform.python_version()
    assert stored["versions"] == {name: importlib.metadata.version(name) for name in stored["versions"]}
    assert {"torch", "torchvision", "timm", "pytorch-lightning", "hydra-core", "zoomexp"} <= set(stored["versions"])
    assert set(stored["git"]) == {"sha", "dirty"}
    if (ROOT / ".git").exists():
        known = ["git", "merge-base", "--is-ancestor", stored["git"]["sha"], "HEAD"]
        assert subprocess.run(known, cwd=ROOT).returncode == 0
    assert set(stored["host"]) == {"machine", "processor", "cores"}
    assert (stored["host"]["machine"], stored["host"]["cores"]) == (platform.machine(), os.cpu_count())

    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [0, 1, 2]
    assert list(history["step"]) == [4, 8, 12]  # 270 training images, 30 held out
    np.testing.assert_allclose(history["lr"], [0.05, 0.05 * 0.75, 0.05 * 0.25])  # half a cosine
    metrics = stored["metrics"]
    gates = {f"gate/layer2/{name}" for name in ("weight_norm", "saturated", "change", "opening", "passed")}
    scores = ("pointing_game", "energy_in_box", "best_iou", "entropy", "gini", "region_size", "regions")
    places = {f"test/{score}{of}" for score in scores for of in ("", "/layer2", "/centre_prior", "/random_prior")}
    effects = {f"start/layer2/{name}" for name in ("features", "logits", "classes")}
    assert set(metrics) - SCALED == PLAIN | gates | places | effects
    assert len(SCALED & set(metrics)) in (0, 1, 4, 5)  # of the last epoch, and those of the weights that are tested
    for name in metrics.keys() & set(history.columns):
        assert metrics[name] == history[name].iloc[-1]
    assert metrics["val/acc1_best"] == history["val/acc1"].max()
    assert metrics["epochs"] == 3

    hand = by_hand(folder, "best.ckpt")
    assert {name: metrics[name] for name in hand} == pytest.approx(hand, abs=1e-3)

    predictions = np.load(folder / "predictions.npz")
    kept = ["confidence", "label_confidence", "acc1", "acc5", "nll", "brier"]
    if "test/temperature" in metrics:  # the last validation's images may all be right
        kept.append("confidence_t")
        error = calibration_error(predictions["confidence_t"], predictions["acc1"])
        assert error == pytest.approx(metrics["test/ece_t"], abs=1e-3)
    assert sorted(predictions.files) == sorted(["index", "label", "top1", "probabilities", *kept])
    assert predictions["probabilities"].shape == (121, 10)
    table = pd.read_csv(folder / "predictions.csv")
    assert list(table) == ["index", "label", "class", "top1", "predicted", "right", *kept]
    for name in ("acc1", "acc5", "nll"):
        scale = 1 if name == "nll" else 100
        assert scale * predictions[name].mean() == pytest.approx(metrics[f"test/{name}"], abs=1e-4)
    assert stored["data"] == {"classes": 10, "images": {"train": 270, "val": 30, "test": 121}, "passed_over": {},
                              "notes": []}  # fmt: skip
    data = instantiate(config.dataset)
    data.setup()
    labels = np.concatenate([batch["label"] for batch in data.test_dataloader()])
    np.testing.assert_array_equal(predictions["index"], np.arange(121))
    np.testing.assert_array_equal(predictions["label"], labels)
    assert 100 * np.mean(predictions["top1"] == labels) == pytest.approx(metrics["test/acc1"], abs=1e-4)

    cost = stored["cost"]
    module = 9 * 32 * 8 + 8 + 8 + 1
    host = 269_434
    assert (cost["params"], cost["trainable_params"], cost["module_params"]) == (host + module,) * 2 + (module,)
    assert (cost["batch"], cost["dtype"], cost["devices"], cost["threads"]) == (60, "32-true", 1, 1)
    assert (cost["insertion_sites"], cost["device"]) == (["layer2"], stored["host"]["processor"])
    assert cost["macs"] == 40_256_128 + 16 * 16 * (9 * 32 * 8 + 8)
    assert cost["train_s"] == pytest.approx(history["epoch_s"].sum(), abs=0.01)
    assert cost["img_per_s"] == pytest.approx(3 * 240 / history["epoch_s"].sum(), rel=0.02)
    assert cost["session_s"] > cost["train_s"] > 0
    assert 0 < cost["test_cpu_ms"] < 2 * 1e3 / cost["test_img_per_s"]  # one thread; loading has few of its own
    assert 100 < cost["peak_mib"] < 10_000
    assert set(cost) == {
        "params", "trainable_params", "module_params", "macs", "insertion_sites", "train_s", "img_per_s", "batch",
        "effective_batch", "dtype", "device", "devices", "threads", "instruction_set", "flush_denormal", "peak_mib",
        "session_s", "test_img_per_s", "test_cpu_ms",
    }  # fmt: skip

    for shown in (f"{metrics['test/acc1']:.2f} %", f"{metrics['test/pointing_game']:.2f} %", "loupe after layer2",
                  f"{host + module:,} (module {module:,})", str(folder)):  # fmt: skip
        assert shown in ended.out


def test_a_finished_run_is_not_repeated_unless_asked(train, folders, facts):
    first = train()
    (folder,) = folders()
    before, stored = (folder / "metrics.json").read_bytes(), facts()
    again = train("data_dir=elsewhere", "trainer.log_every_n_steps=1")
    assert (again.code, again.err) == (0, "")
    assert again.out == first.out
    assert (folder / "metrics.json").read_bytes() == before
    repeated = train("rerun=true")
    assert (repeated.code, repeated.err.count("epoch 1/1")) == (0, 1)
    assert facts()["metrics"] == stored["metrics"]
    assert (folder / "metrics.json").read_bytes() != before
    assert folders() == [folder]


def test_the_seed_decides_the_numbers(train, folders, tmp_path):
    for seed, out in ((0, "out"), (1, "out"), (0, "out/runs/again/runs")):
        assert train("attention=cbam", f"seed={seed}", f"output_dir={tmp_path / out}").code == 0
    read = {path.parent: json.loads(path.read_text()) for path in tmp_path.rglob("metrics.json")}
    twins = [stored["metrics"] for stored in read.values() if stored["seed"] == 0]
    (other,) = [stored["metrics"] for stored in read.values() if stored["seed"] == 1]
    assert len(twins) == 2
    assert twins[0] == twins[1]
    assert twins[0]["test/loss"] != other["test/loss"]


def test_the_last_epoch_is_tested_when_asked(train, folders, facts):
    assert train("evaluate=last", base=CLUTTERED).code == 0
    (folder,), metrics = folders(), facts()["metrics"]
    last, best = by_hand(folder, "last.ckpt"), by_hand(folder, "best.ckpt")
    assert {name: metrics[name] for name in last} == pytest.approx(last, abs=1e-3)
    assert last["test/loss"] != pytest.approx(best["test/loss"], abs=1e-3)


def test_a_run_without_validation_tests_its_last_epoch(train, folders, facts):
    assert train("dataset.val_fraction=0", "attention=none", "evaluate=last").code == 0
    assert set(facts()["metrics"]) == {name for name in PLAIN if not name.startswith("val/")}
    (folder,) = folders()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_run_starts_from_the_weights_of_another(train, folders, facts, tmp_path):
    train("attention=none")
    (folder,) = folders()
    scores = facts()["metrics"]["test/acc1"], facts()["metrics"]["test/loss"]
    frozen = ("optimizer.lr=1e-20", "trainer.max_epochs=1", "dataset.train_size=64", "evaluate=best")
    start = folder / "checkpoints" / "best.ckpt"
    ended = train("attention=none", *frozen, f"checkpoint='{start}'", f"output_dir={tmp_path / 'second'}")
    assert ended.code == 0
    (second,) = tmp_path.glob("second/runs/*/*/*/checkpoints/best.ckpt")
    kept = {path: torch.load(path, weights_only=True)["state_dict"] for path in (start, second)}
    for name, value in kept[start].items():
        if name.endswith(".weight") and "bn" not in name:
            assert torch.equal(kept[second][name], value), name
    assert scores != (0.0, 0.0)


@pytest.mark.parametrize("overrides", [
    ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", "optimizer.lr=1e-12",
     "callbacks.early_stopping.min_delta=5", "trainer.max_epochs=6"],
])  # fmt: skip
def test_early_stopping_ends_a_run(train, facts, overrides):
    assert train("attention=none", *overrides).code == 0
    assert facts()["metrics"]["epochs"] == 2


def test_mixing_makes_a_run_of_its_own(train, folders, tmp_path):
    for choice in ("none", "mixup"):
        assert train("attention=none", f"mixing={choice}").code == 0
    one, other = (json.loads((folder / "metrics.json").read_text())["metrics"] for folder in folders())
    assert one["train/loss"] != other["train/loss"]


def test_mixed_precision(train, facts):
    assert train("trainer.precision=bf16-mixed", "attention=self_attention").code == 0
    assert facts()["cost"]["dtype"] == "bf16-mixed"


OPTIMIZERS = sorted(path.stem for path in (ROOT / "configs/optimizer").glob("*.yaml"))


@pytest.mark.parametrize(
    ("optimizer", "scheduler"), [*((name, "cosine") for name in OPTIMIZERS), ("adam", "multistep")]
)
def test_checkpoints_hold_plain_objects_only(train, optimizer, scheduler, tmp_path):
    """They are read back with `weights_only`, for the test and for resuming: a config object inside ends the run."""
    callbacks = "callbacks=[default,early_stopping,ema]"
    ended = train(f"optimizer={optimizer}", f"scheduler={scheduler}", "attention=cbam", callbacks)
    assert ended.code == 0, ended.err
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    assert all(type(group.get("betas", ())) in (tuple, list) for group in state["optimizer_states"][0]["param_groups"])


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_network_in_another_precision_is_counted_too(train, facts, precision):
    assert train("attention=none", f"trainer.precision={precision}").code == 0
    assert (facts()["cost"]["macs"], facts()["cost"]["dtype"]) == (2_516_608, precision)  # by hand
