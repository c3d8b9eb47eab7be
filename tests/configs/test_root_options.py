"""Every option of the root itself, configs/train.yaml, acts: which test shows it."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHOWN_BY = {
    "seed": ("tests/train/test_stale.py", "seed=1"),
    "evaluate": ("tests/train/test_dropped_callbacks.py", "evaluate=best"),
    "checkpoint": ("tests/train/test_stale.py", "checkpoint="),
    "data_dir": ("tests/train/test_stale.py", "data_dir="),
    "output_dir": ("tests/train/test_resume.py", "output_dir="),
    "rounding": ("tests/train/test_rounding.py", "rounding="),
    "rerun": ("tests/train/test_stale.py", "rerun=true"),
    "stale": ("tests/train/test_stale.py", "stale=show"),
    "compile": ("tests/train/test_compile.py", "compile="),
    "needs": ("tests/train/test_needs.py", "needs."),
    "hydra": ("tests/train/test_launchers.py", "hydra/launcher"),
}


def options() -> list[str]:
    """What the root file holds beside the choices of groups."""
    return [name for name in yaml.safe_load((ROOT / "configs/train.yaml").read_text()) if name != "defaults"]


def test_none_is_missing():
    assert set(options()) == set(SHOWN_BY)


@pytest.mark.parametrize("name", SHOWN_BY)
def test_it_is_shown(name):
    file, words = SHOWN_BY[name]
    assert words in (ROOT / file).read_text()
