"""CONTRIBUTING.md names files, tests and classes that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_what_it_names_is_there():
    named = set(re.findall(r"(?<![\w/])((?:zoomexp|configs|tests|docs|scripts)/[\w/.-]+\w)", TEXT))
    there = {name for name in named if "foo" not in name}
    assert len(there) >= 10 and [name for name in sorted(there) if not (ROOT / name).exists()] == []
    assert [name for name in named - there if not (ROOT / name).parent.is_dir() and "PAPER" not in name] == []


def test_the_classes_it_names_are_defined():
    code = "\n".join(path.read_text() for path in (ROOT / "zoomexp").rglob("*.py"))
    classes = set(re.findall(r"`([A-Z]\w*(?:Module|ViT|Model|Classifier|Error))`", TEXT))
    assert len(classes) >= 4 and all(f"class {name}(" in code for name in classes)


def test_there_are_six_walk_throughs():
    section = TEXT.partition("## Six walk-throughs")[2]
    assert re.findall(r"^\*\*A (.+?)\.\*\*", section, re.M) == [
        "module", "token method", "data set", "task", "quantity", "table",
    ]  # fmt: skip
