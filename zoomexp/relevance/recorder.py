"""A forward of the host as it is, with what its modules received and gave out written down, and the host put back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Recording:
    """Inputs and outputs of modules in one forward; `attentions` (B, h, N, N) by module, in order, in the graph.

    Values are given out without the graph, in at least single precision.
    """

    def __init__(self) -> None:
        self.attentions: dict[nn.Module, Tensor] = {}
        self._inputs: dict[nn.Module, Tensor] = {}
        self._outputs: dict[nn.Module, Tensor] = {}

    def attention(self, module: nn.Module) -> Tensor:
        """The attention matrix of an attention module."""
        return _single(self.attentions[module])

    def input(self, module: nn.Module) -> Tensor:
        """What `module` received (its first argument)."""
        return _single(self._inputs[module])

    def output(self, module: nn.Module) -> Tensor:
        """What `module` gave out."""
        return _single(self._outputs[module])

    def product(self, layer: nn.Linear) -> Tensor | None:
        """What a linear layer gave out, less its bias; None where the forward computed it in less precision."""
        output = self._outputs[layer]
        if output.dtype not in (torch.float32, torch.float64):
            return None
        return output.detach() if layer.bias is None else output.detach() - layer.bias.detach()

    def _attention_hook(self, attention: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            first = next(iter(self.attentions), attention) is attention
            self.attentions[attention] = output.detach().requires_grad_() if first else output
            return self.attentions[attention]

        return hook


@contextmanager
def recorded(
    attentions: Iterable[nn.Module], inputs: Iterable[nn.Module] = (), outputs: Iterable[nn.Module] = ()
) -> Iterator[Recording]:
    """Record the forwards run inside.

    Args:
        attentions: timm attention modules in order. Their matrices can be differentiated by; the first one is a leaf,
            so that a backward ends there.
        inputs: modules whose inputs are wanted.
        outputs: modules whose outputs are wanted.
    """
    recording = Recording()
    with ExitStack() as stack:
        for attention in attentions:
            handle = attention.get_submodule("attn_drop").register_forward_hook(recording._attention_hook(attention))
            stack.callback(handle.remove)
        for module in inputs:
            handle = module.register_forward_pre_hook(lambda m, args: recording._inputs.__setitem__(m, args[0]))
            stack.callback(handle.remove)
        for module in outputs:
            handle = module.register_forward_hook(lambda m, _, output: recording._outputs.__setitem__(m, output))
            stack.callback(handle.remove)
        yield recording


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run the host in eval mode, parameters frozen, attention unfused and nothing checkpointed; then as it was."""
    settings: list[tuple[nn.Module | nn.Parameter, str, bool]]
    settings = [(module, "training", False) for module in model.modules()]
    settings += [(module, "fused_attn", False) for module in model.modules() if hasattr(module, "fused_attn")]
    settings += [(parameter, "requires_grad", False) for parameter in model.parameters()]
    if hasattr(model, "grad_checkpointing"):
        settings += [(model, "grad_checkpointing", False)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _single(x: Tensor) -> Tensor:
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))
