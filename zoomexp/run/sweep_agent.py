"""A job that an agent of a W&B sweep hands out (`wandb agent`): its values as overrides, its W&B run for one run only.

The agent starts the sweep's command with these variables: the sweep's ID, that of the W&B run to fill, and a file with
the job's values. W&B puts what is in that file over the run's config, a whole entry at a time: `attention: loupe` would
take the place of all options of the module. So a sweep names choices under `choices`, and options as they are nested,

    parameters: {choices: {parameters: {attention: {value: loupe}}}, loss: {parameters: {sparsity: {values: [0, 1]}}}}

as they stand in the config of every run (`dashboard.py --emit` writes such files); and of any sweep's file W&B gets
only what the run's config does not have anyway.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from zoomexp.errors import InputError

FLAG = "--agent"
CHOICES = "choices"  # the entry of a run's W&B config that holds the choices of the config groups
SWEEP, VALUES, RUN = "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"


def handed_out() -> bool:
    """Whether an agent started this process."""
    return bool(os.environ.get(SWEEP))


def with_values(words: Sequence[str]) -> list[str]:
    """A command line with the job's values in the place of `--agent`.

    Raises:
        InputError: If `--agent` is given and no agent started this process.
    """
    if FLAG not in words:
        return list(words)
    if not os.environ.get(VALUES):
        raise InputError(f"{FLAG}: only where an agent of a W&B sweep starts the command ({VALUES} is not set)")
    place = list(words).index(FLAG)
    return [*words[:place], *overrides(read(Path(os.environ[VALUES]))), *words[place + 1 :]]


def read(path: Path) -> dict[str, Any]:
    """The values in an agent's file, by parameter.

    Raises:
        InputError: If it is no such file.
    """
    try:
        content = yaml.safe_load(path.read_text())
        return {key: entry["value"] for key, entry in content.items() if key != "wandb_version"}
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{VALUES}={path}: no file of an agent of W&B") from error


def overrides(values: Mapping[str, Any]) -> list[str]:
    """The values as one types them.

    >>> job = {"choices": {"attention": "loupe"}, "loss": {"sparsity": 0.5}, "insertion": {"at": [0, 2]}, "seed": 1}
    >>> overrides(job)
    ['attention=loupe', 'loss.sparsity=0.5', 'insertion.at=[0, 2]', 'seed=1']
    """
    leaves = _leaves({key: value for key, value in values.items() if key != CHOICES})
    return [f"{key}={_typed(value)}" for key, value in [*values.get(CHOICES, {}).items(), *leaves]]


def _leaves(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}", one) for name, one in _leaves(value))
        else:
            yield key, value


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def leave_config_whole(config: Mapping[str, Any], folder: Path) -> None:
    """Let W&B read only those values of the job that the run's config has not, so that these stay nested.

    Args:
        config: what W&B gets as the run's config.
        folder: where their file is written, if there are any.
    """
    if not os.environ.get(VALUES):
        return
    given = read(Path(os.environ.pop(VALUES)))
    if more := {key: {"value": value} for key, value in given.items() if key.lstrip("+") not in config}:
        kept = folder / "wandb" / "sweep_values.yaml"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(yaml.safe_dump({"wandb_version": 1, **more}, sort_keys=False))
        os.environ[VALUES] = str(kept)


@contextlib.contextmanager
def not_of_the_job() -> Iterator[None]:
    """Inside, runs get W&B runs of their own: the job's is for the run that was asked for, not for those it needs."""
    kept = {name: os.environ.pop(name) for name in (SWEEP, VALUES, RUN) if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
        if kept and (wandb := sys.modules.get("wandb")):
            wandb.teardown()  # it read the variables when its first run began
