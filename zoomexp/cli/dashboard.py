"""A W&B workspace over the project's runs, and W&B sweep files from our own.

    python scripts/dashboard.py entity=NAME                        save the workspace at W&B, print where it is
    python scripts/dashboard.py --json FILE                        write its specification instead; no network
    python scripts/dashboard.py --emit configs/sweep/NAME.yaml     print a sweep file for `wandb sweep`; no network

    entity=NAME             user or team; needed to save
    project=zoomexp         the project that logger=wandb writes to
    name=zoomexp            the workspace's name
    task=classification     whose quantities are drawn: a choice of configs/task
    tags=dataset:cifar10,attention:cbam,attention:none    only these runs; of one label any, of several labels all

After --emit, further overrides become parameters too: backbone=resnet50 is fixed, seed=0,1 is gone through. Start the
sweep with `wandb sweep FILE` and `wandb agent ID`. A run that has been finished here before is not repeated.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer, ValueType
from hydra.utils import get_class

from zoomexp.atomic_file import write_text
from zoomexp.cli.config_files import CONFIGS
from zoomexp.cli.script_options import split
from zoomexp.errors import InputError
from zoomexp.metrics.declared import GATES, LOSS, SPEED
from zoomexp.metrics.quantity import Quantity
from zoomexp.results.table import table_names

OPTIONS = {"entity": "", "project": "zoomexp", "name": "zoomexp", "task": "classification", "tags": ""}
GOALS = {"max": "maximize", "min": "minimize"}
LABELS = ("dataset", "backbone", "attention", "insertion", "experiment", "seed")  # that logged runs are tagged with


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
    elif arguments[0] == "--emit":
        if len(arguments) < 2:
            raise InputError("--emit: name a sweep file, for example configs/sweep/loupe_lambda.yaml")
        print(yaml.safe_dump(sweep_file(Path(arguments[1]), arguments[2:]), sort_keys=False), end="")
    elif arguments[0] == "--json":
        if len(arguments) < 2:
            raise InputError("--json: name the file to write")
        write_text(Path(arguments[1]), json.dumps(workspace(parse(arguments[2:]))._spec, indent=2) + "\n")
        print(f"written: {arguments[1]}")
    else:
        options = parse(arguments)
        if not options["entity"]:
            raise InputError("entity: name the W&B user or team that the workspace belongs to, or use --json FILE")
        print(saved(options))


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options of the workspace."""
    options, _ = split(arguments, OPTIONS, flags=("--json FILE", "--emit FILE"))
    tags_by_label(options["tags"])  # a mistake is said before anything is imported
    return options


