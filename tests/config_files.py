"""Config files as they stand, with what they build on."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def loaded(file: Path) -> dict[str, Any]:
    """A config file over those its defaults list names, its interpolations as they stand there."""
    node = OmegaConf.to_container(OmegaConf.load(file))
    for parent in node.pop("defaults", None) or []:
        if isinstance(parent, str) and parent != "_self_":
            base = loaded(file.parent / f"{parent.removesuffix('@_here_')}.yaml")
            node = OmegaConf.to_container(OmegaConf.merge(base, node))
        for place, chosen in parent.items() if isinstance(parent, dict) else ():
            if place.startswith(start := f"/{file.parent.name}@"):  # a choice of the same group, as a part of this one
                part = OmegaConf.create()
                OmegaConf.update(
                    part, place.removeprefix(start), loaded(file.parent / f"{chosen}.yaml"), force_add=True
                )
                node = OmegaConf.to_container(OmegaConf.merge(part, node))
    return node
