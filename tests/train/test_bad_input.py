"""Bad input: exit code 2, one line that names the field and says what is allowed, and nothing written."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

BAD = {
    "option": (["optimizer.learning_rate=1"], r"optimizer\.learning_rate: no such option; allowed: .*lr"),
    "group": (["optimiser=sgd"], r"optimiser: no such option; allowed: .*optimizer"),
    "choice": (["attention=atzoom"], r"attention/atzoom.*attzoom.*cbam.*loupe"),
    "appended option": (["+attention.depth=3"], r"attention\.depth: Loupe has no such option; allowed: reduction"),
    "threshold": (["attention=attzoom", "attention.threshold=1.5"], r"attention\.threshold=1\.5 must be .* \[0, 1\]"),
    "threshold word": (["attention=attzoom", "attention.threshold=big"], r"attention\.threshold='big' must be"),
    "heads": (["attention=multi_head", "attention.heads=3"], r"attention\.heads must divide the 16 channels .*got 3"),
    "no option": (["attention=none", "+attention.foo=1"], r"attention\.foo: no such option; allowed: none, unless"),
    "nested choice": (["experiment=loupe/cub"], r"experiment/loupe/cub: no such choice; allowed: cub200, cub2"),
    "folder of choices": (["experiment=cub"], r"experiment/cub: .*allowed: attzoom/\.\.\., cnntention/\.\.\., "),
    "listed choice": (["callbacks=[default,emma]"], r"callbacks/emma: .*: corruptions, default, .*, ema, perturbation"),
    "choice of a sweep": (["-m", "attention=loupe,cbamm"], r"attention/cbamm.*attzoom.*cbam.*loupe"),
    "flag": (["--foo"], r"unrecognized arguments: --foo; allowed: name=value, and before these -m"),
    "value of a flag": (["--info=x"], r"--info/-i: invalid choice: 'x' \(choose from .*plugins.*\)$"),
    "site": (["insertion=stage4"], r"insertion\.at=stage4: no site 'stage4'; allowed: .*0=layer1.*2=layer3"),
    "site index": (["insertion.at=[7]"], r"insertion\.at=\[7\]: no site 7; allowed: .*0=layer1"),
    "no site": (["insertion.at=[]"], r"insertion\.at=\[\]: names no site; allowed"),
    "batch": (["dataset.batch_size=129"], r"dataset\.batch_size=129 is larger than .*at most 128"),
    "batch zero": (["dataset.batch_size=0"], r"dataset\.batch_size=0 must be a whole number, at least 1"),
    "mixed batch": (["mixing=mixup", "dataset.batch_size=3"], r"dataset\.batch_size: mixing needs an even number .*3$"),
    "image size": (
        ["backbone=vit_digits", "attention=none", "dataset.image_size=10"],
        r"dataset\.image_size=10 must be backbone\.image_size=48, as it is by default$",
    ),
    "no patch": (
        ["backbone=vit_digits", "attention=none", "backbone.image_size=4"],
        r"backbone\.image_size=4 must be at least 8, a patch's side$",
    ),
    "tokens of a CNN": (["backbone=resnet20", "tokens=tome"], r"tokens: the backbone must be a Vision.*, got ResNet20$"),  # noqa: E501
    "trained run": (["backbone=trained", "backbone.run=/x"], r"backbone\.run=/x: no run folder"),
    "train size": (["dataset.train_size=100000"], r"dataset\.train_size=100000"),
    "seed": (["seed=-1"], r"seed=-1 must be a whole number"),
    "evaluate": (["evaluate=first"], r"evaluate=first is unknown; allowed: best, last"),
    "timm name": (["backbone=timm"], r"backbone\.name: must be given"),
    "unknown timm name": (["backbone=timm", "backbone.name=resnett50"], r"backbone\.name=resnett50.*near: .*resnet50"),
    "weights": (["backbone.pretrained=true"], r"backbone\.pretrained=true: .*only false"),
    "optimizer": (["optimizer.opt=adamx"], r"optimizer\.opt=adamx.*adam"),
    "lr": (["optimizer.lr=0"], r"optimizer\.lr=0 must be a finite number above 0"),
    "lr nan": (["optimizer.lr=nan"], r"optimizer\.lr=nan must be a finite number above 0"),
    "lr word": (["optimizer.lr=fast"], r"optimizer\.lr='fast' must be a finite number above 0"),
    "decay": (["optimizer.weight_decay=-1"], r"optimizer\.weight_decay=-1 must be a finite number, at least 0"),
    "no_decay": (["optimizer.no_decay=[gates]"], r"optimizer\.no_decay: unknown \['gates'\]; allowed: norm, bias"),
    "momentum": (["optimizer.momentum=-1"], r"optimizer.*momentum"),
    "milestones": (["scheduler=multistep", "scheduler.milestones=[5,3]"], r"scheduler\.milestones must be rising"),
    "warm-up": (["scheduler=cosine", "scheduler.warmup_epochs=1"], r"scheduler\.warmup_epochs=1 must be in \[0, 1\)"),
    "epochs": (["trainer.max_epochs=0"], r"trainer\.max_epochs=0 must be a whole number, at least 1"),
    "endless": (["scheduler=none", "trainer.max_epochs=-1"], r"trainer\.max_epochs=-1 must be a whole number"),
    "smoothing": (["loss.label_smoothing=1"], r"loss\.label_smoothing=1 must be a number in \[0, 1\)"),
    "kernel": (["attention=cbam", "attention.kernel_size=4"], r"attention\.kernel_size=4 must be an odd"),
    "no maps": (["attention=none", "loss=sparse_gate"],
                r"loss=SparseGate: needs a module with a map, .*; choose loss=cross_entropy"),
    "sparsity": (["loss=sparse_gate", "loss.sparsity=-1"], r"loss\.sparsity=-1 must be a finite number, at least 0"),
    "zoomer that classifies": (["backbone=zoomer", "attention=none", "backbone.image_size=16", "backbone.patch_size=4"],
                               r"backbone=zoomer: gives maps, not classes; choose task=distill_zoomer"),
    "clipping": (["trainer.gradient_clip_val=-1"], r"trainer\.gradient_clip_val=-1 must be a finite"),
    "steps": (["trainer=smoke", "trainer.max_steps=0"], r"trainer\.max_steps=0 must be a whole number, at least 1"),
    "deterministic": (["trainer.deterministic=no"], r"trainer\.deterministic='no' must be true or false"),
    "rerun": (["rerun=no"], r"rerun='no' must be true or false"),
    "no for false": (["attention=cbam", "attention.residual=no"], r"attention\.residual='no' must be true or false"),
    "keep size": (["attention=attzoom", "attention.keep_size=yes"], r"attention\.keep_size='yes' must be true or"),
    "scale": (["attention=self_attention", "attention.scale=2"], r"attention\.scale=2 must be true or false"),
    "keep map": (["attention=multi_head", "attention.keep_map=on"], r"attention\.keep_map='on' must be true or false"),
    "weights, a word": (["backbone.pretrained=no"], r"backbone\.pretrained='no' must be true or false"),
    "precision": (["trainer.precision=31"], r"trainer.*31"),
    "no GPU": (["trainer=gpu"], r"trainer\.accelerator=gpu: no GPU here .*allowed: cpu, auto$"),
    "no device": (["trainer.devices=0"], r"trainer\.devices=0 must be a whole number, at least 1, or auto"),
    "missing checkpoint": (["checkpoint=nowhere.ckpt"], r"checkpoint=nowhere\.ckpt: no such file"),
    "mean": (["dataset.mean=[0.1,0.2]"], r"dataset\.mean has 2 values; these images have 1 channels"),
    "crop": (["dataset.crop_size=99"], r"dataset\.crop_size=99 is larger than the padded image; at most 10"),
    "no batches": (["trainer.limit_train_batches=0"], r"trainer\.limit_train_batches"),
    "shared batch": (["trainer=ddp", "dataset.batch_size=65"], r"dataset\.batch_size=65 must be a multiple of the 2 "),
    "start without weights": (["evaluate=start"], r"evaluate=start: the network has no weights but random ones"),
    "best of nothing": (["dataset.val_fraction=0"], r"evaluate=best: no epoch is validated .*; choose evaluate=last$"),
    "best of no epoch": (["trainer.check_val_every_n_epoch=2"], r"evaluate=best: no epoch is validated .*every_n"),
    "best of no whole epoch": (["+trainer.max_steps=1", "dataset.batch_size=32"],
                               r"evaluate=best: no epoch is validated .*trainer\.max_steps"),
    "share of no batch": (["trainer.limit_val_batches=0.01"], r"limit_val_batches=0\.01 and .* leave no batch to val"),
    "no test": (["trainer.limit_test_batches=0"], r"trainer\.limit_test_batches=0 and .* leave no batch to test on"),
    "stopping by nothing": (["callbacks=[default,early_stopping]", "evaluate=last", "trainer.limit_val_batches=0"],
                            r"callbacks\.early_stopping\.monitor=val/loss: no epoch is validated"),
    "layer decay": (["optimizer.layer_decay=2"], r"optimizer\.layer_decay=2 must be a number in \(0, 1\], or null$"),
    "timm's own groups": (["+optimizer.filter_bias_and_bn=false"], r"optimizer\.filter_bias_and_bn: no such option"),
    "an option of others": (["optimizer=adamw", "+optimizer.momentum=0.5"], r"optimizer\.momentum: adamw has no s"),
    "fast run": (["+trainer.fast_dev_run=true"], r"trainer\.fast_dev_run: not an option of a run, .* trainer=smoke$"),
    "within an epoch": (["+trainer.val_check_interval=0.5"], r"trainer\.val_check_interval: not an option of a run"),
    "profiler": (["trainer.profiler=fast"], r"trainer\.profiler='fast' must be one of simple, advanced, pytorch$"),
    "time": (["+trainer.max_time=soon"], r"trainer\.max_time='soon' must be days:hours:minutes:seconds, for example"),
    "callback and logger": (["+callbacks.rates={_target_: pytorch_lightning.callbacks.LearningRateMonitor}"],
                            r"callbacks\.rates: needs a logger, and there is none; choose logger=wandb$"),
    "finder": (["+callbacks.size={_target_: pytorch_lightning.callbacks.BatchSizeFinder}"],
               r"callbacks\.size: BatchSizeFinder is not for a run: it changes .*; choose dataset\.batch_size$"),
    "late average": (["+callbacks.it={_target_: pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: .1}"],
                          r"callbacks\.it: Stochastic.* is not tested; choose callbacks=\[default,ema\]$"),
    "callback, a number": (["callbacks.gates=5"], r"callbacks\.gates=5 must name a class by _target_, or be null$"),
    "callback's option": (["callbacks.gates.evry=5"], r"callbacks\.gates\.evry: no such option; allowed: .*every"),
    "callback's value": (["+callbacks.it={_target_: pytorch_lightning.callbacks.StochasticWeightAveraging,swa_lrs:-1}"],
                         r"callbacks\.it: The `swa_lrs` should a positive float"),
    "no callback": (["+callbacks.it={_target_: datetime.timedelta}"], r"callbacks\.it: timedelta is no callback of"),
    "syntax": (["attention.threshold"], r"attention\.threshold"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(train, tmp_path, case):
    overrides, message = BAD[case]
    assert_refused(train(*overrides), message, tmp_path)


def assert_refused(ended, message, tmp_path, left=()):
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("error: ")
    assert re.search(message, lines[0]), lines[0]
    assert ended.code == 2
    assert ended.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(left)


def test_a_mode_that_wandb_does_not_know(train, tmp_path):
    base = ("dataset=digits", "logger.mode=offlin")
    assert_refused(
        train(base=base), r"logger\.mode='offlin' must be one of online, offline, disabled, shared$", tmp_path
    )


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_missing_data(train, tmp_path, name):
    base = (f"dataset={name}", "logger=none", f"data_dir={tmp_path / 'nothing'}")
    ended = train(base=base)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "data_dir" in ended.err
    assert name in ended.err.lower().replace("-", "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["truncated", "nonsense"])
def test_unreadable_data(train, tmp_path, damage):
    images = np.zeros((20, 32, 32, 3), np.uint8)
    labels = np.arange(20) % 10
    file = tmp_path / "cifar10.npz"
    classes = np.array([str(i) for i in range(10)])
    np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels, classes=classes)
    file.write_bytes(file.read_bytes()[:3000] if damage == "truncated" else b"nonsense")
    ended = train(base=("dataset=cifar10", "logger=none", f"data_dir={tmp_path}"))
    assert_refused(ended, r"cifar10\.npz", tmp_path, left=["cifar10.npz"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nonsense", "not a readable checkpoint"),
        (None, r"of another model; \d+ of \d+ tensors differ, for example bn1.bias"),
    ],
)
def test_unsuitable_checkpoint(train, tmp_path, content, message):
    file = tmp_path / "other.ckpt"
    if content:
        file.write_bytes(content)
    else:
        torch.save({"state_dict": {"model.conv1.weight": torch.zeros(16, 3, 3, 3)}}, file)
    ended = train(f"checkpoint='{file}'")
    assert_refused(ended, message, tmp_path, left=["other.ckpt"])


def test_output_folder_that_is_a_file(train, tmp_path):
    (tmp_path / "out").write_text("in the way")
    assert_refused(train(), r"output_dir: cannot write .*; name a writable one", tmp_path, left=["out"])
    assert (tmp_path / "out").read_text() == "in the way"


def test_read_only_output_folder(train, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir(mode=0o555)
    mkdir = Path.mkdir

    def refuse(folder, *args, **kwargs):  # what a read-only folder does to everyone but root
        if folder.is_relative_to(tmp_path / "out"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        mkdir(folder, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert_refused(train(), r"output_dir: cannot write .*Permission denied", tmp_path, left=["out"])


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_diverging_loss_fails_the_run_and_names_the_step(train, facts, epochs):
    ended = train("recipe=none", "optimizer.lr=1e30", "dataset.batch_size=32", f"trainer.max_epochs={epochs}")
    assert ended.code == 1
    assert [line for line in ended.err.splitlines()[2:] if not line.startswith(("epoch ", "module at "))] == [
        "error: the loss became NaN or infinite at step 1"
    ]
    stored = facts()
    assert stored["status"] == "failed: DivergedError: the loss became NaN or infinite at step 1"
    assert (stored["metrics"], stored["cost"]) == ({}, {})
    json.dumps(stored, allow_nan=False)
