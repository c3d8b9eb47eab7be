"""Random command lines: each does its two small batches or ends in one line that a user can act on."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.config_files import loaded

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = ("attention", "backbone", "dataset", "insertion", "loss", "mixing", "optimizer", "scheduler", "relevance",
          "task", "tokens", "callbacks", "trainer")  # fmt: skip
PLAIN = {"dataset": "digits", "backbone": "resnet20", "attention": "none", "loss": "cross_entropy", "optimizer": "sgd",
         "scheduler": "cosine", "task": "classification", "trainer": "smoke", "callbacks": "default"}  # fmt: skip
EXPERIMENTS = ("attzoom/cifar100", "attzoom/tiny_imagenet", "cnntention/cifar10_cbam", "cnntention/mnist_multi_head",
               "cnntention/mnist_paper", "loupe/cub200", "zoomvit/digits_teacher", "zoomvit/nowhere")  # fmt: skip
LIKELY = {"dataset": ("digits",) * 30 + ("cluttered_digits",) * 20 + ("image_folder",) * 15,
          "backbone": ("resnet20",) * 15 + ("vit_digits",) * 15}  # fmt: skip
# Where outputs go, how many processes there are and how long it takes: what a test cannot leave to chance.
KEPT = {
    "output_dir", "data_dir", "dataset.data_dir", "dataset.num_workers", "dataset.train_images", "relevance.folder",
    "backbone.pretrained", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.max_steps",
}  # fmt: skip
ODD = ("null", "-1", "0", "1", "2", "1.5", "-0.5", "1e30", "nan", "-inf", "true", "''", "[]", "{}", "[1,2]", "{a: 1}",
       "text", "größe", "'it''s'", "'a b'", "???", "${nowhere}")  # fmt: skip
NONSENSE = (
    "attention", "attention=", "=5", "optimizer.lr=[1,2", "optimizer.lr={", "optimizer.lr='", 'seed="', "größe=1", "~",
    "attention=größe", "attention=none,cbam", "seed=range(3)", "+", "a=b=c", "seed=glob(*)", "+new=1", "~new", "", "()",
    "~experiment", "+optimizer.lr=1", "++optimizer.lr=0.01", "attention@backbone=cbam", "seed=${seed}", "seed=1 000",
    "optimizer.lr=${oc.env:NOWHERE}", "hydra/launcher=nowhere", "evaluate=first", "rerun=maybe", "needs={a: 5}",
    "checkpoint=nowhere.ckpt", "needs={a: [attention=nowhere]}", "logger=nowhere",
)  # fmt: skip
# Options of Lightning's trainer that act while a run goes on, beside those of its own file, and its callbacks.
RUN_TIME = {
    "check_val_every_n_epoch": ("1", "2", "7"), "val_check_interval": ("0.5", "1"), "limit_train_batches": ("0.3", "1"),
    "limit_val_batches": ("0.0", "0.2", "1"), "limit_test_batches": ("0.1", "1"), "max_time": ("00:00:00:01", "soon"),
    "min_epochs": ("1", "5"), "min_steps": ("1", "5"), "max_steps": ("1", "3"), "max_epochs": ("1", "2"),
    "gradient_clip_val": ("0.5", "1e-9"), "gradient_clip_algorithm": ("norm", "value"), "detect_anomaly": ("true",),
    "inference_mode": ("false",), "deterministic": ("true", "warn"), "benchmark": ("true",), "barebones": ("true",),
    "sync_batchnorm": ("true",), "reload_dataloaders_every_n_epochs": ("1",), "overfit_batches": ("1", "0.5"),
    "fast_dev_run": ("true", "2"), "num_sanity_val_steps": ("2", "-1"), "log_every_n_steps": ("1",),
    "profiler": ("simple", "advanced", "pytorch"), "precision": ("bf16-mixed", "bf16-true", "64-true", "16-mixed"),
    "accumulate_grad_batches": ("2", "3"), "enable_progress_bar": ("false", "true"), "model_registry": ("here",),
    "enable_model_summary": ("true",), "enable_checkpointing": ("false",), "plugins": ("[]", "nothing"),
    "logger": ("false", "true"), "callbacks": ("[]",), "default_root_dir": ("here",),
    "use_distributed_sampler": ("true",), "limit_predict_batches": ("1",), "enable_autolog_hparams": ("false",),
    "graph": ("true", "auto"), "on_oom": ("fail",),
}  # fmt: skip
CALLBACKS = {
    "LearningRateMonitor": ("", ", logging_interval: week"), "DeviceStatsMonitor": ("",), "BatchSizeFinder": ("",),
    "LearningRateFinder": (", num_training_steps: 2", ""), "ModelSummary": ("", ", max_depth: deep"),
    "Timer": (", duration: {seconds: 1}", ", duration: soon"), "OnExceptionCheckpoint": (", dirpath: .",),
    "GradientAccumulationScheduler": (", scheduling: {0: 2}", ", scheduling: {}"), "RichModelSummary": ("",),
    "StochasticWeightAveraging": (", swa_lrs: 0.1", ""),
    "EarlyStopping": (", monitor: val/loss", ", monitor: nothing", ""),
    "ModelCheckpoint": ("", ", monitor: nothing"), "TQDMProgressBar": ("",), "RichProgressBar": ("",),
    "BackboneFinetuning": ("",), "WeightAveraging": ("",), "LambdaCallback": ("",), "Nothing": ("",), "Callback": ("",),
    "EMAWeightAveraging": ("", ", decay: 2"), "ThroughputMonitor": (", batch_size_fn: null", ""),
}  # fmt: skip
# What a line says that Python wrote, and nobody for the user.
PYTHON = re.compile(
    r"\b[A-Z]\w*(Error|Exception)\b|object is not|not supported between|unexpected keyword|positional arg|NoneType"
    r"|has no attribute|Error in call|unsupported operand|out of range$"
)
PROGRESS = ("epoch ", "maps ", "module at ")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def options(group: str, choice: str) -> dict[str, list[str]]:
    """Option -> the values its file gives or names in its comment, of a choice that there is."""
    file = CONFIGS / group / f"{choice}.yaml"
    bases = sorted((CONFIGS / group / "shared").glob("*.yaml"))
    text = "\n".join(path.read_text() for path in (file, *bases)) if file.exists() else ""
    found = {}
    for key, value in leaves(loaded(file) if file.exists() else {}, group):
        comment = re.search(rf"^\s*{key.split('.')[-1]}:[^#\n]*#(.*)$", text, re.MULTILINE)
        named = re.findall(r"[\w.]+", comment[1]) if comment else []
        found[key] = [json.dumps(value), *named]
    return found


def leaves(node: dict, path: str) -> list[tuple[str, object]]:
    """Dotted name and value of all that is not a dict."""
    below = [(f"{path}.{name}", value) for name, value in node.items() if name not in ("defaults", "_partial_")]
    return [
        leaf for key, value in below for leaf in (leaves(value, key) if isinstance(value, dict) else [(key, value)])
    ]


def drawn(seed: int) -> list[str]:
    """The words of a command line."""
    rng = random.Random(seed)
    chosen = dict(PLAIN)
    for group in ["dataset", *rng.sample(GROUPS, rng.randint(0, 4))]:
        if group != "trainer":
            chosen[group] = rng.choice([*LIKELY.get(group, ()), *choices(group)])
    if chosen.get("tokens", "uniform") != "uniform" and rng.random() < 0.8:
        chosen |= {"backbone": "vit_digits", "dataset": "cluttered_digits"}
        if "scorer" in (CONFIGS / "tokens" / f"{chosen['tokens']}.yaml").read_text():
            chosen["tokens/scorer"] = rng.choice(("centre", "entropy", *choices("tokens/scorer")))
    words = [f"{group}={choice}" for group, choice in chosen.items() if group != "callbacks"]
    if chosen["callbacks"] != "default":
        words.append(f"callbacks=[default,{chosen['callbacks']}]")
    if rng.random() < 0.1:
        words.append(f"experiment={rng.choice(EXPERIMENTS)}")
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        words.append(one_option(rng, chosen))
    if rng.random() < 0.15:
        words.append(rng.choice((*NONSENSE, rng.choice(words))))
    return words


def one_option(rng: random.Random, chosen: dict[str, str]) -> str:
    known = {key: values for group, choice in chosen.items() for key, values in options(group, choice).items()}
    known = {key.replace("/", "."): values for key, values in known.items()} | options("trainer", "cpu")
    known |= {
        "seed": ["3"],
        "evaluate": ["last", "start"],
        "checkpoint": ["null"],
        "insertion.at": ["stage1", "[0, 1]"],
    }
    key = rng.choice(sorted(set(known) - KEPT))
    value = rng.choice(known[key] if rng.random() < 0.5 else ODD)
    if rng.random() < 0.1:
        key = rng.choice((key[:-1], key + "s", key.upper()))
    return rng.choice(("~" + key, "+" + f"{key}={value}", f"++{key}={value}", *[f"{key}={value}"] * 12))


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder of images, and no other data set."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(24):
        file = root / "images" / ("train", "train", "test")[number % 3] / f"class{number // 3 % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(file)
    return root


def few(words: list[str], data: Path) -> tuple[str, ...]:
    """What keeps a run small, before the words drawn."""
    small = ["logger=none", f"data_dir={data}"]
    dataset = next(word.split("=")[1] for word in words if word.startswith("dataset="))
    small += {"digits": ["dataset.train_size=40", "dataset.test_size=12"],
              "cluttered_digits": ["dataset.train_images=40", "dataset.test_images=12"]}.get(dataset, [])  # fmt: skip
    backbone = next(word.split("=")[1] for word in words if word.startswith("backbone="))
    known = options("backbone", backbone)
    if dataset == "image_folder" and known.get("backbone.image_size", ["null"])[0] == "null":
        small.append("dataset.image_size=32")
    return (*small, *(["backbone.pretrained=false"] if "backbone.pretrained" in known else []))


@pytest.fixture(scope="module")
def needed(tmp_path_factory) -> tuple[str, ...]:
    """Words that name a finished run for all that needs one."""
    out = tmp_path_factory.mktemp("needed")
    words = ("dataset=cluttered_digits", "backbone=vit_digits", "attention=none", "trainer=smoke", "logger=none",
             "dataset.train_images=40", "dataset.test_images=12", f"output_dir={out}")  # fmt: skip
    subprocess.run([sys.executable, str(CONFIGS.parent / "train.py"), *words], check=True, capture_output=True)
    (facts,) = out.rglob("metrics.json")
    return tuple(f"++needs.{name}={facts.parent}" for name in ("teacher", "network", "zoomer"))


def check(train, tmp_path: Path, words: list[str], data: Path, *, alone: bool = True) -> str:
    """Run the words; returns how it ended. `alone`: nothing but progress is said beside an error."""
    given = [
        word for word in few(words, data) if word.split("=")[0] not in {w.lstrip("+~").split("=")[0] for w in words}
    ]
    ended = train(*words, base=tuple(given))
    torch.use_deterministic_algorithms(False)  # what trainer.deterministic leaves in this process
    said = ended.out + ended.err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("out/runs/*/*/*/metrics.json")]
    assert "Traceback" not in said, said
    assert not list(tmp_path.rglob("*.partial*"))
    assert all(record["status"].startswith(("finished", "failed: ")) for record in records)
    if ended.code == 0:
        assert records and all(record["status"] == "finished" for record in records)
        return "finished"
    lines = [line for line in ended.err.splitlines() if not line.startswith(PROGRESS)]
    lines = lines if alone else [line for line in lines if line.startswith("error: ")]
    assert ended.code in (1, 2) and len(lines) == 1 and lines[0].startswith("error: "), said
    assert not PYTHON.search(lines[0]), lines[0]
    return lines[0]


def drawn_at_run_time(seed: int) -> list[str]:
    """The words of a command line with options that act while a run goes on."""
    rng = random.Random(seed)
    words = [f"{group}={choice}" for group, choice in PLAIN.items() if group != "callbacks"]
    words += [f"evaluate={rng.choice(('best', 'last'))}", *rng.choice(((), ("callbacks=[default,early_stopping]",)))]
    for name in rng.sample(sorted(RUN_TIME), rng.choice((0, 1, 1, 2, 3))):
        words.append(f"++trainer.{name}={rng.choice((*RUN_TIME[name] * 3, rng.choice(ODD)))}")
    for number, name in enumerate(rng.sample(sorted(CALLBACKS), rng.choice((0, 1, 1, 2)))):
        options = rng.choice(CALLBACKS[name])
        words.append(f"+callbacks.c{number}={{_target_: pytorch_lightning.callbacks.{name}{options}}}")
    if rng.random() < 0.1:
        words.append(
            rng.choice(("~callbacks.history", "~callbacks.checkpoints", "~callbacks.gates", "callbacks=[ema]"))
        )
    return words


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(15))
def test_random_options_at_run_time(train, tmp_path, data, seed):
    check(train, tmp_path, drawn_at_run_time(seed), data, alone=False)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(15, 15 + int(os.environ.get("ZOOMEXP_FUZZ", "500"))))
def test_many_random_options_at_run_time(train, tmp_path, data, seed, record_property):
    record_property("ended", check(train, tmp_path, drawn_at_run_time(seed), data, alone=False))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", range(25))
def test_a_random_command_line(train, tmp_path, data, seed):
    check(train, tmp_path, drawn(seed), data)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(25, 25 + int(os.environ.get("ZOOMEXP_FUZZ", "500"))))
def test_many_random_command_lines(train, tmp_path, data, needed, seed, record_property):
    record_property("ended", check(train, tmp_path, [*drawn(seed), *needed], data))
