"""What `scripts/visualize.py parts=` measures over many test images: single heads and channel gates."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.status import Status

from zoomexp.errors import InputError
from zoomexp.results.prediction_table import write_table

BATCH = 100


def check_parts(network: Any, folder: Path) -> None:
    """Refuse a run that has nothing to measure.

    Raises:
        InputError: It has neither heads nor channel gates, or says no classes.
    """
    from zoomexp.analysis.head_ablation import heads_of
    from zoomexp.attention.cbam import CBAM
    from zoomexp.tokens.zoomer import Zoomer

    if isinstance(network, Zoomer):
        raise InputError(f"parts: run={folder} gives maps, not classes; there is no accuracy to drop")
    if not heads_of(network) and not any(isinstance(module, CBAM) for module in network.modules()):
        raise InputError(f"parts: run={folder} has neither attention heads nor CBAM's channel gates")


def draw_parts(runs: Sequence[Any], images: str, out: Path, status: Status) -> list[Path]:
    """Measure the parts of the first run's network, and the gates of all; returns the files.

    Args:
        runs: Loaded runs, each with `network`, `data` and `folder`.
        images: "all", or how many test images.
        out: The folder, which is there.
        status: Shows how far it is.
    """
    from zoomexp.analysis.gate_spectra import draw_spectra, gate_spectra, spectra_table
    from zoomexp.analysis.head_ablation import ablation_table, draw_ablation, head_ablation, heads_of

    files: list[Path] = []
    if heads_of(runs[0].network):
        found = head_ablation(runs[0].network, batches(runs[0], images, "images without each head", status))
        write_table(ablation_table(found), out / "head_ablation.csv")
        files += [draw_ablation(found, out / "head_ablation.png"), out / "head_ablation.csv"]
    shown = partial(batches, images=images, what="images through the channel gates", status=status)
    gates = {_name(run.folder): spectra for run in runs if (spectra := gate_spectra(run.network, shown(run)))}
    if gates:
        write_table(spectra_table(gates), out / "gate_spectra.csv")
        files += [draw_spectra(gates, out / "gate_spectra.png"), out / "gate_spectra.csv"]
    return files


def batches(run: Any, images: str, what: str, status: Status) -> Iterator[Mapping[str, Any]]:
    """Batches of test images, evenly spread over the split; says how far it is, and how long it will take."""
    from zoomexp.analysis.changed import spread

    count = len(run.data.part("test"))
    chosen = np.arange(count) if images == "all" else np.array(spread(np.arange(count), int(images)))
    started, seen = time.monotonic(), 0
    for batch in run.data.plain_batches("test", chosen, BATCH):
        left = f", {(time.monotonic() - started) / seen * (len(chosen) - seen):.0f} s left" if seen else ""
        status.update(f"{what}: {seen:,} of {len(chosen):,}{left}")
        yield batch
        seen += len(batch["image"])


def _name(folder: Path) -> str:
    """A run among others: the last two folders of its path."""
    return "/".join(folder.resolve().parts[-2:])
