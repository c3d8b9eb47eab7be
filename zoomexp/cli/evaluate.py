"""Test a finished run's network again, without training: on another data set, at another size, with mirrored images.

    python scripts/evaluate.py run=FOLDER dataset=imagenet_a
    python scripts/evaluate.py run=FOLDER backbone.image_size=288 task.tta=hflip

    run=FOLDER     the folder of a finished run
    name=value     what is to be another than in that run: options of the data set, backbone.image_size=, task.tta=,
                   trainer=, callbacks=, loss=; left out: the run's own data set, and the cross-entropy as test/loss

It makes a run of its own, backbone=trained with evaluate=start: with a folder, a record and a row in the report.
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zoomexp.cli.script_options import split
from zoomexp.errors import InputError
from zoomexp.results.classifying import check_classifies
from zoomexp.results.stored import finished_facts
from zoomexp.run.compose import compose_run
from zoomexp.run.stored_run import stored_config

FIXED = ("backbone=trained", "attention=none", "tokens=uniform", "evaluate=start")
NOT_TAKEN_OVER = ("_target_", "data_dir", "seed")  # of a data set: what other options say
SIZES = ("backbone.image_size=", "dataset.image_size=")


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return
    from zoomexp.run.experiment import run_all
    from zoomexp.run.interruption import stopping_in_order

    options, words = split(arguments, {"run": ""}, passed_on=("",))
    if not options["run"]:
        raise InputError("run: must be given, the folder of a finished run")
    facts, run = finished_facts(options["run"], "run"), Path(options["run"]).resolve()
    check_classifies(facts, run)
    own = own_data(run, facts)
    if any(word.startswith("dataset=") for word in words):
        own = [f"dataset.image_size={facts['shape']['image_size']}"]
    if any(word.startswith(SIZES) for word in words):
        own = [word for word in own if not word.lstrip("+").startswith(SIZES)]
    with stopping_in_order():
        run_all(compose_run([*FIXED, f"backbone.run={run}", *own, *words]))


def own_data(run: Path, facts: dict[str, Any]) -> list[str]:
    """The overrides that make a run's own data set, and its seed.

    >>> json.dumps([0.5, None, True, "a b"])  # how values are written: as Hydra reads them
    '[0.5, null, true, "a b"]'
    """
    config = stored_config(run, "run")
    taken: Any = OmegaConf.to_container(config.dataset, resolve=True)
    options = [f"++dataset.{name}={json.dumps(value)}" for name, value in taken.items() if name not in NOT_TAKEN_OVER]
    return [f"seed={config.seed}", f"dataset={facts['choices']['dataset']}", f"data_dir={config.data_dir}", *options]
