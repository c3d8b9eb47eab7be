"""The model card of an exported network: what it is, what it was trained and tested on, and what it is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from zoomexp.results.stored import read_config

SHOWN = ("test/acc1", "test/acc5", "test/loss", "test/pointing_game", "test/tokens")


def model_card(facts: Mapping[str, Any], network: str, files: Mapping[str, Any], folder: Path) -> str:
    """The card in Markdown.

    Args:
        facts: The record of a finished run.
        network: What it is made of, in a few words.
        files: What was exported, by its name: "difference", the largest of a logit from the network's, and "images",
            over how many.
        folder: The run's folder, with `config.yaml` and `predictions.npz`.
    """
    choices = {name: choice for name, choice in facts["choices"].items() if choice not in (None, "none")}
    classes = facts.get("classes") or []
    seeing = facts.get("seeing") or {}
    git = facts["git"]
    return "\n".join([
        f"# {facts['run']}",
        "",
        f"{network}, "
        f"{facts['cost']['params']:,} parameters, {facts['cost']['macs'] / 1e6:,.1f} M multiply-accumulates an image.",
        "",
        *(f"- `{name}`: checked against the network on {file['images']} images: logits differ by at most "
          f"{file['difference']:.2g}." for name, file in files.items()),
        "",
        "## Use",
        "",
        f"Input: images (B, {seeing.get('channels')}, {seeing.get('image_size')}, {seeing.get('image_size')}) float32, "
        f"the central square of {seeing.get('crop_pct')} of the short side, minus mean {seeing.get('mean')} over std "
        f"{seeing.get('std')} of values in 0..1. Output: logits of {len(classes)} classes, in the order below.",
        "",
        f"Intended for images like those of the data set {choices.get('dataset')}, with one object of one of these "
        "classes in each. It was tested on nothing else: images of other sources, of other classes or without any of "
        "them are still given one of these names, and its probabilities are not calibrated.",
        "",
        "## Data and training",
        "",
        f"Data set {choices.get('dataset')}; seed {facts['seed']}; "
        f"{facts['metrics'].get('epochs', 'no')} epochs; {_tested(folder)}.",
        "",
        "| choice | |",
        "|---|---|",
        *(f"| {name} | {choice} |" for name, choice in choices.items()),
        *(f"| typed | `{word}` |" for word in facts["overrides"]),
        "",
        "## Measured",
        "",
        "| metric | value |",
        "|---|---|",
        *(f"| {name} | {facts['metrics'][name]:.2f} |" for name in SHOWN if name in facts["metrics"]),
        *_interval(folder),
        "",
        f"Code: commit {git['sha']}{' with local changes' if git['dirty'] else ''}; "
        f"{', '.join(f'{name} {version}' for name, version in facts['versions'].items())}.",
        "",
        "## Classes",
        "",
        ", ".join(classes),
        "",
    ])  # fmt: skip


def _tested(folder: Path) -> str:
    """How often the test images were looked at."""
    config = read_config(folder)
    if config.get("evaluate") == "start":
        return "tested without training"
    if config["dataset"].get("validate_on") == "test":
        return (
            "the test images also validated each epoch (dataset.validate_on=test), so that the numbers below are not "
            "of images unseen until the end"
        )
    return "tested once, at the end"


def _interval(folder: Path) -> list[str]:
    """Top-1 accuracy with the interval that the number of test images allows (Wilson's, 95 %)."""
    try:
        with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
            right = stored["top1"] == stored["label"]
    except (OSError, KeyError, ValueError):
        return []
    bounds = scipy.stats.binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    within = f"{100 * bounds.low:.1f} to {100 * bounds.high:.1f}"
    return [f"| top-1 accuracy, 95 % interval over the {len(right)} test images (Wilson) | {within} |"]
