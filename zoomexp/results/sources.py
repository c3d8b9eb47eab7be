"""Which code decides a run's numbers: the modules that its config names and the training loop, and all they import.

Followed are zoomexp and whatever is not installed as a library, so a user's own packages. What only watches, tells or
stores (WATCHERS) is left out, and so are libraries, whose versions stand in the record. A module counts as what Python
does with it: comments, docstrings, the annotations of functions and the layout of the text do not.
"""

import ast
import hashlib
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from zoomexp.atomic_file import write_text

FILE = "code.json"  # in a run's folder: every module with the digests of its text and of what Python does with it
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
LOOP = ("zoomexp.run.build", "zoomexp.run.fit")
WATCHERS = tuple(
    f"zoomexp.{name}"
    for name in (
        "analysis", "arguments", "atomic_file", "callbacks.dynamics", "callbacks.effects", "callbacks.gate_monitor",
        "callbacks.history", "callbacks.pictures", "callbacks.progress", "cli", "errors", "health", "processes",
        "results", "run.cost", "run.explain", "run.faults", "run.interruption", "run.labels", "run.logger",
        "run.opening", "run.shown_profiler", "run.shown_results", "run.stopping", "run.sweep_agent",
        "run.wandb_boxes", "run.wandb_masks", "run.wandb_media", "run.wandb_offline", "run.wandb_run",
        "tasks.mask_pictures", "tasks.pictures", "tasks.scene_pictures", "upstream.allocator",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A module's file.

    Attributes:
        text: digest of the file.
        meaning: digest of its syntax tree without docstrings and the annotations of functions.
        imports: the dotted names it imports: modules, and what may be one or a name in one.
    """

    text: str
    meaning: str
    imports: frozenset[str]


def sources(config: Mapping[str, Any]) -> dict[str, Source]:
    """The modules that decide what a run of this config measures, by name.

    Args:
        config: plain containers, without what does not decide the numbers (`identity.science`).
    """
    found: dict[str, Source] = {}
    todo = [*LOOP, *_targets(config)]
    while todo:
        name = todo.pop()
        path = None if name in found or _watches(name) else file_of(name)
        if path is not None and path.is_file():  # it may have gone since it was found
            found[name] = _source(path, path.stat().st_mtime_ns, name, path.name == "__init__.py")
            todo += [*found[name].imports, *_above(name)]
    return dict(sorted(found.items()))


def code_digest(modules: Mapping[str, Source]) -> str:
    """16 hexadecimal digits of all of them."""
    return _digest("\n".join(f"{name} {source.meaning}" for name, source in sorted(modules.items())).encode())


def write_sources(modules: Mapping[str, Source], folder: Path) -> None:
    """Keep the digests in a run's folder."""
    kept = {name: [source.text, source.meaning] for name, source in modules.items()}
    write_text(folder / FILE, json.dumps(kept, indent=0) + "\n")


def changed_sources(folder: Path) -> list[str]:
    """The modules that are not what they were when the run in `folder` was made; none where it is not known."""
    try:
        kept = json.loads((folder / FILE).read_text())
        return [name for name, (text, meaning) in kept.items() if not _is_still(name, text, meaning)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _is_still(name: str, text: str, meaning: str) -> bool:
    path = file_of(name)
    if path is None or not path.is_file():
        return False
    written = path.stat().st_mtime_ns
    return _text(path, written) == text or _meaning_now(path, written) == meaning


@lru_cache(maxsize=10_000)
def file_of(name: str) -> Path | None:
    """The file of a module of zoomexp's or of a user's; None of any other name."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or (name != top and not _is_followed(top)):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # a name in a module, one that is not there, or a package that refuses to be imported here
        return None
    path = Path(spec.origin) if spec and spec.origin and spec.has_location else None
    if path is None or path.suffix != ".py" or not path.is_file():
        return None
    return path if top == "zoomexp" or not _is_library(path) else None


@lru_cache
def _is_followed(top: str) -> bool:
    """Whether a top-level package is one to look into: not a library."""
    spec = importlib.util.find_spec(top)
    where = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return top == "zoomexp" or any(place and not _is_library(Path(place)) for place in where)


def _is_library(path: Path) -> bool:
    homes = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(path.is_relative_to(home) for home in homes) or any(_has_libraries(folder) for folder in path.parents)


@lru_cache(maxsize=10_000)
def _has_libraries(folder: Path) -> bool:
    """Whether packages were installed into a folder: another environment's, the system's, that of `pip --target`."""
    return folder.name in ("site-packages", "dist-packages") or any(folder.glob("*.dist-info"))


def _watches(name: str) -> bool:
    return any(name == watcher or name.startswith(f"{watcher}.") for watcher in WATCHERS)


def _targets(node: Any) -> Iterator[str]:
    """The dotted names of what a config calls, and what they stand in."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield from (node["_target_"], *_above(node["_target_"]))
        for child in node.values():
            yield from _targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from _targets(child)


def _above(name: str) -> Iterable[str]:
    words = name.split(".")
    return [".".join(words[:length]) for length in range(1, len(words))]


@lru_cache(maxsize=10_000)
def _source(path: Path, written: int, name: str, is_package: bool) -> Source:
    content = path.read_bytes()
    tree = ast.parse(content)
    package = name if is_package else name.rpartition(".")[0]
    return Source(_text(path, written), _meaning(content, tree), frozenset(_imports(tree, package)))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            here = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*here, *([node.module] if node.module else [])])
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


@lru_cache(maxsize=10_000)
def _text(path: Path, written: int) -> str:
    return _digest(path.read_bytes())


@lru_cache(maxsize=10_000)
def _meaning_now(path: Path, written: int) -> str:
    return _meaning(path.read_bytes())  # parsing takes a hundred times as long as reading, and every run asks


def _meaning(content: bytes, tree: ast.AST | None = None) -> str:
    try:
        tree = tree or ast.parse(content)
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
    return _digest(ast.dump(tree).encode())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
