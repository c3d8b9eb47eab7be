"""From a run's config to the objects it describes: with `compose` the one place that sees Hydra's configs."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from zoomexp.errors import InputError

if TYPE_CHECKING:
    from zoomexp.run.out_of_memory import Built

COMPILE_MODES = ("reduce-overhead", "max-autotune")


def make(node: Any, **arguments: Any) -> Any:
    """Instantiate a config node; plain lists and dicts, so that nothing below sees a config object.

    Raises:
        InputError: If it has options, and not what they are options of.
    """
    _check_targets(node)
    return instantiate(node, _convert_="all", **arguments)


def _check_targets(node: Any) -> None:
    if not isinstance(node, DictConfig) or "_target_" in node or not node:
        return
    group = node._get_full_key(None)
    for name in cast(Iterable[str], node):
        unknown = OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name)
        if unknown or not isinstance(child := node[name], DictConfig):
            allowed = f"none, unless {group}._target_ names a class or function to call"
            raise InputError(f"{group}.{name}: no such option; allowed: {allowed}")
        _check_targets(child)


def build(cfg: DictConfig, folder: Path) -> "Built":
    """The trainer that will write into `folder`, the task around its network and the data module, ready to run.

    Raises:
        InputError, and whatever is raised by what is built: nothing has been written then.
    """
    from zoomexp.graphs.loop import check_graph
    from zoomexp.run.prepare import check_ready, class_names, prepare, shape_of
    from zoomexp.run.rounding import perturb
    from zoomexp.run.wandb_offline import check_mode

    check_mode(cfg.logger.get("mode"))
    prepare(cfg.seed, cfg.evaluate, cfg.trainer.on_oom, cfg.trainer.flush_denormal)
    data = make(cfg.dataset)
    data = make(cfg.relevance)(data=data) if cfg.relevance else data
    data.prepare_data()
    data.setup("fit")
    parts: dict[str, Any] = {name: make(cfg[name]) or None for name in ("loss", "mixing", "optimizer", "scheduler")}
    names = None if cfg.evaluate == "start" else class_names(data)
    net, freezing = network(cfg, shape_of(data), names), make(cfg.train)
    if freezing:
        freezing.prepare(net)
    task = make(cfg.task)(model=net, num_classes=data.num_classes, **parts)
    trainer = _trainer(cfg, folder)
    trainer.callbacks += [freezing] if freezing else []
    captured = check_graph(cfg.trainer.graph, trainer, task, parts["optimizer"](task.model))
    compile_network(task.model, cfg.compile, captured)
    check_ready(trainer, task, data, cfg.checkpoint, cfg.evaluate)
    perturb(task.model, cfg.rounding)
    return trainer, task, data


def check_ahead(cfg: DictConfig, folder: Path) -> None:
    """Make what of a run needs neither network nor data: its mistakes show before the runs it builds on are done.

    Raises:
        InputError: for what cannot be; what is made may raise errors of its own.
    """
    from torch.nn import Linear

    from zoomexp.run.prepare import prepare

    prepare(cfg.seed, cfg.evaluate, cfg.trainer.on_oom, cfg.trainer.flush_denormal)
    for name in ("loss", "mixing"):
        make(cfg[name])
    stand_in: Any = Linear(1, 1)
    stand_in.group_matcher, stand_in.get_classifier = lambda coarse: {"stem": "^weight"}, lambda: stand_in
    optimizer = make(cfg.optimizer)(stand_in)
    if cfg.scheduler:
        make(cfg.scheduler)(optimizer)
    _trainer(cfg, folder)


def compile_network(net: Any, how: bool | str, captured: bool = False) -> None:
    """`torch.compile` a network in place, or leave it as it is.

    Args:
        net: the network (`nn.Module`).
        how: False; True; or one of COMPILE_MODES, PyTorch's names: "reduce-overhead" replays CUDA graphs on a GPU, and
            "max-autotune" besides tries several kernels.
        captured: it will be part of a graph of whole steps, which has no place for graphs of its own.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(how, bool) and how not in COMPILE_MODES:
        raise InputError(f"compile={how!r} must be false, true, {' or '.join(COMPILE_MODES)}")
    without_graphs = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}
    if how:
        mode = "default" if how is True else how
        net.compile(mode=without_graphs.get(mode, mode) if captured else mode)


def _trainer(cfg: DictConfig, folder: Path) -> Any:
    from pytorch_lightning.callbacks import ProgressBar

    from zoomexp.graphs.loop import StepGraphs
    from zoomexp.run.shown_profiler import shown_profiler
    from zoomexp.run.stopping import Stopping
    from zoomexp.run.trainer_options import check_trainer

    check_trainer(cast(dict[str, Any], OmegaConf.to_container(cfg.trainer, resolve=True)))
    options, named = cfg.trainer.copy(), {}
    callbacks = _callbacks(cfg)
    with open_dict(options):
        del options.graph, options.on_oom, options.flush_denormal  # not Lightning's
        if isinstance(options.get("profiler"), str):
            named["profiler"] = shown_profiler(options.pop("profiler"))
        # Without a bar of ours there is none; Lightning would put up its own.
        options.setdefault("enable_progress_bar", any(isinstance(callback, ProgressBar) for callback in callbacks))
    trainer = make(options, **named, callbacks=callbacks, logger=False, default_root_dir=folder)
    trainer.callbacks += [Stopping()] if trainer.world_size > 1 else []
    trainer.callbacks.append(StepGraphs(cfg.trainer.graph))
    return trainer


def _callbacks(cfg: DictConfig) -> list[Any]:
    """The config's, any of which may be dropped, between what a run cannot do without."""
    from zoomexp.run.epochs import Epochs
    from zoomexp.run.last_checkpoint import LastCheckpoint
    from zoomexp.run.trainer_options import check_callbacks

    kept = {name: cfg.callbacks[name] for name in cfg.callbacks or {} if cfg.callbacks[name] is not None}
    for name, node in kept.items():
        if not isinstance(node, DictConfig):
            raise InputError(f"callbacks.{name}={node} must name a class by _target_, or be null")
    chosen = {name: make(node) for name, node in kept.items()}
    check_callbacks(chosen, bool(cfg.logger))
    return [Epochs(), *chosen.values(), LastCheckpoint()]


def network(cfg: DictConfig, shape: dict[str, Any], class_names: Sequence[str] | None = None) -> Any:
    """The network that a config describes.

    Args:
        cfg: the run's.
        shape: of the data it is for: `num_classes`, `in_chans`, `image_size`.
        class_names: of the data, for a host that has been trained on others; None: nobody knows, or asks.
    """
    from zoomexp.backbones.trained import trained
    from zoomexp.model import build_model

    groups = ("attention", "tokens", "detector", "decoder", "head")  # old configs know fewer
    parts: dict[str, Any] = {name: make(cfg.get(name)) or None for name in groups}
    backbone = make(cfg.backbone)
    if getattr(backbone, "func", None) is trained:
        backbone = partial(backbone, class_names=class_names)
    return build_model(backbone, **parts, at=cfg.insertion.at, **shape)
