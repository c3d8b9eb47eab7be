"""Inference in CUDA graphs: one launch for a whole forward, where the host would need some hundreds.

    fast = captured(net, images)      net in eval mode and in the precision that it shall have, images as they will come
    logits = fast(images)             of the same shape; good until the next call

Any network without control flow by values can be captured: plain transformers, ZoomViT with a budget, and the token
methods of fixed counts. ZoomViT with a threshold runs in two graphs: the first scores and selects, then the number of
tokens is read, the one time that the device is waited for, and a second graph of the least slots that hold them runs
the rest (see `slots`). These are captured as they are met.

On a CPU there are no graphs: the same functions run on the same buffers, which is how they are tested.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from math import ceil
from typing import Any

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.ragged import Ragged
from zoomexp.tokens.regions import compiled_regions
from zoomexp.tokens.scorers.folded import fold_scorers
from zoomexp.tokens.selection import Selection
from zoomexp.tokens.slots import Slots, in_slots, slots_of
from zoomexp.tokens.zoomvit import ZoomViT

WARM_UP = 2  # calls before a capture: libraries set themselves up in the first
STEPS = 64  # slots for tokens grow in steps of this share of a batch's cells


class Graph:
    """A function of tensors of fixed shapes, captured on a GPU.

    Args:
        function: from tensors to a tensor or a tuple of them, without gradient.
        example: tensors as they will come; on a CPU the function is called at every call.
        shared: whether these tensors themselves are read, as the results of another graph are; else copies.
        pool: memory shared with other graphs, of which none may run between a call and the reading of its result.
    """

    def __init__(
        self, function: Callable[..., Any], example: Sequence[Tensor], *, shared: bool = False, pool: Any = None
    ) -> None:
        self.function, self.inputs = function, [one if shared else one.clone() for one in example]
        self.graph: torch.cuda.CUDAGraph | None = None
        if example and example[0].is_cuda:
            self._capture(pool)

    @torch.no_grad()
    def __call__(self, *values: Tensor) -> Any:
        """The function's result for these values; overwritten by the next call."""
        for own, value in zip(self.inputs, values, strict=True):
            if own is not value:
                own.copy_(value)
        if self.graph is None:
            self.output = self.function(*self.inputs)
        else:
            self.graph.replay()
        return self.output

    @torch.no_grad()
    def _capture(self, pool: Any) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.output = self.function(*self.inputs)


class Slotted:
    """ZoomViT with a threshold, in one graph that selects and one for each number of slots.

    Args:
        net: in eval mode, mode="ragged".
        images: (B, C, H, H), as they will come.
        compiled: whether regions are compiled.
    """

    def __init__(self, net: ZoomViT, images: Tensor, compiled: bool) -> None:
        self.net, self.compiled = net, compiled
        self.graphs: dict[Slots, Graph] = {}
        self.step = ceil(len(images) * net.side**2 / STEPS)
        self.longest = net.vit.num_prefix_tokens + 5 * net.side**2
        self.pool = torch.cuda.graph_pool_handle() if images.is_cuda else None
        self.look = Graph(self._in_regions(self._look), [images])

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K)."""
        *_, totals = self.look(images)
        fine, kept = totals.cpu().tolist()  # the one wait
        slots = slots_of(fine, kept - fine, self.step, self.longest)
        if slots not in self.graphs:
            self.graphs[slots] = self._rest(slots)
        logits: Tensor = self.graphs[slots](*self.look.inputs, *self.look.output[:3])
        return logits

    def _look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is selected, and how many fine tokens and tokens there are in all."""
        chosen = self.net.select(self.net.score(images))
        totals = torch.stack([chosen.zoomed.sum(), chosen.lengths.sum()])
        return chosen.order, chosen.lengths, chosen.zoomed, totals

    def _rest(self, slots: Slots) -> Graph:
        net = self.net

        def logits(images: Tensor, order: Tensor, lengths: Tensor, zoomed: Tensor) -> Tensor:
            selection = Selection(order, lengths, zoomed)
            fine, coarse, rows = in_slots(selection, slots, net.vit.num_prefix_tokens)
            total = len(rows.prefix) + slots.fine + slots.coarse
            values = net.scatter(images, fine, coarse, rows, total)
            encoded = host.encode(net.vit, Ragged(values, rows.lengths, self.longest))
            return host.read_out(net.vit, encoded)[: len(images)]

        example = [*self.look.inputs, *self.look.output[:3]]
        return Graph(self._in_regions(logits), example, shared=True, pool=self.pool)

    def _in_regions(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return in_regions(function, self.compiled)


def in_regions(function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    """The function, with its regions compiled or not."""

    def call(*tensors: Tensor) -> Any:
        with compiled_regions() if compiled else nullcontext():
            return function(*tensors)

    return call


def ready(net: nn.Module) -> nn.Module:
    """A copy in eval mode for inference alone, its Zoomer's norms folded; the same numbers to rounding."""
    made = copy.deepcopy(net).eval().requires_grad_(False)
    fold_scorers(made)
    return made


def captured(net: nn.Module, images: Tensor, *, compiled: bool = False) -> Callable[[Tensor], Tensor]:
    """The network for images of this shape, on a GPU in CUDA graphs.

    Args:
        net: from images alone to logits, on the images' device.
        images: (B, C, H, W).
        compiled: whether its regions are compiled (see `regions`).

    Raises:
        InputError: a network in training, or one that needs maps.
    """
    if net.training:
        raise InputError("captured: the network must be in eval mode")
    if (inputs := getattr(net, "inputs", ("image",))) != ("image",):
        raise InputError(f"captured: the network must take images alone, got one that takes {', '.join(inputs)}")
    net = ready(net)
    if isinstance(net, ZoomViT) and net.budget is None and net.mode == "ragged":
        return Slotted(net, images, compiled)
    call = partial(_plain, net) if compiled and isinstance(net, VisionTransformer) else net
    return Graph(in_regions(call, compiled), [images])


def _plain(vit: VisionTransformer, images: Tensor) -> Tensor:
    """The plain forward, its blocks as regions."""
    tokens = Ragged.from_dense(vit._pos_embed(vit.patch_embed(images)))
    return host.read_out(vit, host.encode(vit, tokens))
