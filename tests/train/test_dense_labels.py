"""A run whose patches learn a convolutional teacher's labels, made by the same command; what it cannot be with."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import timm
from timm.data import Mixup

from zoomexp.backbones.lv_vit import lv_vit
from zoomexp.errors import InputError
from zoomexp.run.prepare import check_dense_labels

DATA = ("dataset=digits", "dataset.train_size=80", "dataset.test_size=30", "dataset.batch_size=16", "attention=none")
FEW = (*DATA, "trainer.max_epochs=1", "logger=none")
TEACHER = ",".join(f"'{word}'" for word in (*DATA, "backbone=resnet20", "trainer.max_epochs=1"))
STUDENT = ("backbone=lv_vit_s", "backbone.image_size=8", "backbone.patch_size=2", "backbone.embed_dim=16",
           "backbone.depth=2", "backbone.num_heads=2", "backbone.mix_token=true", "loss=cross_entropy")  # fmt: skip


def test_one_command_makes_teacher_labels_and_student(train, tmp_path):
    words = ("relevance=dense_labels", f"+needs.teacher=[{TEACHER}]", *STUDENT)
    ended = train(*words, base=FEW)
    assert ended.code == 0, ended.err
    (teacher,) = tmp_path.glob("out/runs/*/resnet20-*/seed0-*")
    (file,) = teacher.glob("maps/dense_labels-digits-*.npy")
    facts, labels = json.loads(file.with_suffix(".json").read_text()), np.load(file)
    assert labels.shape == (facts["images"], 2, 5, 2, 2) and labels.dtype == np.float16
    assert (facts["layers"], facts["normalisation"]) == ([2, 5], "none")
    assert set(np.unique(labels[:, 1])) <= set(range(10)) and (np.diff(labels[:, 0], axis=1) <= 0).all()
    (student,) = tmp_path.glob("out/runs/*/lv_vit_s-*/seed0-*")
    row = pd.read_csv(student / "history.csv").iloc[-1]
    assert row["train/patches"] > 0 and row["train/loss"] == pytest.approx(
        row["train/patches"] + row["train/cross_entropy"]
    )
    refused = train(*words, "tokens=tome", "tokens.r=1", "backbone.mix_token=false", base=FEW)
    assert refused.code == 2 and refused.err.strip().splitlines()[-1] == (
        "error: relevance=dense_labels: no logits of patches; choose backbone=lv_vit_s and tokens=uniform"
    )


def test_what_would_not_learn_them():
    net = lv_vit(num_classes=3, in_chans=3, image_size=32, embed_dim=24, depth=1)
    check_dense_labels(SimpleNamespace(model=net, mixing=None))
    with pytest.raises(InputError, match=r"^mixing: would mix images without their dense labels; choose mixing=none$"):
        check_dense_labels(SimpleNamespace(model=net, mixing=Mixup))
    with pytest.raises(InputError, match=r"^relevance=dense_labels: no logits of patches; choose backbone=lv_vit_s"):
        check_dense_labels(SimpleNamespace(model=timm.create_model("resnet10t"), mixing=None))
