"""Parts of a forward that torch compiles one by one, so that it fuses norms, activations, residuals and bookkeeping.

Compiling a whole network takes minutes where every block sees another number of tokens. A region is compiled once for
all blocks and all lengths, in seconds:

    with compiled_regions():
        net(images)

Attention itself, sorts of whole batches and sums into rows stay as they are. Outside of the context, in training and
inside `torch.compile` of a whole network a region is the plain function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch

Given = ParamSpec("Given")
Gives = TypeVar("Gives")

RECOMPILED = 64  # times that a region may be compiled anew, for other networks; torch's 8 are soon used up

_backend: ContextVar[str | None] = ContextVar("backend of compiled regions", default=None)


@contextmanager
def compiled_regions(backend: str = "inductor") -> Iterator[None]:
    """Compile the regions of what is called in here, each at its first call; inference only.

    Args:
        backend: of `torch.compile`.
    """
    import torch._dynamo as dynamo  # a second to import

    token = _backend.set(backend)
    name = "recompile_limit" if hasattr(dynamo.config, "recompile_limit") else "cache_size_limit"  # before torch 2.7
    try:
        with dynamo.config.patch({name: RECOMPILED}):
            yield
    finally:
        _backend.reset(token)


def region(function: Callable[Given, Gives]) -> Callable[Given, Gives]:
    """A function that is compiled inside `compiled_regions`, for tensors of any lengths."""
    made: dict[str, Callable[..., Any]] = {}
    plain: Callable[..., Any] = function

    @wraps(function)
    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or (backend := _backend.get()) is None:
            return plain(*args)
        if backend not in made:
            made[backend] = torch.compile(function, backend=backend, dynamic=True)
        return made[backend](*args)

    return cast(Callable[Given, Gives], call)
