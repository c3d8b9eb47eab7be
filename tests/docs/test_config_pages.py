"""scripts/dev/config_pages.py: the options of a file of each form, and that none of configs/ is left out."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made():
    spec = importlib.util.spec_from_file_location("config_pages", ROOT / "scripts/dev/config_pages.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def leaves(value, name=""):
    """The dotted names of what a config sets; an empty mapping is a value."""
    if not isinstance(value, dict) or not value:
        return [name]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{name}.{key}" if name else str(key))]


def test_a_file_with_everything(made, tmp_path):
    path = tmp_path / "cbam.yaml"
    path.write_text(
        "# What it is,\n# in two lines\ndefaults:\n  - other: one  # why\n  - _self_\n_target_: zoomexp.a.B\n"
        "size: 0.5     # in [0, 1] | null\nlist: [1, 2]\n# of both\nnested: {a: x#y, b: {}}  # both\nlater:\n"
        "  c: null\n"
    )
    file = made.ConfigFile(path, "tokens/scorer", "cbam")
    assert file.head == ["What it is,", "in two lines"]
    assert file.defaults() == [("other: one", "why")]
    assert [(each.name, each.default, each.comment) for each in file.options()] == [
        ("tokens.scorer.size", "0.5", "in [0, 1] | null"),
        ("tokens.scorer.list", "[1, 2]", ""),
        ("tokens.scorer.nested.a", "x#y", "of both both"),
        ("tokens.scorer.nested.b", "{}", "of both both"),
        ("tokens.scorer.later.c", "null", ""),
    ]
    page = made.group_page("tokens/scorer", [file], {"tokens/scorer": "cbam"})
    assert "Unless another is named: `cbam`." in page and "[`zoomexp.a.B`][zoomexp.a.B]" in page
    assert "| `tokens.scorer.size` | `0.5` | in \\[0, 1\\] \\| null |" in page


def test_every_option_of_every_file_is_on_a_page(made):
    groups = made.groups(ROOT / "configs")
    assert {"attention", "tokens", "tokens/scorer", "trainer/final", "table"} <= groups.keys()
    shown = 0
    for group, choices in groups.items():
        page = made.group_page(group, choices, {})
        for choice in choices:
            assert f"\n## {choice.name}\n" in page
            if group in made.VERBATIM:
                assert choice.text.rstrip() in page
                continue
            expected = [
                choice.prefix + name
                for key in choice.values
                if key not in made.OWN
                for name in leaves({key: choice.values[key]})
            ]
            assert [option.name for option in choice.options()] == expected
            assert all(f"| `{name}` |" in page for name in expected)
            shown += len(expected)
    assert shown > 500 and sum(map(len, groups.values())) == len(list((ROOT / "configs").glob("*/**/*.yaml")))


def test_defaults_are_the_files_own(made):
    for choice in made.groups(ROOT / "configs")["dataset"]:
        for option in choice.options():
            value = choice.values
            for part in option.name.removeprefix("dataset.").split("."):
                value = value[part]
            assert yaml.safe_load(option.default) == value or str(value) == option.default


def test_the_root_has_its_groups_and_options(made):
    page = made.root_page(made.ConfigFile(ROOT / "configs/train.yaml", "", "train"))
    assert "| `detector: none` | around the host and its tokens: says boxes |" in page
    assert "| `stale` | `refuse` |" in page and "hydra" not in page
