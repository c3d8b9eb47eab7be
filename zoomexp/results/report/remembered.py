"""Remembers between calls what takes long to compose, for as long as neither code nor configs have changed."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from zoomexp.atomic_file import write_text
from zoomexp.results.provenance import version

PACKAGES = ("hydra-core", "omegaconf")


class Remembered:
    """Answers to questions, kept in a file; one that was written in another state, or is damaged, counts for nothing.

    Args:
        file: where they are kept.
        state: what the answers depend on, see `state_of`.
    """

    def __init__(self, file: Path, state: str) -> None:
        self.file, self.state, self.answers = file, state, {}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(file.read_text())
            if stored["state"] == state:
                self.answers = dict(stored["answers"])

    def answer(self, question: Sequence[str], find: Callable[[], list[str]]) -> list[str]:
        """The answer, found now if it is not known; an error that `find` raises is not remembered."""
        key = json.dumps(list(question))
        if key not in self.answers:
            self.answers[key] = find()
        return self.answers[key]

    def save(self) -> None:
        """Write the file; where that cannot be done the next call takes longer."""
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, json.dumps({"state": self.state, "answers": self.answers}))


def state_of(places: Iterable[Path]) -> str:
    """A hash of files, of every Python and YAML file below folders, and of the packages that read them."""
    found = hashlib.sha256(json.dumps([version(name) for name in PACKAGES]).encode())
    for place in places:
        files = [place] if place.is_file() else place.rglob("*")
        for path in sorted(path for path in files if path.suffix in (".py", ".yaml")):
            found.update(f"{path}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()
