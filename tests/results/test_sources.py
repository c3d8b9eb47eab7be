"""Which modules decide a run's numbers, and which edits of theirs count."""

import importlib
import json
from pathlib import Path

import pytest

from zoomexp.results import sources as module
from zoomexp.results.sources import changed_sources, code_digest, sources, write_sources

CONFIG = {"attention": {"_target_": "birds.gates.Gate"}, "loss": [{"_target_": "torch.nn.CrossEntropyLoss"}]}


@pytest.fixture
def birds(own_modules) -> Path:
    """A user's package: `birds.gates` imports a neighbour, relatively, and that one zoomexp's Loupe."""
    folder = own_modules / "birds"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "gates.py").write_text("from .inner import half\n\n\nclass Gate:\n    value = half(4)\n")
    (folder / "inner.py").write_text("from zoomexp.attention import loupe\n\n\ndef half(x):\n    return x / 2\n")
    (folder / "unused.py").write_text("")
    return folder


def clear():
    importlib.invalidate_caches()
    module.file_of.cache_clear()
    module._is_followed.cache_clear()


def test_what_counts(birds):
    found = sources(CONFIG)
    assert {name for name in found if name.startswith("birds")} == {"birds", "birds.gates", "birds.inner"}
    assert {"zoomexp.attention.loupe", "zoomexp.attention.spatial_map", "zoomexp.run.build", "zoomexp.run.fit",
            "zoomexp.weights"} <= set(found)  # fmt: skip
    assert not [name for name in found if name.startswith(("torch", "zoomexp.results", "zoomexp.health"))]
    assert "zoomexp.attention.cbam" not in found


@pytest.mark.parametrize("place", ["site-packages", "dist-packages", "target"])
def test_libraries_of_another_place_do_not_count(birds, tmp_path, monkeypatch, place):
    """Those of a second environment, of the system, and of `pip install --target`, which has its list of packages."""
    library = tmp_path / place
    (library / "nests").mkdir(parents=True)
    (library / "nests" / "__init__.py").write_text("from nests import twigs\n")
    (library / "nests" / "twigs.py").write_text("")
    (library / "nests-1.0.dist-info").mkdir() if place == "target" else None
    (birds / "inner.py").write_text("import nests\nfrom nests.twigs import one\n\n\ndef half(x):\n    return x / 2\n")
    monkeypatch.syspath_prepend(library)
    clear()
    assert [name for name in sources(CONFIG) if name.startswith(("birds", "nests"))] == [
        "birds", "birds.gates", "birds.inner",
    ]  # fmt: skip


def test_a_package_that_refuses_to_be_imported_here_is_left_out(birds):
    """It may stand behind a condition in the module that names it."""
    (birds / "other").mkdir()
    (birds / "other" / "__init__.py").write_text("assert False, 'of another system'\n")
    (birds / "other" / "pipe.py").write_text("")
    (birds / "inner.py").write_text("def half(x):\n    from .other import pipe\n    return x / pipe\n")
    clear()
    assert "birds.inner" in sources({"attention": {"_target_": "birds.inner.half"}})


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("from zoomexp.attention import loupe\n\n\ndef half(x):\n    return x / 3\n", True),
        ("# a comment\nfrom zoomexp.attention import loupe\ndef half(x):\n    '''Half.'''\n    return x/2\n", False),
        ("from zoomexp.attention import loupe\n\n\ndef half(x: float) -> float:\n    return x / 2\n", False),
        ("def half(x:\n", True),
        (None, True),
    ],
)
def test_edits(birds, tmp_path, text, counts):
    write_sources(sources(CONFIG), tmp_path)
    assert changed_sources(tmp_path) == []
    (birds / "inner.py").unlink()
    if text:
        (birds / "inner.py").write_text(text)
    clear()
    assert changed_sources(tmp_path) == ["birds.inner"] * counts


def test_the_digest_is_that_of_what_is_kept(birds, tmp_path):
    found = sources(CONFIG)
    write_sources(found, tmp_path)
    assert set(json.loads((tmp_path / "code.json").read_text())) == set(found)
    (birds / "gates.py").write_text("class Gate:\n    value = 3\n")
    assert code_digest(sources(CONFIG)) != code_digest(found)


@pytest.mark.parametrize("text", [None, "", "[]", '{"a": 1}'])
def test_nothing_is_known_without_a_readable_list(tmp_path, text):
    if text is not None:
        (tmp_path / "code.json").write_text(text)
    assert changed_sources(tmp_path) == []


def test_changed_code_is_parsed_once_however_many_runs_ask(birds, tmp_path, monkeypatch):
    """Parsing takes a hundred times as long as reading; a thousand runs made of other code took minutes."""
    runs = [tmp_path / f"run{i}" for i in range(3)]
    for run in runs:
        run.mkdir()
        write_sources(sources(CONFIG), run)
    (birds / "inner.py").write_text("from zoomexp.attention import loupe\n\n\ndef half(x):\n    return x / 3\n")
    clear()
    parsed = []
    parse = module.ast.parse
    monkeypatch.setattr(module.ast, "parse", lambda content: parsed.append(content) or parse(content))
    assert [changed_sources(run) for run in runs] == [["birds.inner"]] * 3
    assert len(parsed) == 1
