"""A backbone that starts from weights of a file, a folder or the hub; one line says what became of them."""

import sys
import warnings
from collections import Counter

import torch
from torch import Tensor, nn

from zoomexp.backbones.start_weights import StartWeights, say_start_weights
from zoomexp.errors import InputError
from zoomexp.processes import first_process
from zoomexp.upstream.timm_filter import Filter, unchanged
from zoomexp.weights.fitting import Fit, fit, head_names, some
from zoomexp.weights.reading import Weights, read_weights

DEPTH = 3  # of prefixes: module.model.backbone.
TRIED = 3  # prefixes that are fitted, those first under which most of the network's names are found


def start_from(net: nn.Module, source: str, filter_fn: Filter = unchanged, option: str = "backbone.weights") -> None:
    """Load weights into a network, in place, and say what was loaded, resampled, made anew and left out.

    The network's attribute `start_weights` then says where they are from.

    Args:
        net: Just built.
        source: See `read_weights`.
        filter_fn: Turns a file's tensors into the network's, as timm's do.
        option: The option that named the weights, for messages.

    Raises:
        InputError: The weights cannot be read, or are of another network; the message names what does not fit.
    """
    weights = read_weights(source, option)
    fits = [_fitted(net, tensors, filter_fn) for tensors in readings(weights.tensors, set(net.state_dict()))]
    best = max(fits, key=lambda one: len(one.values))
    if best.differing:
        raise InputError(_refusal(net, weights, source, best, option))
    net.load_state_dict(best.values, strict=False)
    kept_as = f" ({weights.kept_as})" if weights.kept_as else ""
    say(f"weights: {weights.name}{kept_as}: {best.told()}")
    heads = head_names(net)
    classifier = bool(heads) and not any(name.rpartition(".")[0] in heads for name in best.new)
    say_start_weights(net, StartWeights(source, classifier))


def readings(tensors: dict[str, Tensor], names: set[str]) -> list[dict[str, Tensor]]:
    """A file's tensors under the prefixes that may hold the network: `module.`, `model.`, `backbone.`, none ...

    Args:
        tensors: By the file's names.
        names: The network's own.

    Returns:
        For each prefix the tensors below it, without it. The whole file is always among them.
    """
    found: Counter[str] = Counter({"": sum(name in names for name in tensors)})
    below: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for depth in range(1, min(DEPTH, len(parts) - 1) + 1):
            prefix, rest = ".".join(parts[:depth]) + ".", ".".join(parts[depth:])
            below[prefix] += 1
            found[prefix] += rest in names
    whole = [prefix for prefix, count in below.items() if count == len(tensors)]  # of names that a filter translates
    tried = list(dict.fromkeys(["", *whole, *(prefix for prefix, count in found.most_common(TRIED) if count)]))
    return [_below(tensors, prefix) for prefix in tried]


def say(line: str) -> None:
    """One line on the screen, of the first process alone."""
    if first_process():
        sys.stderr.write(line + "\n")


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _fitted(net: nn.Module, tensors: dict[str, Tensor], filter_fn: Filter) -> Fit:
    shapes = {name: value.shape for name, value in tensors.items()}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of timm's use what newer versions of torch warn of
            tensors = filter_fn(dict(tensors), net)
    except (AttributeError, IndexError, KeyError, RuntimeError, ValueError):
        pass  # written for the family's own files, filters fail on others; these then do not fit
    return fit(net, tensors, shapes)


def _refusal(net: nn.Module, weights: Weights, source: str, best: Fit, option: str) -> str:
    name = (getattr(net, "pretrained_cfg", None) or {}).get("architecture") or type(net).__name__
    if not best.values:
        examples = some(list(weights.tensors))
        return f"{option}={source}: of another network than {name}: no tensor of it is among {examples}"
    tensors = f"of its {best.wanted} tensors and the file's {len(best.differing)} differ"
    return f"{option}={source}: does not fit {name}: {tensors}: {some(best.differing)}"
