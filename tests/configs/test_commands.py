"""Every command of README and docs: its options compose, its script is there."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from zoomexp.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:python|zoomexp) (?:-m zoomexp )?(train\.py|scripts/\w+\.py|\w+)((?: [^`|#]*)?)")
OWN = {"attention=mean_gate", "attention=mine"}  # files that the reader is to write


def commands() -> list[tuple[str, str]]:
    """Those of all texts."""
    return commands_of(TEXTS)


def commands_of(texts: Sequence[Path]) -> list[tuple[str, str]]:
    """(command, what follows it), each once; shortened ones, with `...`, are no commands."""
    found = {}
    for path in texts:
        text = path.read_text().replace("\\\n", " ")
        for line in text.splitlines():
            for name, rest in COMMAND.findall(line):
                command = Path(name).stem
                if command in COMMANDS and "..." not in rest and "{" not in rest:
                    found[command, re.split(r" {2,}|\s\(", rest.strip())[0].strip()] = path.name
    return sorted(found)


def first_values(words: list[str]) -> list[str]:
    """Overrides that set one value each: of a sweep the first."""
    single = []
    for word in words:
        override = OverridesParser.create().parse_override(word)
        key = word.partition("=")[0]
        single.append(f"{key}={next(iter(override.sweep_string_iterator()))}" if override.is_sweep_override() else word)
    return single


def test_there_are_many():
    assert len(commands()) >= 30 and {"train", "reproduce", "report"} <= {name for name, _ in commands()}


@pytest.mark.parametrize(("command", "rest"), commands(), ids=lambda text: text[:60] or "alone")
def test_it_composes(command, rest):
    assert (ROOT / "train.py" if command == "train" else ROOT / f"scripts/{command}.py").is_file()
    if command != "train":
        return
    words = [word.rstrip(",.;:") for word in shlex.split(rest) if not word.startswith("-")]
    words = [word for word in words if "=" in word and not word.startswith("hydra") and word not in OWN]
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        assert isinstance(compose("train", overrides=first_values(words)).seed, int)
