"""What CBAM's channel gates do over many images: the open question of its reduction r ("CNNtention", arXiv 2412.11657).

The gate M_c(x), one number in (0, 1) for each channel, can be the same for all images (then the module is a fixed
rescaling, which the next layer could have learnt) or differ from image to image, channel by channel. Its MLP passes
everything through C / r numbers, so that r limits in how many ways. Of each channel the mean and spread over images are
told, and of all channels together in how many directions the gates vary,

    dimensions = (sum_i l_i)^2 / sum_i l_i^2       l: eigenvalues of the gates' covariance over images

1 if all channels open and shut together, C if each for itself (the participation ratio); 0 if no gate moves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from zoomexp.attention.cbam import CBAM
from zoomexp.relevance.recorder import undisturbed

STILL = 1e-12  # of the gates' variance: rounding


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The channel gates of one module over N images.

    Args:
        place: Its path in the network.
        reduction: r: channels over the hidden width of its MLP.
        mean: (C,) in [0, 1].
        std: (C,), over the images.
        low: (C,), the least.
        high: (C,), the most.
        dimensions: In how many directions the gates vary, 0 to C.
    """

    place: str
    reduction: float
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dimensions: float


class _Sums:
    """What a spectrum needs of the gates (B, C) of batch after batch."""

    def __init__(self) -> None:
        self.images, self.first, self.low, self.high = 0, torch.empty(0), torch.empty(0), torch.empty(0)
        self.total, self.products = torch.empty(0), torch.empty(0)

    def add(self, gates: Tensor) -> None:
        gates = gates.double().cpu()
        if not self.images:  # sums of what differs from the first image, so that nothing is lost to rounding
            self.first, self.low, self.high = gates[0], gates[0], gates[0]
            self.total, self.products = torch.zeros_like(gates[0]), torch.zeros_like(gates[0]).diag()
        apart = gates - self.first
        self.images += len(gates)
        self.total, self.products = self.total + apart.sum(0), self.products + apart.T @ apart
        self.low, self.high = self.low.minimum(gates.amin(0)), self.high.maximum(gates.amax(0))

    def spectrum(self, place: str, module: CBAM) -> Spectrum:
        mean = self.total / self.images
        covariance = self.products / self.images - mean[:, None] * mean
        variance = covariance.diagonal().clamp(min=0)
        trace, square = float(variance.sum()), float(covariance.square().sum())
        dimensions = trace**2 / square if trace > STILL else 0.0
        reduction = module.squeeze.in_features / module.squeeze.out_features
        least, most, spread = self.low.numpy(), self.high.numpy(), variance.sqrt().numpy()
        return Spectrum(place, reduction, (self.first + mean).numpy(), spread, least, most, dimensions)


@torch.no_grad()
def gate_spectra(net: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> list[Spectrum]:
    """The channel gates of every CBAM in a network; empty where there is none.

    Args:
        net: Takes images (B, C, H, W); as it was afterwards.
        batches: With `image`; gone through once.
    """
    modules = {name: module for name, module in net.named_modules() if isinstance(module, CBAM)}
    if not modules:
        return []
    sums = {name: _Sums() for name in modules}
    hooks = [
        module.register_forward_pre_hook(lambda one, given, name=name: sums[name].add(one.channel_gate(given[0])))
        for name, module in modules.items()
    ]
    try:
        with undisturbed(net):
            for batch in batches:
                net(batch["image"])
    finally:
        for hook in hooks:
            hook.remove()
    return [sums[name].spectrum(name, module) for name, module in modules.items()]


def spectra_table(runs: Mapping[str, Sequence[Spectrum]]) -> pd.DataFrame:
    """A row for each channel of each module of each run.

    Columns `run`, `place`, `reduction`, `dimensions`, `channel`, `mean`, `std`, `low` and `high`.
    """
    parts = [
        pd.DataFrame(
            {"run": run, "place": one.place, "reduction": one.reduction, "dimensions": one.dimensions,
             "channel": np.arange(len(one.mean)), "mean": one.mean, "std": one.std, "low": one.low, "high": one.high}
        )
        for run, spectra in runs.items() for one in spectra
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def draw_spectra(runs: Mapping[str, Sequence[Spectrum]], path: Path) -> Path:
    """Draw, for each place, the gates by rank of their mean with their spread over images, and write it as PNG.

    Args:
        runs: Spectra by the run's name; several are drawn over each other.
        path: The file.
    """
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(one.place for spectra in runs.values() for one in spectra))
    figure = Figure(figsize=(3.6 * len(places) + 0.5, 3.8), layout="constrained")
    row = figure.subplots(1, len(places), squeeze=False, sharey=True)[0]
    for axes, place in zip(row, places, strict=True):
        for number, (run, spectra) in enumerate(runs.items()):
            for one in (spectrum for spectrum in spectra if spectrum.place == place):
                label = f"r = {one.reduction:g}, {one.dimensions:.1f} dimensions" + f" ({run})" * (len(runs) > 1)
                _draw(axes, one, f"C{number % 10}", label)
        axes.set(title=place.removeprefix("inserted.").removesuffix(".module"), xlabel="channel by rank", ylim=(0, 1))
        axes.legend(frameon=False, fontsize=7)
    row[0].set_ylabel("channel gate, mean and spread over images")
    figure.savefig(path, dpi=120)
    return path


def _draw(axes: object, one: Spectrum, colour: str, label: str) -> None:
    order = np.argsort(-one.mean)
    x, mean, std = np.arange(len(order)), one.mean[order], one.std[order]
    axes.plot(x, mean, color=colour, label=label)  # type: ignore[attr-defined]  # matplotlib's Axes
    axes.fill_between(x, mean - std, mean + std, color=colour, alpha=0.25, lw=0)  # type: ignore[attr-defined]
