"""The network of a finished run, and its record: what other runs build on."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zoomexp.errors import InputError
from zoomexp.results.identity import renamed
from zoomexp.results.stored import RecordError, finished_facts, read_config
from zoomexp.run.build import network


def restored(run: str | Path, field: str = "run", **shape: int) -> Any:
    """The network of a finished run, as it was tested.

    Args:
        run: the run folder.
        field: the option that names it.
        shape: what it must have been built for: some of `num_classes`, `in_chans`, `image_size`.

    Returns:
        The network (`nn.Module`), in evaluation mode, its gradients off.

    Raises:
        InputError: If the folder holds no finished run, or one of another shape.
    """
    facts = finished_facts(run, field)
    for name, wanted in shape.items():
        if facts["shape"][name] != wanted:
            raise InputError(f"{field}={run}: its network has {name} {facts['shape'][name]}, wanted {wanted}")
    cfg = stored_config(run, field)
    weights = Path(run) / facts["weights"] if facts["weights"] else cfg.checkpoint
    return rebuilt(cfg, facts["shape"], weights).requires_grad_(False)


def stored_config(folder: str | Path, field: str) -> DictConfig:
    """The config of a run in its folder, with what has moved since under its new name.

    Raises:
        InputError: There is none that can be read; `field` names the option that asked for it.
    """
    try:
        return OmegaConf.create(renamed(read_config(Path(folder))))
    except RecordError as error:
        raise InputError(f"{field}={folder}: no run's folder (no readable config.yaml in it)") from error


def rebuilt(cfg: DictConfig, shape: dict[str, int], weights: str | Path | None) -> Any:
    """The network of a run's config with the weights of a checkpoint (None: those it is built with), to evaluate."""
    from zoomexp.weights import load_weights  # torch, which composing does without

    if weights and "pretrained" in cfg.backbone:
        cfg.backbone.pretrained = False  # the checkpoint has them all: nothing is downloaded
    net = network(cfg, shape)
    load_weights(net, weights)
    return net.eval()
