"""What injects faults, and the table in docs/reliability.md, of which every test checks its row.

ZOOMEXP_WRITE_DOCS=1 writes the rows instead.
"""

import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS, MARK = ROOT / "docs" / "reliability.md", "<!-- matrix -->"
FAULTS = (
    "killed before a file is in place", "killed at random moments", "sweep killed", "disk full: checkpoint",
    "disk full: history.csv", "disk full: predictions.npz", "disk full: metrics.json", "last.ckpt cut short",
    "last.ckpt with a changed bit", "last.ckpt that would run code", "last.ckpt and previous.ckpt cut short",
    "best.ckpt with a changed bit", "out of memory", "out of memory, trainer.on_oom=fail", "reader stuck",
    "reader killed", "W&B unreachable", "same run asked for twice", "job of a sweep crashes",
)  # fmt: skip
RUN = (
    "dataset=digits", "dataset.train_size=128", "dataset.test_size=60", "trainer.max_epochs=3", "logger=none",
    "attention=none",
)  # fmt: skip
WHOLE = [
    "best.ckpt",
    "classes.csv",
    "code.json",
    "config.yaml",
    "confusion.csv",
    "data.json",
    "history.csv",
    "last.ckpt",
    "metrics.json",
    "predictions.csv",
    "predictions.npz",
]


@pytest.fixture
def faults() -> tuple[str, ...]:
    """The faults, in the order of the table."""
    return FAULTS


@pytest.fixture
def table() -> list[str]:
    """The lines of the table in the documentation, without its head."""
    return DOCS.read_text().split(MARK)[1].strip().splitlines()[2:]


@pytest.fixture
def row(tmp_path) -> Callable[..., None]:
    """`row(fault, made, code, said, left)` checks, or writes, the row of a fault in the documentation."""

    def check(fault: str, made: str, code: int | None, said: str, left: str) -> None:
        exit_code = "" if code is None else str(code)
        line = f"| {fault} | {made} | {exit_code} | {plain(said, tmp_path)} | {left} |"
        before, old, after = DOCS.read_text().split(MARK)
        lines = old.strip().splitlines()
        if os.environ.get("ZOOMEXP_WRITE_DOCS") == "1":
            kept = {one.split(" | ")[0].removeprefix("| "): one for one in lines[2:]} | {fault: line}
            lines = [*lines[:2], *(kept[name] for name in FAULTS if name in kept)]
            DOCS.write_text(f"{before}{MARK}\n" + "\n".join(lines) + f"\n{MARK}{after}")
        assert line in lines

    return check


def plain(err: str, tmp_path: Path) -> str:
    """What was said besides the first words and the epochs, without what differs from machine to machine."""
    lines = [line for line in err.splitlines() if not line.startswith(("epoch ", "job ", "recipe=", "module at "))]
    lines = [line for line in lines if ", images: " not in line]
    text = re.sub(rf"({tmp_path}/\w+/runs/)?\w+/[\w-]+/seed\d+-[0-9a-f]{{8}}", "RUN", "<br>".join(lines))
    return text.replace(str(tmp_path), "DIR").replace("|", "/")


@pytest.fixture
def killed_at(train, forked) -> Callable[..., int]:
    """`killed_at(n, name, ...)` runs, and gets SIGKILL instead of putting the nth file called `name` into its place."""

    def run(number: int, name: str | None, *overrides: str) -> int:
        def act() -> int:
            replace, seen = Path.replace, []

            def kill(path: Path, target: Path) -> Path:
                seen.append(name in (None, Path(target).name))
                if sum(seen) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return replace(path, target)

            Path.replace = kill
            return train(*overrides, base=RUN).code

        return forked(act)

    return run


@pytest.fixture
def stored(tmp_path) -> Callable[..., dict]:
    """`stored()` is the `metrics.json` of the only run in `tmp_path / "out"`; `stored("whole")` of that in "whole"."""

    def read(output: str = "out", run: str = "seed*") -> dict:
        (path,) = tmp_path.glob(f"{output}/runs/*/*/{run}/metrics.json")
        return json.loads(path.read_text())

    return read


@pytest.fixture
def finishes(train, once, stored, folders, tmp_path) -> Callable:
    """`finishes()`: the same command finishes with the numbers of an undisturbed run, and its files and no other."""

    def undisturbed(folder: Path) -> None:
        assert train(f"output_dir={folder / 'whole'}", base=RUN).code == 0

    def check():
        once("undisturbed", undisturbed)
        ended = train(base=RUN)
        assert ended.code == 0, ended.err
        (folder,) = folders()
        assert (stored()["status"], stored()["metrics"]) == ("finished", stored("whole")["metrics"])
        assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == WHOLE
        return ended

    return check
