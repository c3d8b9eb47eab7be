"""How the weights that a network starts from want their images, which the data sets' files ask for.

    mean: ${of_weights:mean,[0.485,0.456,0.406]}

is the mean of the weights that the config's backbone names, and the list without them; the same for `std`, `crop_pct`
and `interpolation`. What was found stands in the run's config as if it was typed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

FIELDS = ("mean", "std", "crop_pct", "interpolation")
KNOWN = ("bilinear", "bicubic")  # interpolations that our data sets have
_planned: dict[str, DictConfig] = {}


def install() -> None:
    """Make the resolver known to OmegaConf; a second call does nothing."""
    OmegaConf.register_new_resolver("of_weights", of_weights, replace=True)


def plan(folder: str, cfg: DictConfig) -> None:
    """Say what the config of a run will be that is yet to be done: others may be composed that start from it."""
    _planned[folder] = cfg


def of_weights(field: str, default: Any, *, _root_: DictConfig) -> Any:
    """What the weights of the config's backbone want.

    Args:
        field: one of FIELDS.
        default: the answer without weights, and where they do not say it; of `mean` and `std` a list with one value per
            channel. Weights for colour have the mean of their three values on grey images, as their first convolution
            has the sum.

    Returns:
        A list of numbers, a number or a word.
    """
    value = wanted(_root_).get(field)
    if value is None or (field == "interpolation" and value not in KNOWN):
        return default
    if field not in ("mean", "std"):
        return value
    return [sum(value) / len(value)] if len(default) == 1 else list(value)


def wanted(cfg: DictConfig) -> Mapping[str, Any]:
    """Some of FIELDS: what the weights say that a run's network starts from; nothing of random ones.

    Weights of a file, a folder or the hub are timm's for the network's name, but for what a `config.json` beside them
    says. A network that a run has trained goes on as that run began, if it began with weights.
    """
    backbone = cfg.get("backbone") or {}
    if str(backbone.get("_target_")).endswith(".trained"):
        return _of_run(backbone.get("run"))
    given = backbone.get("weights")
    if given is None and backbone.get("pretrained") is not True:
        return {}
    own = data_config(backbone.get("name"), backbone.get("image_size")) or {}
    if given is None:
        return own
    from zoomexp.weights.reading import config_of  # imports torch: only where there are weights

    return {**own, **said_by(config_of(given))}


def _of_run(folder: object) -> Mapping[str, Any]:
    from zoomexp.results.stored import RecordError, read_config

    if not isinstance(folder, str):
        return {}
    try:
        cfg = _planned.get(folder) or OmegaConf.create(read_config(Path(folder)))
    except RecordError:  # building the network will say so
        return {}
    return {name: cfg.dataset[name] for name in FIELDS if cfg.dataset.get(name) is not None} if wanted(cfg) else {}


def said_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration of timm's, or one that `scripts/export.py` wrote, says of images: some of FIELDS."""
    inner = config.get("pretrained_cfg") or config.get("seeing") or config
    return {name: inner[name] for name in FIELDS if isinstance(inner, Mapping) and inner.get(name) is not None}


def data_config(name: object, image_size: int | None = None) -> dict[str, Any] | None:
    """Timm's data config of a model's pretrained weights; None for a name that timm does not know.

    Args:
        name: timm's, with or without the tag of the weights.
        image_size: side of the images; at the side that the weights are to be tested at, the crop is that of tests.
    """
    import timm  # imports torch: only where there are weights

    if not isinstance(name, str) or not timm.is_model(name):
        return None
    weights = timm.get_pretrained_cfg(name)
    if weights is None:
        return None
    at_test = weights.test_input_size is not None and weights.test_input_size[-1] == image_size
    crop = weights.test_crop_pct if at_test and weights.test_crop_pct else weights.crop_pct
    return {"mean": weights.mean, "std": weights.std, "crop_pct": crop, "interpolation": weights.interpolation}
