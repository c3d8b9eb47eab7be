"""The recipe of a run: optimizer, schedule, clipping and data set that suit the kind of host and how it starts.

A backbone's file names the recipe of its kind (`configs/recipe/`), a module's file the loss of its paper; whatever is
typed, or chosen by an experiment, wins over both. A file cannot know whether pretrained weights are asked for, so a
recipe says which start it is for, and which recipe takes its place under the other,

    recipe: {start: pretrained, otherwise: scratch_vit}

Nor can `configs/backbone/timm.yaml` know which network is named: where `backbone.name` is typed, its kind decides.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from omegaconf import DictConfig

from zoomexp.backbones.kinds import kind_of
from zoomexp.errors import InputError
from zoomexp.run.overrides import key_of

GROUPS = ("optimizer", "scheduler", "loss")  # what the opening line names
OF_KIND = {
    "cnn": {"scratch": "scratch_cnn", "pretrained": "finetune_cnn"},
    "swin": {"scratch": "scratch_vit", "pretrained": "finetune_swin"},
    "vit": {"scratch": "scratch_vit", "pretrained": "finetune_vit"},
}


def fitted(
    cfg: DictConfig,
    choices: dict[str, str],
    overrides: Sequence[str],
    compose: Callable[[Sequence[str]], tuple[DictConfig, dict[str, str]]],
) -> tuple[DictConfig, dict[str, str]]:
    """A run's config and choices under the recipe for its host and start: its own, or, unless one was typed, another.

    Raises:
        InputError: If a recipe was typed, or chosen by an experiment, that the run's start rules out.
    """
    recipe, start = cfg.recipe, "pretrained" if _pretrained(cfg) else "scratch"
    if not recipe:
        return cfg, choices
    if typed("recipe", overrides) or choices.get("experiment"):  # whoever asks to fine-tune is not given anything else
        if recipe.start != start:
            raise InputError(_impossible(choices["recipe"], recipe.otherwise, start, cfg.backbone))
        return cfg, choices
    fitting = choices["recipe"] if recipe.start == start else recipe.otherwise
    if typed("backbone.name", overrides):
        fitting = OF_KIND.get(kind_of(cfg.backbone.get("name")) or "", {}).get(start, fitting)
    return (cfg, choices) if fitting == choices["recipe"] else compose([*overrides, f"recipe={fitting}"])


def _pretrained(cfg: DictConfig) -> bool:
    return cfg.backbone.get("pretrained") is True or cfg.backbone.get("weights") is not None


def _impossible(recipe: str, otherwise: str, start: str, backbone: DictConfig) -> str:
    if start == "scratch":
        return (
            f"recipe={recipe} fine-tunes pretrained weights, and backbone.pretrained=false leaves none; "
            f"choose recipe={otherwise}, backbone.pretrained=true or backbone.weights=FILE"
        )
    given = backbone.get("weights") is not None
    option, without = ("weights", "weights=null") if given else ("pretrained=true", "pretrained=false")
    return (
        f"recipe={recipe} starts from random weights, and backbone.{option} loads some; "
        f"choose recipe={otherwise}, or backbone.{without}"
    )


def typed(group: str, overrides: Sequence[str]) -> bool:
    """Whether a choice of this group is among the overrides."""
    return group in map(key_of, overrides)


def told(choices: Mapping[str, str], overrides: Sequence[str]) -> str:
    """Which recipe a run took, from where, and what it chose; one line.

    >>> choices = {"recipe": "scratch_cnn", "backbone": "resnet20", "optimizer": "sgd", "scheduler": "cosine",
    ...            "attention": "none", "loss": "cross_entropy"}
    >>> told(choices, ["optimizer=sgd"])
    'recipe=scratch_cnn of backbone=resnet20: optimizer=sgd (typed) scheduler=cosine loss=cross_entropy'
    """
    if choices.get("experiment"):
        origin = f"experiment={choices['experiment']}"
    else:
        origin = f"recipe={choices['recipe']}" + " (typed)" * typed("recipe", overrides)
        named = choices["recipe"] != "none" and not typed("recipe", overrides)
        names = "".join(f" {word}" for word in overrides if key_of(word) == "backbone.name")
        origin += f" of backbone={choices['backbone']}{names}" * named
    parts = (f"{group}={choices[group]}" + " (typed)" * typed(group, overrides) for group in GROUPS)
    return f"{origin}: {' '.join(parts)}"


@contextlib.contextmanager
def missing(cfg: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]) -> Iterator[None]:
    """Where a fine-tuning recipe's data or weights are not there, say what would be run and what to type instead."""
    try:
        yield
    except InputError as error:
        if cfg.recipe.get("start") != "pretrained" or not str(error).startswith(("dataset=", "backbone.pretrained")):
            raise
        data = "" if typed("dataset", overrides) else f" on {choices['dataset']}"
        would = f"fine-tune {choices['backbone']} with attention={choices['attention']}{data}"
        instead = "backbone.pretrained=false trains it from random weights on the embedded digits"
        raise InputError(f"{error}; recipe={choices['recipe']} would {would}; {instead}") from error
