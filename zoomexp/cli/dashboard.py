"""W&B workspaces and reports over the project's runs, and W&B sweep files from our own.

    python scripts/dashboard.py entity=NAME                        save a workspace over all runs, print where it is
    python scripts/dashboard.py entity=NAME sweep=loupe_lambda     one for a sweep of configs/sweep
    python scripts/dashboard.py entity=NAME report=attzoom/cifar100 scale=paper    a report for a paper's table
    python scripts/dashboard.py --json FILE ...                    write its specification instead; no network
    python scripts/dashboard.py --emit configs/sweep/NAME.yaml     print a sweep file for `wandb sweep`; no network

    entity=NAME             user or team; needed to save; WANDB_ENTITY stands for it
    project=zoomexp         the project that logger=wandb writes to; WANDB_PROJECT stands for it
    name=                   the workspace's name: the sweep's, or the project's
    sweep=, report=         which sweep, or which table; neither: all runs
    scale=small             of the report: smoke | small | paper
    task=classification     whose quantities are drawn: a choice of configs/task; a sweep and a table know theirs
    tags=dataset:cifar10,attention:cbam,attention:none    only these runs; of one label any, of several labels all

After --emit, further overrides become parameters too: backbone=resnet50 is fixed, seed=0,1 is gone through. Start the
sweep with `wandb sweep FILE` and `wandb agent ID`. A run that has been finished here before is not repeated.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from zoomexp.atomic_file import write_text
from zoomexp.cli.paper_reports import of_table
from zoomexp.cli.script_options import split
from zoomexp.cli.wandb_sweep import sweep_file
from zoomexp.cli.workspaces import of_sweep, over_all, tags_by_label
from zoomexp.errors import InputError
from zoomexp.run.wandb_offline import defaults

OPTIONS = {"name": "", "sweep": "", "report": "", "scale": "small", "task": "classification", "tags": ""}


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
        write_text(Path(arguments[1]), json.dumps(specification(made(parse(arguments[2:]))), indent=2) + "\n")
        print(f"written: {arguments[1]}")
    else:
        options = parse(arguments)
        if not options["entity"]:
            raise InputError("entity: name the W&B user or team that it is to belong to, or use --json FILE")
        print(saved(options))


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """The options."""
    ours = {name: defaults()[name] or "" for name in ("entity", "project")}
    options, _ = split(arguments, ours | OPTIONS, flags=("--json FILE", "--emit FILE"))
    tags_by_label(options["tags"])  # a mistake is said before anything is imported
    if options["sweep"] and options["report"]:
        raise InputError("sweep and report: one of them; a sweep gets a workspace, a table a report")
    return options


def made(options: Mapping[str, str]) -> Any:
    """The workspace or report asked for; nothing is sent."""
    if options["report"]:
        return of_table(options)
    return of_sweep(options) if options["sweep"] else over_all(options)


def specification(view: Any) -> dict[str, Any]:
    """What W&B would be sent of a workspace or report, as the library's own schema writes it."""
    return view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def saved(options: Mapping[str, str]) -> str:
    """Save it at W&B and say where it is."""
    view = made(options)
    import wandb

    try:
        return view.save().url
    except wandb.Error as error:
        raise InputError(f"entity={options['entity']}: W&B says: {' '.join(str(error).split())}") from error
