"""Memory of networks at their peak: weights, images, and what inference or a training step puts on top."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoomexp.metrics.memory import largest_batch, peak_bytes

MIB = 2**20


def footprints(nets: Sequence[nn.Module], images: Tensor, dtype: torch.dtype) -> dict[str, list[float | None]]:
    """Of each network in MiB, on the images' device; on a GPU also the largest batches that fit.

    A training step ends with gradients; an optimizer's state comes on top of it (once the weights for SGD with
    momentum, twice for Adam). In bf16 inference has bf16 weights, and training is autocast, as in train.py.

    Args:
        nets: in single precision.
        images: (B, C, H, W) in single precision; a batch of one is not trained on, for batch norm's sake.
        dtype: of the work.
    """
    inference = [copy.deepcopy(net).to(images.device, dtype).eval() for net in nets]
    training = [copy.deepcopy(net).to(images.device).train() for net in nets]
    trained = len(images) > 1
    found: dict[str, list[float | None]] = {
        "inference_MiB": [peak_mib(net, partial(infer, net, images.to(dtype)), images) for net in inference],
        "training_MiB": [
            peak_mib(net, partial(one_step, net, images, dtype), images) if trained else None for net in training
        ],
    }
    if images.device.type == "cuda":
        found["inference_batch"] = [largest_batch(partial(_infer_many, net, images, dtype)) for net in inference]
        found["training_batch"] = [largest_batch(partial(_step_many, net, images, dtype)) * 2 for net in training]
    return found


def _infer_many(net: nn.Module, images: Tensor, dtype: torch.dtype, count: int) -> None:
    infer(net, enlarged(images, count).to(dtype))


def _step_many(net: nn.Module, images: Tensor, dtype: torch.dtype, pairs: int) -> None:
    one_step(net, enlarged(images, 2 * pairs), dtype)


def infer(net: nn.Module, images: Tensor) -> None:
    """From images to logits."""
    with torch.no_grad():
        net(images)


def one_step(net: nn.Module, images: Tensor, dtype: torch.dtype) -> None:
    """Forward, loss, backward."""
    net.zero_grad()  # a step that did not fit may have left some gradients
    with torch.autocast(images.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = net(images)
        loss = F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long, device=images.device))
    loss.backward()
    net.zero_grad()


def peak_mib(net: nn.Module, work: Callable[[], object], images: Tensor) -> float:
    """Weights and images, and the most that work holds beside them."""
    weights = sum(tensor.nbytes for tensor in (*net.parameters(), *net.buffers()))
    return round((weights + images.nbytes + peak_bytes(work, images.device)) / MIB, 2)


def enlarged(images: Tensor, batch: int) -> Tensor:
    """A batch of that size."""
    return images[:1].expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
