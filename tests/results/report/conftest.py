"""Run folders with known numbers, and pages read back with html.parser."""

import json
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from zoomexp.results.report.groups import seed_groups
from zoomexp.results.report.runs import read_runs


def record(root: Path, attention: str, seed: int, acc: float, changes: dict | None = None, **facts) -> Path:
    """A finished run of `resnet20` on `digits`; `changes` are dotted paths into its config."""
    config = {
        "dataset": {"_target_": "d", "train_size": 100, "batch_size": 8, "seed": seed},
        "attention": {} if attention == "none" else {"_target_": attention, "threshold": 0.5},
        "optimizer": {"lr": 0.1},
        "scheduler": {"epochs": 4},
        "trainer": {"max_epochs": 4, "devices": seed},  # where it ran does not count
        "seed": seed,
    }
    for path, value in (changes or {}).items():
        *parents, key = path.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[key] = value
    name = f"seed{seed}-{zlib.crc32(json.dumps(config).encode()):08x}"
    folder = root / "runs" / "digits" / f"resnet20-{attention}-default" / name
    folder.mkdir(parents=True)
    choices = {"dataset": "digits", "backbone": "resnet20", "attention": attention, "insertion": "default"}
    metrics = {
        "status": "finished", "choices": choices, "seed": seed, "metrics": {"test/acc1": acc},
        "cost": {"params": 1234, "macs": 2e6 if attention == "none" else 5e6, "img_per_s": 100.0, "device": "CPU"},
        "git": {"sha": "c" * 40, "dirty": False},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics | facts))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(name="record")
def record_fixture():
    """`record(root, attention, seed, acc, changes)` writes a run folder."""
    return record


class Page(HTMLParser):
    """Elements as (tag, attributes, all text inside), in order of their ends."""

    VOID = ("meta", "img", "input", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        assert self.open == []  # everything that was opened was closed

    def handle_starttag(self, tag, attributes):
        self.open.append((tag, dict(attributes), []))
        if tag in self.VOID:
            self.handle_endtag(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), ""))

    def handle_data(self, data):
        for _, _, texts in self.open:
            texts.append(data)

    def handle_endtag(self, tag):
        opened, attributes, texts = self.open.pop()
        assert opened == tag, f"{opened} is closed by {tag}"
        self.elements.append((tag, attributes, " ".join("".join(texts).split())))

    def all(self, tag: str, **wanted: str) -> list[tuple[dict, str]]:
        found = [(attributes, text) for name, attributes, text in self.elements if name == tag]
        return [one for one in found if all(one[0].get(key.rstrip("_")) == value for key, value in wanted.items())]


@pytest.fixture
def parse():
    """`parse(text)` reads a page."""
    return Page


@pytest.fixture
def six(tmp_path):
    """Three seeds each of a gate (runs 0 to 2) and of the plain net (3 to 5), with predictions of 200 images."""
    generator = np.random.default_rng(0)
    correct = {"none": generator.random((3, 200)) < 0.8, "gate": generator.random((3, 200)) < 0.9}
    for attention, accuracies in (("gate", (80, 81, 82)), ("none", (90, 91, 92))):
        for seed, acc in enumerate(accuracies):
            folder = record(tmp_path, attention, seed, acc)
            right = correct[attention][seed]
            np.savez(folder / "predictions.npz", label=np.zeros(200, int), top1=1 - right)
    return tmp_path, correct


@pytest.fixture
def groups_of():
    """The seed groups of the runs below a folder."""
    return lambda root: seed_groups(read_runs(root / "runs")[0])
