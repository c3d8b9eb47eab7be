"""All that tells one object from another, as plain data that can be compared."""

import hashlib
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

PLAIN = int | float | str | bool | bytes | None


def described(thing: Any, inside: tuple[int, ...] = ()) -> Any:
    """A thing and what it is made of; tensors by shape, type and content."""
    if isinstance(thing, float) and math.isnan(thing):
        return "nan"
    if isinstance(thing, PLAIN):
        return thing
    if isinstance(thing, torch.Tensor):
        return content(thing.detach().double().contiguous().numpy(), thing.dtype)
    if isinstance(thing, np.ndarray):
        return content(thing, thing.dtype)
    if id(thing) in inside:
        return "again"
    inside = (*inside, id(thing))
    if isinstance(thing, Mapping):
        return {str(key): described(value, inside) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set | frozenset):
        return [described(one, inside) for one in thing]
    return of_object(thing, inside)


def content(values: np.ndarray, kind: object) -> tuple[Any, ...]:
    raw = repr(values.tolist()).encode() if values.dtype == object else np.ascontiguousarray(values).tobytes()
    return values.shape, str(kind), hashlib.sha256(raw).hexdigest()


def of_object(thing: Any, inside: tuple[int, ...]) -> Any:
    if isinstance(thing, partial):
        return described((thing.func, thing.args, thing.keywords), inside)
    if isinstance(thing, FunctionType | MethodType):
        cells = [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
        return thing.__qualname__, described(cells, inside)
    if isinstance(thing, type | Path | torch.Generator | torch.dtype | torch.device) or not hasattr(thing, "__dict__"):
        return type(thing).__name__ if " at 0x" in str(thing) else str(thing)
    return type(thing).__name__, described(vars(thing), inside)


def weights(module: nn.Module) -> Any:
    """The parameters and buffers of a module."""
    return described({**dict(module.named_parameters()), **dict(module.named_buffers())})
