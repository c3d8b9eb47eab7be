"""From overrides to configs, runs and networks: the one module of the package that sees Hydra's configs.

A config may say which other runs it builds on,

    needs: {teacher: [experiment=zoomvit/digits_teacher]}

as the overrides that make them; they also get this run's seed, its folders and its hardware. Composed, the overrides
become the folder of that run (`${needs.teacher}` elsewhere in the config), so what a run is built on decides its own
folder. A need that is a text instead of a list is taken as the folder of a finished run.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from zoomexp.arguments import truth
from zoomexp.errors import InputError
from zoomexp.recipe import fitted
from zoomexp.results.record import run_path

# What a run hands on to the runs it needs.
PASSED_ON = ("data_dir=", "output_dir=", "seed=", "logger", "trainer=", "trainer.accelerator", "trainer.devices",
             "trainer.num_nodes", "trainer.strategy", "trainer.precision", "compile=")  # fmt: skip

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
    for name in node:
        if not isinstance(child := node._get_node(name), DictConfig):
            allowed = f"none, unless {group}._target_ names a class or function to call"
            raise InputError(f"{group}.{name}: no such option; allowed: {allowed}")
        _check_targets(child)


@dataclass(frozen=True)
class Run:
    """A composed run.

    Args:
        cfg: its config, its needs replaced by folders.
        choices: the config groups' choices.
        overrides: what was typed.
        needs: the runs that its config names, in its order.
        composed: its config as Hydra composed it.
    """

    cfg: DictConfig
    choices: dict[str, str]
    overrides: tuple[str, ...]
    needs: dict[str, "Run"]
    composed: DictConfig

    def with_seed(self, seed: int) -> "Run":
        """The same run with another seed, and so with other runs that it needs."""
        typed = [override for override in self.overrides if not override.startswith("seed=")]
        cfg = self.composed.copy()
        cfg.seed = seed
        return with_needs(cfg, self.choices, [*typed, f"seed={seed}"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config as plain containers."""
        return OmegaConf.to_container(self.cfg, resolve=True, throw_on_missing=True)

    @cached_property
    def folder(self) -> Path:
        """Where the run keeps its record."""
        return Path(self.cfg.output_dir).resolve() / "runs" / run_path(self.config, self.choices)

    @property
    def depth(self) -> int:
        """How many runs have to be done one after the other before this one."""
        return max((1 + need.depth for need in self.used), default=0)

    @cached_property
    def used(self) -> list["Run"]:
        """Those of its needs that something in its config refers to: with other tokens there is no Zoomer to train."""
        if not self.needs:
            return []
        text = OmegaConf.to_yaml(self.composed)
        return [need for name, need in self.needs.items() if f"${{needs.{name}}}" in text]

    def chain(self) -> Iterator["Run"]:
        """The runs it builds on, each after its own needs, and then the run itself."""
        for need in self.used:
            yield from need.chain()
        yield self


def compose_run(overrides: Sequence[str]) -> Run:
    """Compose the run that `train.py` would do with these overrides.

    Raises:
        InputError, HydraException: If they do not compose.
    """
    return with_needs(*_composed(overrides), overrides)


def _composed(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
    """The config of these overrides, and the choices of its groups."""
    cfg = compose("train", overrides=list(overrides), return_hydra_config=True)
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), choices


def with_needs(cfg: DictConfig, choices: dict[str, str], overrides: Sequence[str]) -> Run:
    """Bring `cfg` under the recipe of its start, compose the runs that it needs, and write their folders into a copy.

    Raises:
        InputError: If a need is neither overrides nor the folder of a finished run, or a recipe was typed that the
            run's start rules out.
    """
    truth("rerun", cfg.rerun)
    cfg, choices = fitted(cfg, choices, overrides, _composed)
    if not isinstance(cfg.needs, DictConfig):
        raise InputError(f"needs={cfg.needs} must name runs: needs={{teacher: [overrides of train.py]}}")
    if not cfg.needs:
        return Run(cfg, choices, tuple(overrides), {}, cfg)
    composed, cfg, needs = cfg, cfg.copy(), {}
    handed_on = [override for override in overrides if override.startswith(PASSED_ON)]
    for name, need in cfg.needs.items():
        if isinstance(need, ListConfig):
            needs[name] = _needed((f"seed={cfg.seed}", *handed_on, *need))
            cfg.needs[name] = str(Path(cfg.output_dir) / needs[name].folder.relative_to(Path(cfg.output_dir).resolve()))
        else:
            finished_facts(need, f"needs.{name}")
    return Run(cfg, choices, tuple(overrides), needs, composed)


