"""How pretrained weights want their images, which the data sets' files ask for.

    mean: ${of_weights:mean,[0.485,0.456,0.406]}

is timm's own mean for the weights that `backbone.name` and `backbone.pretrained=true` choose, and the list without
them; the same for `std`, `crop_pct` and `interpolation`. What was found stands in the run's config as if it was typed.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

FIELDS = ("mean", "std", "crop_pct", "interpolation")


def install() -> None:
    """Make the resolver known to OmegaConf; a second call does nothing."""
    OmegaConf.register_new_resolver("of_weights", of_weights, replace=True)


def of_weights(field: str, default: Any, *, _root_: DictConfig) -> Any:
    """What the weights of the config's backbone want.

    Args:
        field: one of FIELDS.
        default: the answer without pretrained weights; of `mean` and `std` a list with one value per channel. Weights
            for colour have the mean of their three values on grey images, as their first convolution has the sum.

    Returns:
        A list of numbers, a number or a word.
    """
    backbone = _root_.get("backbone") or {}
    if backbone.get("pretrained") is not True:
        return default
    wanted = data_config(backbone.get("name"), backbone.get("image_size"))
    if wanted is None:
        return default
    value = wanted[field]
    if field not in ("mean", "std"):
        return value
    return [sum(value) / len(value)] if len(default) == 1 else list(value)


def data_config(name: object, image_size: int | None = None) -> dict[str, Any] | None:
    """Timm's data config of a model's pretrained weights; None for a name that timm does not know.

    Args:
        name: timm's, with or without the tag of the weights.
        image_size: side of the images; at the side that the weights are to be tested at, the crop is that of tests.
    """
    import timm  # imports torch: only where there are pretrained weights

    if not isinstance(name, str) or not timm.is_model(name):
        return None
    weights = timm.get_pretrained_cfg(name)
    at_test = weights.test_input_size is not None and weights.test_input_size[-1] == image_size
    crop = weights.test_crop_pct if at_test and weights.test_crop_pct else weights.crop_pct
    return {"mean": weights.mean, "std": weights.std, "crop_pct": crop, "interpolation": weights.interpolation}
