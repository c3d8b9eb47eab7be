"""The model card of an exported network: what it is, what it was trained and tested on, and what it is for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy

SHOWN = ("test/acc1", "test/acc5", "test/loss", "test/pointing_game", "test/tokens")


def model_card(facts: Mapping[str, Any], file: Path, folder: Path, difference: float, images: int) -> str:
    """The card in Markdown.

    Args:
        facts: The record of a finished run.
        file: What was exported.
        folder: The run's folder, with `predictions.npz`.
        difference: Largest difference of a logit from the network's.
        images: Over how many images.
    """
    choices = {name: choice for name, choice in facts["choices"].items() if choice not in (None, "none")}
    classes = facts.get("classes") or []
    seeing = facts.get("seeing") or {}
    git = facts["git"]
    return "\n".join([
        f"# {facts['run']}",
        "",
        f"`{file.name}`: {choices.get('backbone')} with attention {choices.get('attention', 'none')}, "
        f"{facts['cost']['params']:,} parameters, {facts['cost']['macs'] / 1e6:,.1f} M multiply-accumulates an image.",
        f"Checked against the network on {images} images: logits differ by at most {difference:.2g}.",
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
        f"{facts['metrics'].get('epochs', 'no')} epochs; tested once, at the end.",
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
