"""What single attention heads are worth: the accuracy of a network in which one head says nothing.

A head's output Y_h = P_h V_h is set to zero, all else stays as it was trained ("Are Sixteen Heads Really Better than
One?", Michel et al. 2019, arXiv 1905.10650, section 3.2). What a module adds to the heads' sum, its bias and its
residual, is left; a module with one head is then shut but for those.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.relevance.recorder import undisturbed
from zoomexp.results.statistics import paired_bootstrap

Silencing = Callable[[], Any]  # puts a hook in, and returns its handle


@dataclass(frozen=True)
class Ablated:
    """What one head is worth.

    Args:
        place: Path of its module in the network.
        head: Its number there, from 0.
        accuracy: Of the images without it, percent.
        drop: How much higher the accuracy is with it, points.
        low: Lower end of the 95 % interval of `drop` over other test images, by the paired bootstrap.
        high: Upper end.
        changed: Share of the images that are classified otherwise without it, percent.
    """

    place: str
    head: int
    accuracy: float
    drop: float
    low: float
    high: float
    changed: float


def heads_of(net: nn.Module) -> dict[tuple[str, int], Silencing]:
    """How to silence each head of inserted self-attention, and of the blocks of a timm ViT, by place and number."""
    found: dict[tuple[str, int], Silencing] = {}
    for name, module in net.named_modules():
        if isinstance(module, SelfAttention | MultiHead):
            heads, layer, after = getattr(module, "heads", 1), module.value, True  # P 0 = 0
        elif hasattr(module, "num_heads") and hasattr(module, "attn_drop") and hasattr(module, "fused_attn"):
            heads, layer, after = cast(Any, module).num_heads, module.proj, False
        else:
            continue
        for head in range(heads):
            found[name, head] = _silencing(cast(nn.Module, layer), head, heads, 1 if after else -1, after)
    return found


def _silencing(layer: nn.Module, head: int, heads: int, channels: int, after: bool) -> Silencing:
    """A hook on what a layer gives (or takes) that sets a head's share of the channels, dimension `channels`, to 0."""

    def zeroed(values: Tensor) -> Tensor:
        size = values.shape[channels] // heads
        kept = values.clone()
        kept.narrow(channels, head * size, size).zero_()
        return kept

    if after:
        return lambda: layer.register_forward_hook(lambda _module, _given, out: zeroed(out))
    return lambda: layer.register_forward_pre_hook(lambda _module, given: (zeroed(given[0]), *given[1:]))


@contextmanager
def _silenced(silencing: Silencing) -> Iterator[None]:
    handle = silencing()
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def head_ablation(net: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> list[Ablated]:
    """The worth of each head of a classifier, one at a time; empty where nothing attends.

    Args:
        net: Images (B, C, H, W) to logits (B, K); as it was afterwards.
        batches: With `image` and `label` (B,); gone through once.
    """
    heads = heads_of(net)
    if not heads:
        return []
    labels: list[Tensor] = []
    whole: list[Tensor] = []
    without: dict[tuple[str, int], list[Tensor]] = {head: [] for head in heads}
    with undisturbed(net):
        for batch in batches:
            labels.append(batch["label"])
            whole.append(net(batch["image"]).argmax(1))
            for head, silencing in heads.items():
                with _silenced(silencing):
                    without[head].append(net(batch["image"]).argmax(1))
    true, said = torch.cat(labels).numpy(), torch.cat(whole).numpy()
    return [_ablated(*head, true, said, torch.cat(parts).numpy()) for head, parts in without.items()]


def _ablated(place: str, head: int, true: np.ndarray, said: np.ndarray, without: np.ndarray) -> Ablated:
    test = paired_bootstrap(said == true, without == true)
    ends = cast(float, test.low), cast(float, test.high)
    accuracy, changed = (100 * float(share) for share in ((without == true).mean(), (without != said).mean()))
    return Ablated(place, head, accuracy, test.difference, *ends, changed)


def ablation_table(found: Sequence[Ablated]) -> pd.DataFrame:
    """A row for each head: `place`, `head`, `accuracy`, `drop`, its interval `low` to `high`, and `changed`."""
    return pd.DataFrame(found)


def draw_ablation(found: Sequence[Ablated], path: Path) -> Path:
    """Draw each head's drop with its interval, place by place, and write it as PNG."""
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(one.place for one in found))
    figure = Figure(figsize=(max(5.0, 0.25 * len(found) + 0.4 * len(places) + 2), 4), layout="constrained")
    axes, start, ticks = figure.subplots(), 0.0, []
    for place in places:
        heads = [one for one in found if one.place == place]
        x = start + np.arange(len(heads))
        drops = np.array([one.drop for one in heads])
        reach = np.abs([[one.drop - one.low for one in heads], [one.high - one.drop for one in heads]])
        axes.errorbar(x, drops, reach, fmt="o", ms=4, color="tab:blue", ecolor="tab:gray", capsize=2)
        ticks.append(x.mean())
        start += len(heads) + 1.5
    names = [place.removeprefix("inserted.").removesuffix(".module").removesuffix(".attn") for place in places]
    axes.set_xticks(ticks, names, rotation=60 if len(names) > 4 else 0)
    axes.axhline(0, color="black", lw=0.8)
    axes.set(ylabel="drop of accuracy in points", title="Without one head at a time (95 % over test images)")
    figure.savefig(path, dpi=120)
    return path
