"""Features of a data set's images, what a network's last layer sees, kept in a file from one run to the next."""

import hashlib
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from zoomexp.atomic_file import atomic_file
from zoomexp.data_protocols import GivesPlainBatches
from zoomexp.errors import InputError
from zoomexp.weights.fitting import head_names


def head_of(net: nn.Module) -> tuple[str, nn.Linear]:
    """The one linear layer that gives the logits, and its path.

    Raises:
        InputError: The network has none, or several.
    """
    found = [(path, net.get_submodule(path)) for path in sorted(head_names(net))]
    linear = [(path, layer) for path, layer in found if isinstance(layer, nn.Linear)]
    if len(linear) != 1:
        told = ", ".join(path for path, _ in found) or "none"
        raise InputError(f"task=probe: needs a network with one linear last layer; {type(net).__name__} has {told}")
    return linear[0]


@contextmanager
def watching(layer: nn.Linear) -> Iterator[list[Tensor]]:
    """What the layer is given in forwards inside: a list of (B, D)."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        yield seen
    finally:
        hook.remove()


def features_of(net: nn.Module, data: GivesPlainBatches, part: str, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float32 and labels (N,) int64 of a part's images, seen as test images are, in the part's order.

    Args:
        net: In evaluation mode.
        data: Set up.
        part: "train" or "val".
        cache: The folder of files, named after what decides the features: the weights below the last layer, the images
            and how they are seen.

    Raises:
        InputError: See `head_of`.
    """
    path, layer = head_of(net)
    file = cache / f"{part}-{_digest(net, path, data, part)}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as stored:
            return stored["features"], stored["labels"]
    images = len(data.part(part))
    batches = data.plain_batches(part, np.arange(images), data.eval_batch_size)
    found, labels, console = [], [], Console(stderr=True)
    device = layer.weight.device
    shown = track(batches, f"features of {part}", total=-(-images // data.eval_batch_size), console=console,
                  disable=not console.is_terminal)  # fmt: skip
    with torch.no_grad(), watching(layer) as seen:
        for batch in shown:
            net(batch["image"].to(device))
            found.append(seen.pop().float().cpu())
            labels.append(batch["label"].cpu())
    content = {"features": torch.cat(found).numpy(), "labels": torch.cat(labels).numpy()}
    _keep(file, content)
    sys.stderr.write(f"features of {images} images ({part}): {file}\n")
    return content["features"], content["labels"]


def _keep(file: Path, content: Mapping[str, np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    np.savez(written, **cast(dict[str, Any], content))
    with atomic_file(file) as partial:
        partial.write_bytes(written.getbuffer())


def _digest(net: nn.Module, head: str, data: GivesPlainBatches, part: str) -> str:
    """Sixteen hexadecimal digits of what decides the features."""
    from zoomexp.datasets.seeing import Seeing

    digest = hashlib.sha256(repr((type(net).__name__, Seeing.of_data(data), data.part(part).fingerprint())).encode())
    digest.update(str(getattr(net, "features_at", "")).encode())  # of a stage (`heads.stage`)
    for name, value in net.state_dict().items():
        if name.rpartition(".")[0] != head:
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