def sweep_file(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A W&B sweep that goes through the same grid as Hydra does.

    Args:
        path: A file of `configs/sweep`.
        overrides: Further ones, as one would type them after it; they win.
    """
    parameters: dict[str, dict[str, Any]] = {"logger.mode": {"value": "online"}}  # an offline run is no part of a sweep
    for override in parsed([*(f"{key}={value}" for key, value in sweep_params(path).items()), *overrides]):
        found = values(override)
        parameters[override.get_key_element()] = {"values": found} if len(found) > 1 else {"value": found[0]}
    task = check(parameters)
    return {
        "name": path.stem,
        "program": "train.py",
        "method": "grid",
        "metric": {"name": f"val/{task.main.key}", "goal": GOALS[task.main.mode]},
        "parameters": parameters,
        "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"],
    }


def check(parameters: Mapping[str, Mapping[str, Any]]) -> Any:
    """Compose jobs until every value has had its turn, so that a mistake shows before the sweep.

    Returns:
        The class of the last job's task, whose main quantity the sweep is about.

    Raises:
        HydraException: If one does not compose.
    """
    found = {key: entry.get("values", [entry.get("value")]) for key, entry in parameters.items()}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for turn in range(max(map(len, found.values()))):
            cfg = compose("train", [f"{key}={given[turn % len(given)]}" for key, given in found.items()])
    return get_class(cfg.task._target_)


def task_named(choice: str) -> Any:
    """The class of a choice of `configs/task`.

    Raises:
        HydraException: If there is none of that name.
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return get_class(compose("train", [f"task={choice}"]).task._target_)


def sweep_params(path: Path) -> dict[str, Any]:
    """`hydra.sweeper.params` of a sweep file, which must be all that it sets."""
    try:
        content = yaml.safe_load(path.read_text())
        params = content["hydra"]["sweeper"]["params"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no sweep file with hydra.sweeper.params; name one of configs/sweep") from error
    if more := set(content) - {"hydra"}:
        raise InputError(f"{path}: sets {', '.join(sorted(more))} beside hydra.sweeper.params; W&B would not see it")
    return params


def parsed(overrides: Sequence[str]) -> list[Override]:
    """The overrides as Hydra reads them."""
    return OverridesParser.create().parse_overrides(list(overrides))


def values(override: Override) -> list[Any]:
    """What an override goes through: numbers as they are, all else as a text that Hydra reads as the same again."""
    if override.is_delete() or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        raise InputError(f"{override.input_line}: a W&B sweep needs values; write key=value or key=value,value")
    if not override.is_sweep_override():
        return [_value(override.value(), override.get_value_element_as_str())]
    texts = override.sweep_iterator(transformer=Transformer.encode)
    return [_value(value, text) for value, text in zip(override.sweep_iterator(), texts, strict=True)]


def _value(value: Any, text: str) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(text)


def workspace(options: Mapping[str, str]) -> Any:
    """The workspace; nothing is sent.

    Raises:
        InputError: If wandb_workspaces is not installed, or a tag is none that runs have.
    """
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise InputError("wandb_workspaces is not installed; pip install 'wandb-workspaces>=0.4,<0.5'") from error
    task = task_named(options["task"])
    return ws.Workspace(
        entity=options["entity"],
        project=options["project"],
        name=options["name"],
        sections=[training(task.main), *sweeps(task.quantities), maps(), *tables()],
        runset_settings=ws.RunsetSettings(
            filters=filters(options["tags"]),
            order=[ws.Ordering(ws.Metric("CreatedTimestamp"), ascending=False)],
        ),
    )


def tags_by_label(text: str) -> dict[str, list[str]]:
    """Label -> the tags asked for, in the order typed."""
    found: dict[str, list[str]] = {}
    for tag in (tag.strip() for tag in text.split(",") if tag.strip()):
        label, colon, value = tag.partition(":")
        if label not in LABELS or not colon or not value:
            raise InputError(f"tags: {tag} must be label:value with a label of {', '.join(LABELS)}")
        found.setdefault(label, []).append(tag)
    return found


def saved(options: Mapping[str, str]) -> str:
    """Save the workspace at W&B and say where it is."""
    made = workspace(options)
    import wandb

    try:
        return made.save().url
    except wandb.Error as error:
        raise InputError(f"entity={options['entity']}: W&B says: {' '.join(str(error).split())}") from error


def filters(text: str) -> Any:
    """The runs with the tags asked for, and the logged tables, which have none of them."""
    from wandb_workspaces import expr

    tagged = [expr.Tags().isin(tags) for tags in tags_by_label(text).values()]
    return expr.Or(expr.And(*tagged), expr.Metric("JobType") == "table") if tagged else []


def training(main: Quantity) -> Any:
    """Curves of every run, and the main quantity against measured speed."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    names = (f"val/{main.key}", f"train/{main.key}", f"train/{LOSS.key}")
    curves = [wr.LinePlot(title=name, x="epoch", y=[name]) for name in names]
    x, y = wr.SummaryMetric(SPEED.key), wr.SummaryMetric(f"test/{main.key}")
    speed = wr.ScatterPlot(title=f"{main.name} against {SPEED.name}", x=x, y=y)
    return ws.Section(name="Training", panels=[*curves, speed], is_open=True)


def sweeps(quantities: Sequence[Quantity]) -> list[Any]:
    """For each file of `configs/sweep`, its metrics along the value it goes through: runs, and means over seeds."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    sections = []
    for path in sorted((CONFIGS / "sweep").glob("*.yaml")):
        panels = []
        for axis in axes(path):
            for quantity in (one for one in quantities if one.shown):
                key, title, x = f"test/{quantity.key}", f"{quantity.title} along {axis}", wr.Config(axis)
                panels.append(wr.ScatterPlot(title=title, x=x, y=wr.SummaryMetric(key)))
                mean = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
                panels.append(wr.BarPlot(title=f"{title}, mean and deviation", metrics=[key], groupby=x, **mean))
        sections.append(ws.Section(name=f"Sweep: {path.stem}", panels=panels))
    return sections


def axes(path: Path) -> list[str]:
    """What a sweep goes through beside seeds, as it is called in a run's W&B config: a group's choice is a choice."""
    keys = {o.get_key_element(): len(values(o)) for o in parsed([f"{k}={v}" for k, v in sweep_params(path).items()])}
    swept = [key for key, count in keys.items() if count > 1 and key != "seed"]
    return [f"choices.{key}" if (CONFIGS / key).is_dir() else key for key in swept]


def maps() -> Any:
    """What the inserted modules do while they train, and pictures where runs logged some."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    plots = [wr.LinePlot(title=gate.title, x="epoch", metric_regex=f"gate/.*/{gate.key}") for gate in GATES]
    return ws.Section(name="Maps", panels=[*plots, wr.MediaBrowser(title="pictures")])


def tables() -> list[Any]:
    """The tables that scripts/reproduce.py logs, one section for each paper."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    papers: dict[str, list[Any]] = {}
    for name in table_names(CONFIGS / "table"):
        panel = wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=24, h=10))
        papers.setdefault(name.partition("/")[0], []).append(panel)
    return [ws.Section(name=f"Tables: {paper}", panels=panels) for paper, panels in papers.items()]
