"""Reading a benchmark's own options."""

from collections.abc import Sequence

import torch
from omegaconf import DictConfig

from zoomexp.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MODES = ("eager", "compiled")


def wholes(options: dict[str, str], name: str) -> list[int]:
    """An option as whole numbers separated by commas.

    Raises:
        InputError: If one is not a whole number of at least 1.
    """
    found = options[name].split(",")
    if not all(one.isdigit() and int(one) >= 1 for one in found):
        raise InputError(f"{name}={options[name]} must be whole numbers, at least 1, separated by commas")
    return [int(one) for one in found]


def some_of(options: dict[str, str], name: str, allowed: Sequence[str]) -> list[str]:
    """An option as names separated by commas.

    Raises:
        InputError: If one is not among those allowed, or given twice.
    """
    found = options[name].split(",")
    if unknown := [one for one in found if one not in allowed]:
        raise InputError(f"{name}={unknown[0]} is unknown; allowed: {', '.join(allowed)}")
    if len(set(found)) < len(found):
        raise InputError(f"{name}={options[name]}: one is named twice")
    return found


def check_transformer(cfg: DictConfig) -> None:
    """Refuse a config whose backbone says no image size: those of vision transformers do.

    Raises:
        InputError: Another backbone.
    """
    if not cfg.backbone.image_size:
        name = cfg.backbone.get("name")
        raise InputError(f"backbone: must be a vision transformer (deit, deit3, vit) of an image_size, got {name}")


def of_variants(overrides: Sequence[str], names: Sequence[str], group: str) -> tuple[list[str], dict[str, list[str]]]:
    """Overrides of all variants, and those that begin with a variant's name, made options of its config group.

    >>> of_variants(["backbone=deit_s", "tome.r=8"], ["tome", "evit"], "tokens")
    (['backbone=deit_s'], {'tome': ['tokens.r=8'], 'evit': []})
    """
    own = {
        name: [f"{group}.{o.removeprefix(f'{name}.')}" for o in overrides if o.startswith(f"{name}.")] for name in names
    }
    return [o for o in overrides if not o.startswith(tuple(f"{name}." for name in names))], own
