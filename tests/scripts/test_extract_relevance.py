"""zoomexp extract_relevance: what it refuses, before a file is written."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir

from zoomexp.cli import extract_relevance
from zoomexp.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
VIT = ("backbone=vit_digits", "dataset=digits", "attention=none")


@pytest.fixture
def script(monkeypatch):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        yield extract_relevance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["relevance=none"], r"^relevance=none must be one of attention, grad_attn, lrp, rollout$"),
        (["relevance.batch_size=0"], r"^relevance\.batch_size=0 must be a whole number, at least 1$"),
        (["out=/dev/null/maps"], r"^out: cannot write /dev/null/maps \(Not a directory\); name a writable place$"),
        (["processes=0"], r"^processes=0 must be a whole number, at least 1$"),
        (["shard=2/2"], r"^shard=2/2 must be k/n with 0 <= k < n"),
        (["parts=train,dev"], r"^parts: dev is unknown; allowed: train, val, test$"),
    ],
)
def test_bad_input_is_one_line(script, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        script.main([*VIT, f"out={tmp_path / 'maps'}", *arguments])
    assert list(tmp_path.iterdir()) == []
