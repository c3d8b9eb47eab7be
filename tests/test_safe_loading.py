"""Files that others made are read without running what they hold."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "train.py", *sorted((ROOT / "zoomexp").rglob("*.py")), *sorted((ROOT / "scripts").rglob("*.py"))]
# What a call must say, as keyword -> value; None: it must not be there at all.
RULES = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "trainer.fit": ("weights_only", True),
    "trainer.test": ("weights_only", True),
    "tarfile.extractall": ("filter", "data"),
    "pickle.load": None, "pickle.loads": None, "yaml.unsafe_load": None, "yaml.full_load": None, "joblib.load": None,
}  # fmt: skip


def calls(source: str) -> list[tuple[str, dict]]:
    """Every call `a.b(...)` as its name and the constants it passes by keyword."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            words = {word.arg: getattr(word.value, "value", ...) for word in node.keywords}
            found.append((ast.unparse(node.func), words))
    return found


def offences(source: str) -> list[str]:
    return [
        name
        for name, words in calls(source)
        if name in RULES
        and not (name.startswith("trainer.") and "ckpt_path" not in words)  # nothing is loaded
        and (RULES[name] is None or words.get(RULES[name][0], ...) != RULES[name][1])
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_loaded_that_could_run(path):
    assert offences(path.read_text()) == []


def test_the_rules_are_kept_somewhere_and_broken_here():
    kept = {name for path in SOURCES for name, _ in calls(path.read_text())}
    assert {"torch.load", "np.load", "trainer.fit", "trainer.test"} <= kept
    assert offences("torch.load(path, weights_only=False); np.load(path); pickle.load(file)") == [
        "torch.load", "np.load", "pickle.load",
    ]  # fmt: skip
