"""Run records that are published: a few KB a run, all runs of a table in one archive that a repository can hold.

An archive has run folders by their places below the outputs' root, `runs/<dataset>/<host>/seed<n>-<digits>`, without
weights and pictures. Of the predictions it has what a paired test may need: whether an image was right, as bits, and
the other outcomes by name; who said so, and how surely, is left out. Paths of the machine are left out, too. The same
records give the same bytes.
"""

import io
import json
import lzma
import re
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from zoomexp.atomic_file import atomic_file
from zoomexp.errors import InputError
from zoomexp.results.identity import hash_of
from zoomexp.results.predictions import FILE, LENGTHS, Predictions, save_predictions
from zoomexp.results.sources import FILE as CODE
from zoomexp.results.stored import RecordError, read_config, read_facts

WHOLE = ("history.csv", "data.json", CODE)  # stored as they are, beside the record, the config and the predictions
BITS, SHAPE = ".bits", ".shape"  # an array of booleans is stored as bits, with its shape
SAID = (
    "label",
    "top1",
    "confidence",
    "confidence_t",
    "label_confidence",
    "probabilities",
    "boxes",  # `found` has what they hit
)  # what was said of an image, not whether it was right
MADE = ("error1",)  # of other arrays, as they are read
PLACES = {"output_dir": "outputs", "data_dir": "data"}  # what stands for them in a published config
ABSOLUTE = re.compile(r"(?:^|[=:,\[\"'\s])(/[\w.-]+/[^\s\"',\]]*)")


def publish(folders: Iterable[Path], outputs: Path, archive: Path, outcomes: Collection[str] | None = None) -> int:
    """Write the records of runs into one archive; returns of how many.

    Args:
        folders: of finished runs, below `outputs`.
        outputs: the root of all outputs.
        archive: a `.tar.xz`.
        outcomes: of the predictions that are no booleans those that are kept, by name; None: all but SAID.
    """
    chosen = sorted(set(folders))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder in chosen:
            for name, data in _files(folder, outcomes):
                entry = tarfile.TarInfo((folder.relative_to(outputs) / name).as_posix())  # no owner, no time
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    archive.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(archive) as partial:
        partial.write_bytes(lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    return len(chosen)


def restore(archive: Path, outputs: Path) -> tuple[int, int]:
    """Put an archive's run folders below `outputs`; those that are there stay as they are.

    Returns:
        How many were added, and how many were there.

    Raises:
        InputError: An archive that is damaged or no archive of records; nothing of it is left.
    """
    with tempfile.TemporaryDirectory(prefix="records-") as place:
        try:
            with tarfile.open(archive, "r:xz") as tar:
                tar.extractall(place, filter="data")
            found = sorted(file.parent for file in Path(place).rglob("metrics.json"))
            for folder in found:
                _unpack(folder)
        except (OSError, EOFError, ValueError, KeyError, tarfile.TarError, lzma.LZMAError) as error:
            raise InputError(f"{archive}: no archive of records ({' '.join(str(error).split())})") from error
        new = [folder for folder in found if not (outputs / folder.relative_to(place) / "metrics.json").exists()]
        for folder in new:
            target = outputs / folder.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, target, dirs_exist_ok=True)
    return len(new), len(found) - len(new)


def archives(records: Path) -> list[Path]:
    """The archives in a folder of published records, in order."""
    return sorted(records.rglob("*.tar.xz"))


def problems(folder: Path) -> Iterator[str]:
    """What keeps a finished run's record from being evidence: each a clause; none of a sound one."""
    try:
        facts, config = read_facts(folder), read_config(folder)
    except RecordError as error:
        yield str(error)
        return
    identity = facts.get("identity") or {}
    if facts["status"] != "finished":
        yield f"not finished ({facts['status']})"
    if not folder.name.endswith(f"-{hash_of(folder)}"):
        yield f"its config has the digits {hash_of(folder)}"
    if not identity.get("code") or not identity.get("data"):
        yield "does not say from which data and code it was made"
    if not facts["git"].get("sha") or facts["git"].get("dirty"):
        yield "was made by no commit, or with changes since"
    yield from _other_means(facts["metrics"], Predictions(folder / FILE))
    for name, value in (("metrics.json", facts), ("config.yaml", config)):
        if path := ABSOLUTE.search(json.dumps(value)):
            yield f"{name} names a place of the machine: {path[1]}"


def _other_means(metrics: Mapping[str, float], predictions: Predictions) -> Iterator[str]:
    """The shares of images that do not follow from what is said of each image."""
    for name, right in predictions.items():
        said = metrics.get(f"test/{name}")
        if right.dtype == bool and right.ndim == 1 and said is not None:
            mean = 100 * right.mean()
            if abs(mean - said) > 1e-3:
                yield f"test/{name} is {said:.4g}, and of its images {mean:.4g} % are right"


def _files(folder: Path, outcomes: Collection[str] | None) -> Iterator[tuple[str, bytes]]:
    """What is published of a run's folder, by name."""
    config = read_config(folder)
    roots = {
        str(config.get(name)): instead for name, instead in PLACES.items() if Path(str(config.get(name))).is_absolute()
    }
    facts = read_facts(folder)
    facts["overrides"] = [word for word in facts.get("overrides", []) if not word.startswith(tuple(PLACES))]
    yield "metrics.json", (json.dumps(_without(roots, facts), indent=1) + "\n").encode()
    yield "config.yaml", yaml.safe_dump(_without(roots, config), sort_keys=False).encode()
    for name in WHOLE:
        if (folder / name).exists():
            yield name, (folder / name).read_bytes()
    yield FILE, _packed(Predictions(folder / FILE), outcomes)


def _without(roots: Mapping[str, str], node: Any) -> Any:
    """The same with what stands for the machine's places."""
    if isinstance(node, dict):
        return {key: _without(roots, value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without(roots, value) for value in node]
    for root, instead in roots.items():
        if isinstance(node, str) and (node == root or node.startswith(f"{root}/")):
            return instead + node.removeprefix(root)
    return node


def _packed(predictions: Predictions, outcomes: Collection[str] | None) -> bytes:
    """The arrays that are kept, booleans as bits, not compressed: the archive is."""
    kept: dict[str, np.ndarray] = {}
    for name, values in predictions.items():
        array = name.removesuffix(LENGTHS)
        if name in MADE:
            continue
        if values.dtype == bool:
            kept |= {f"{name}{BITS}": np.packbits(values), f"{name}{SHAPE}": np.array(values.shape)}
        elif array == "index" or (array not in SAID if outcomes is None else array in outcomes or array != name):
            kept[name] = values
    content = io.BytesIO()
    np.savez(content, **cast(dict[str, Any], dict(sorted(kept.items()))))  # of one order, however often it is published
    return content.getvalue()


def _unpack(folder: Path) -> None:
    """Make the predictions of a restored folder those that every reader knows."""
    with np.load(folder / FILE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in [name for name in arrays if name.endswith(BITS)]:
        shape = arrays.pop(name.removesuffix(BITS) + SHAPE)
        bits = np.unpackbits(arrays.pop(name), count=int(shape.prod()))
        arrays[name.removesuffix(BITS)] = bits.astype(bool).reshape(shape)
    save_predictions(arrays, folder)
