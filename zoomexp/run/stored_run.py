"""The network of a finished run, and its record: what other runs build on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zoomexp.errors import InputError
from zoomexp.results.identity import renamed
from zoomexp.results.stored import RecordError, finished_facts, read_config
from zoomexp.run.build import make, network

NO_WEIGHTS = {"pretrained": False, "weights": None}  # of a backbone


def restored(
    run: str | Path,
    field: str = "run",
    new_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    **shape: int,
) -> Any:
    """The network of a finished run, as it was tested.

    Args:
        run: the run folder.
        field: the option that names it.
        new_classes: how many it is to tell apart, with a new last layer if it knew another number; None: as it was.
        class_names: their names; the last layer is new, too, if the run knew as many others. None: nobody knows.
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
    built_for = facts["shape"] | ({} if new_classes is None else {"num_classes": new_classes})
    return rebuilt(cfg, built_for, weights, class_names).requires_grad_(False)


def stored_config(folder: str | Path, field: str) -> DictConfig:
    """The config of a run in its folder, with what has moved since under its new name.

    Raises:
        InputError: There is none that can be read; `field` names the option that asked for it.
    """
    try:
        return OmegaConf.create(renamed(read_config(Path(folder))))
    except RecordError as error:
        raise InputError(f"{field}={folder}: no run's folder (no readable config.yaml in it)") from error


def rebuilt(
    cfg: DictConfig, shape: dict[str, int], weights: str | Path | None, class_names: Sequence[str] | None = None
) -> Any:
    """The network of a run's config with the weights of a checkpoint (None: those it is built with), to evaluate.

    With `class_names` its last layer is new where the weights are of as many other classes.
    """
    from zoomexp.weights.checkpoint import load_weights  # torch, which composing does without
    from zoomexp.weights.class_names import classes_of, others, run_of

    if weights:  # the checkpoint has them all: nothing is downloaded or read
        for name in NO_WEIGHTS.keys() & cfg.backbone.keys():
            cfg.backbone[name] = NO_WEIGHTS[name]
    net = network(cfg, shape, class_names)
    start = run_of(weights)
    anew = start is not None and others(classes_of(start), class_names or ())
    load_weights(net, weights, shape["num_classes"], new_head=anew)
    return net.eval()


def data_of(run: str | Path, data_dir: str | Path | None = None) -> Any:
    """The data module of a run, set up to test; `data_dir`: where its data set lies, None: where the run found it."""
    cfg = stored_config(run, "run")
    if data_dir is not None:
        cfg.dataset.data_dir = str(data_dir)
    data = make(cfg.dataset)
    data.prepare_data()
    data.setup("test")
    return data
