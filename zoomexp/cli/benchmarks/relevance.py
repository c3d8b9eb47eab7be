"""Relevance maps in units of a plain forward of the same model and batch."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from zoomexp.cli.benchmarks.options import check_transformer
from zoomexp.cli.script_options import whole_numbers
from zoomexp.metrics.speed import interleaved, ratio
from zoomexp.relevance.gradient import grad_attn
from zoomexp.relevance.lrp import lrp
from zoomexp.relevance.rollout import attention, rollout
from zoomexp.relevance.store import MapReader, MapWriter, Source
from zoomexp.results.provenance import processor
from zoomexp.run.build import network
from zoomexp.run.compose import compose_run
from zoomexp.run.explain import building

OPTIONS = {"batch_size": "8", "rounds": "5"}
METHODS = {"lrp": lrp, "grad_attn": grad_attn, "rollout": rollout, "attention": attention}
MAPS, BATCH = 20_000, 128


def run(options: dict[str, str], overrides: list[str]) -> list[dict[str, Any]]:
    """Time every method on a batch and image by image, and the reading of maps; returns a row for each."""
    batch_size, rounds = whole_numbers(options, "batch_size", "rounds")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with building():
        size = {"num_classes": 1000, "in_chans": 3}
        given = ["backbone=deit_s", "backbone.pretrained=false", "attention=none", *overrides]
        cfg = compose_run(given).cfg
        check_transformer(cfg)
        model = network(cfg, {**size, "image_size": cfg.backbone.image_size}).to(device).eval().requires_grad_(False)
    side = cfg.backbone.image_size
    images = torch.randn(batch_size, 3, side, side, device=device)
    targets = torch.arange(batch_size, device=device)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def one_by_one(method: Callable[..., object]) -> None:
        for image, target in zip(images.split(1), targets.split(1), strict=True):
            method(model, image, target)

    variants: dict[str, Callable[[], object]] = {"forward": forward}
    for name, method in METHODS.items():
        variants |= {name: partial(method, model, images, targets), f"{name} one by one": partial(one_by_one, method)}
    times = interleaved(variants, rounds, device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{processor()}, one thread, CPU time"
    table = Table("method", "forwards", "least", "most", "ms an image",
                  title=f"{cfg.backbone.name}, batch {batch_size}, {rounds} rounds, {where}")  # fmt: skip
    rows = []
    for name, seconds in times.items():
        shares, milliseconds = ratio(seconds, times["forward"]), 1e3 * float(np.median(seconds)) / batch_size
        rows.append({"name": name, **dict(zip(("forwards", "least", "most"), shares, strict=True)), "ms": milliseconds})
        table.add_row(name, *(f"{share:.2f}" for share in shares), f"{milliseconds:.1f}")
    Console().print(table)
    microseconds = 1e6 * reading()
    print(f"a random batch of {BATCH} maps of {MAPS} is read in {microseconds:.0f} us")
    return [*rows, {"name": "batch of maps", "us": microseconds}]


def reading() -> float:
    """Median seconds in which a random batch of maps is read from disk (cached by the system)."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.npy"
        writer = MapWriter(path, Source("none", "none", "none", "none", "none", "none"), MAPS, 14)
        writer.write(np.arange(MAPS), torch.rand(MAPS, 14, 14))
        reader = MapReader(path, "none", MAPS)
        times = []
        for _ in range(200):
            chosen = rng.integers(0, MAPS, BATCH)
            started = time.perf_counter()
            reader.read(chosen)
            times.append(time.perf_counter() - started)
    return float(np.median(times))