@lru_cache(maxsize=1000)
def _needed(overrides: tuple[str, ...]) -> Run:
    """A needed run, composed once: many runs need the same."""
    return compose_run(overrides)


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
    cfg = OmegaConf.load(Path(run) / "config.yaml")
    weights = Path(run) / facts["weights"] if facts["weights"] else cfg.checkpoint
    return rebuilt(cfg, facts["shape"], weights).requires_grad_(False)


def rebuilt(cfg: DictConfig, shape: dict[str, int], weights: str | Path | None) -> Any:
    """The network of a run's config with the weights of a checkpoint (None: those it is built with), to evaluate."""
    from zoomexp.running import load_weights

    if weights and "pretrained" in cfg.backbone:
        cfg.backbone.pretrained = False  # the checkpoint has them all: nothing is downloaded
    net = network(cfg, shape)
    load_weights(net, weights)
    return net.eval()


def build(cfg: DictConfig, folder: Path) -> tuple:
    """The trainer that will write into `folder`, the task around its network and the data module, ready to run.

    Raises:
        InputError, and whatever is raised by what is built: nothing has been written then.
    """
    from zoomexp.online import check_mode
    from zoomexp.running import make_ready, prepare, shape_of

    check_mode(cfg.logger.get("mode"))
    prepare(cfg.seed, cfg.evaluate, cfg.trainer.on_oom)
    data = make(cfg.dataset)
    data = make(cfg.relevance)(data=data) if cfg.relevance else data
    data.prepare_data()
    data.setup("fit")
    parts = {name: make(cfg[name]) or None for name in ("loss", "mixing", "optimizer", "scheduler")}
    task = make(cfg.task)(model=network(cfg, shape_of(data)), num_classes=data.num_classes, **parts)
    compile_network(task.model, cfg.compile)
    trainer = _trainer(cfg, folder)
    make_ready(trainer, task, data, cfg.checkpoint, cfg.evaluate)
    return trainer, task, data


def check_ahead(cfg: DictConfig, folder: Path) -> None:
    """Make what of a run needs neither network nor data: its mistakes show before the runs it builds on are done.

    Raises:
        InputError, and whatever is raised by what is made.
    """
    from torch.nn import Linear

    from zoomexp.running import prepare

    prepare(cfg.seed, cfg.evaluate, cfg.trainer.on_oom)
    for name in ("loss", "mixing"):
        make(cfg[name])
    optimizer = make(cfg.optimizer)(Linear(1, 1))
    if cfg.scheduler:
        make(cfg.scheduler)(optimizer)
    _trainer(cfg, folder)


def compile_network(net: Any, how: bool | str) -> None:
    """`torch.compile` a network in place, or leave it as it is.

    Args:
        net: the network (`nn.Module`).
        how: False; True; or one of COMPILE_MODES, PyTorch's names: "reduce-overhead" replays CUDA graphs on a GPU, and
            "max-autotune" besides tries several kernels.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(how, bool) and how not in COMPILE_MODES:
        raise InputError(f"compile={how!r} must be false, true, {' or '.join(COMPILE_MODES)}")
    if how:
        net.compile(mode="default" if how is True else how)


def _trainer(cfg: DictConfig, folder: Path) -> Any:
    from zoomexp.callbacks.stopping import Stopping
    from zoomexp.trainer_options import check_trainer

    check_trainer(OmegaConf.to_container(cfg.trainer, resolve=True))
    options = cfg.trainer.copy()
    with open_dict(options):
        del options.on_oom  # not Lightning's
    trainer = make(options, callbacks=list(make(cfg.callbacks).values()), logger=False, default_root_dir=folder)
    trainer.callbacks += [Stopping()] if trainer.world_size > 1 else []
    return trainer


def network(cfg: DictConfig, shape: dict[str, int]) -> Any:
    """The network that a config describes, for data of that shape (`num_classes`, `in_chans`, `image_size`)."""
    from zoomexp.model import build_model

    parts = {name: make(cfg[name]) or None for name in ("attention", "tokens")}
    return build_model(make(cfg.backbone), **parts, at=cfg.insertion.at, **shape)


def finished_facts(folder: str | Path, field: str) -> dict[str, Any]:
    """The facts in the `metrics.json` of a finished run.

    Raises:
        InputError: If there is none; `field` names the option that asked for it.
    """
    path = Path(folder) / "metrics.json"
    try:
        facts = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{field}={folder}: no run folder with a readable metrics.json; name one of a run") from error
    if facts["status"] != "finished":
        raise InputError(f"{field}={folder}: the run is not finished ({facts['status']})")
    return facts
