"""What is told of a command line without composing it is what composing it gives; what cannot be told stays open."""

import pytest

from tests.train.conftest import ROOT
from zoomexp.run.choices import choices_told, may_be_among

CONFIGS = ROOT / "configs"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], {}),
        (["tokens=tome"], {}),
        (["experiment=cnntention/cifar10_cbam"], {"dataset": "cifar10", "backbone": "resnet20", "attention": "cbam"}),
        (["experiment=cnntention/cifar10_cbam", "attention=none"],
         {"dataset": "cifar10", "backbone": "resnet20", "attention": "none"}),
        (["experiment=zoomvit/digits_at", "task.seed=1"],
         {"dataset": "cluttered_digits", "backbone": "trained", "attention": "none"}),
        (["experiment=nowhere", "backbone=${x}"], {}),
    ],
)  # fmt: skip
def test_choices_told(words, told):
    assert choices_told(words, CONFIGS) == told


def test_may_be_among():
    there = {"cifar10/resnet20-cbam-default"}
    assert may_be_among(["experiment=cnntention/cifar10_cbam"], CONFIGS, there)
    assert not may_be_among(["experiment=cnntention/cifar10_cbam", "attention=none"], CONFIGS, there)
    assert may_be_among(["attention=cbam"], CONFIGS, there)
    assert not may_be_among(["dataset=cifar1"], CONFIGS, there)
    assert not may_be_among([], CONFIGS, ())
