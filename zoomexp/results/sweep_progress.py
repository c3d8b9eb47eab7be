"""How far a sweep is: which of how many jobs begins, and how long the rest takes if it goes on as it went."""

import math
import time
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

SAVED = "multirun.yaml"  # Hydra's, written before the first job


def progress(folder: Path, job: int, now: float | None = None) -> str:
    """The words with which a job begins: "job 3 of 20, 12 min left".

    Jobs count from 1 wherever they are shown. The time left is what the jobs done so far would take, whichever process
    did them; nothing is said of it before one is done, nor of how many there are where Hydra's file does not tell.

    Args:
        folder: the sweep's.
        job: Hydra's number of the job that begins, from 0.
        now: in seconds, as `time.time` gives them.
    """
    total, done = count_jobs(folder), len(list(folder.glob("job_*.json")))
    if total is None or job >= total:
        return f"job {job + 1}"
    spent = (time.time() if now is None else now) - (folder / SAVED).stat().st_mtime
    left = f", {_told(spent / done * (total - done))} left" if done and spent > 0 else ""
    return f"job {job + 1} of {total}{left}"


def count_jobs(folder: Path) -> int | None:
    """How many jobs a multirun has, from what was typed and what its sweep file says; None where that is not told."""
    try:
        saved = yaml.safe_load((folder / SAVED).read_text())["hydra"]
        swept = [f"{name}={values}" for name, values in (saved["sweeper"].get("params") or {}).items()]
        words = [*swept, *saved["overrides"]["task"]]
        overrides = {
            one.key_or_group: one for one in OverridesParser.create().parse_overrides(words)
        }  # the last counts
        return math.prod(
            len(list(one.sweep_string_iterator())) for one in overrides.values() if one.is_sweep_override()
        )
    except (OSError, KeyError, TypeError, AttributeError, yaml.YAMLError, HydraException):
        return None


def _told(seconds: float) -> str:
    """A time as it is waited for: seconds, then minutes, then hours.

    >>> _told(40), _told(725), _told(9000)
    ('40 s', '12 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
