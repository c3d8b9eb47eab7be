"""What a run was made from, beside its config: the data it read, the files it began with and the code that decided it.

A record keeps it as `identity` and in `code.json`. The same command compares it with what is there now, and so do
tables and reports: a result that is no longer that of its command is never shown as if it were.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from zoomexp.results.identity import renamed, science
from zoomexp.results.sources import Source, changed_sources, code_digest, sources, write_sources
from zoomexp.results.stored import RecordError, facts_if_finished, read_config

ELSEWHERE = ("output_dir", "data_dir", "logger", "needs", "dataset")  # no files to begin with, or seen as data
ENDS = 2**20  # bytes of a large file's beginning, middle and end that count
NAMED = 3  # modules that a line names


@dataclass(frozen=True)
class Origin:
    """What a run is made from.

    Attributes:
        data: fingerprint of each split (`datasets.fingerprint`); None where the data module lists no images.
        files: a digest of each file or run that the config names, by its key.
        modules: the code (`results.sources`).
    """

    data: dict[str, str] | None
    files: dict[str, str]
    modules: dict[str, Source]

    def entry(self) -> dict[str, Any]:
        """What `metrics.json` has of it."""
        return {"data": self.data, "files": self.files, "code": code_digest(self.modules)}

    def write(self, folder: Path) -> None:
        """Keep the digests of the modules in a run's folder."""
        write_sources(self.modules, folder)


def origin_of(config: Mapping[str, Any], data: Any) -> Origin:
    """What a run of this resolved config, whose data module has been set up, is made from."""
    from zoomexp.datasets.fingerprint import data_fingerprint

    return Origin(data_fingerprint(data), named_files(config), sources(science(config)))


def changes(folder: Path, facts: Mapping[str, Any], look_at_arrays: bool = False) -> str:
    """What has changed since a run was made, as one clause; empty if nothing has, or if it is not known.

    Args:
        folder: of the run.
        facts: its record.
        look_at_arrays: compare data that are no image files, too; they have to be read for it.
    """
    held = facts.get("identity")
    identity: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
    found = [told_code(folder)]
    if identity.get("files") or _compares_data(identity, look_at_arrays):  # else its config need not be read
        try:
            config = renamed(read_config(folder))
        except RecordError:
            return ""
        data = told_data(data_changes(identity, config, look_at_arrays))
        found = [data, *_changed_files(identity, config), *found]
    return "; ".join(filter(None, found))


def has_origin(facts: Mapping[str, Any]) -> bool:
    """Whether a record says what its run was made from; those from before 2026-11-28 do not."""
    return bool((facts.get("identity") or {}).get("code"))


def data_changes(identity: Mapping[str, Any], config: Mapping[str, Any], look_at_arrays: bool = True) -> list[str]:
    """The splits that would not be read as a record's `identity` has them; none where the data are not here."""
    if not _compares_data(identity, look_at_arrays):
        return []
    now = data_now(json.dumps(config["dataset"]))
    return _differing(identity["data"], now) if now else []


def _compares_data(identity: Mapping[str, Any], look_at_arrays: bool) -> bool:
    known = identity.get("data")
    return isinstance(known, Mapping) and (look_at_arrays or known.get("kind") == "files")


def told_data(splits: list[str]) -> str:
    """The clause about splits that have changed.

    >>> told_data(["train", "test"]), told_data([])
    ('data: images or labels of train, test', '')
    """
    return f"data: images or labels of {', '.join(splits)}" if splits else ""


def told_code(folder: Path) -> str:
    """The clause about modules that have changed since the run in `folder` was made."""
    changed = changed_sources(folder)
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return f"code: {', '.join(changed[:NAMED])}{more}" if changed else ""


def named_files(config: Mapping[str, Any]) -> dict[str, str]:
    """A digest of each file that a config names, and of the tested weights of each run, by the key that names it."""
    digests = {key: _file_digest(Path(value)) for key, value in _named(config)}
    return {key: digest for key, digest in digests.items() if digest}


def _changed_files(identity: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    """A clause for each file that is not what it was, and for each run that is or that is stale itself."""
    known = identity.get("files")
    if not known:
        return
    yield from _differing(known, named_files(config))
    for key, value in _named(config):
        run = facts_if_finished(Path(value)) if key in known else None
        if run and (stale := changes(Path(value), run)):
            yield f"{key} ({stale})"


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts of a config that may name a file or a folder, by key."""
    leaves = _leaves({key: node for key, node in config.items() if key not in ELSEWHERE})
    return ((key, value) for key, value in leaves if "/" in value or Path(value).suffix)


def _differing(known: Any, now: Mapping[str, Any]) -> list[str]:
    return [key for key, value in known.items() if now.get(key) != value] if isinstance(known, Mapping) else []


@lru_cache  # a sweep over runs that are finished reads the data once
def data_now(node: str) -> dict[str, str] | None:
    """The fingerprint of the data that a config's `dataset` describes; None where they cannot be read."""
    from hydra.utils import instantiate

    from zoomexp.datasets.fingerprint import data_fingerprint

    options = json.loads(node)
    if not Path(options.get("data_dir") or ".").expanduser().is_dir():
        return None  # and nothing is to be fetched for a comparison
    try:
        data = instantiate(options, _convert_="all")
        data.prepare_data()
        data.setup("fit")
        return data_fingerprint(data)
    except Exception:  # whatever a user's data module raises: running it again will say
        return None


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from _leaves(child, f"{key}.{name}" if key else name)
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from _leaves(child, f"{key}[{place}]")
    elif isinstance(node, str):
        yield key, node


def _file_digest(path: Path) -> str | None:
    """Of a file, or of the weights that the run in a folder was tested with; None of anything else."""
    try:
        if path.is_dir():
            facts = facts_if_finished(path) or {}
            path = path / facts["weights"]
        size = path.stat().st_size
        digest = hashlib.blake2b(str(size).encode(), digest_size=8)
        with path.open("rb") as file:
            for start in sorted({0, max(0, size // 2 - ENDS // 2), max(0, size - ENDS)}):
                file.seek(start)
                digest.update(file.read(ENDS))
        return digest.hexdigest()
    except (OSError, KeyError, TypeError, ValueError):
        return None
