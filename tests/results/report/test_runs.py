"""Run folders that are whole, and such that are not."""

from pathlib import Path

import pytest

from zoomexp.results.report.runs import read_runs


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: truncate(folder / "metrics.json"), "JSONDecodeError"),
        (
            lambda folder: (folder / "metrics.json").write_text("{}"),
            "status, choices, metrics, cost, seed, git missing",
        ),
        (lambda folder: (folder / "metrics.json").write_text("[]"), "metrics.json holds no mapping"),
        (lambda folder: (folder / "metrics.json").unlink(), "no metrics.json"),
        (lambda folder: (folder / "config.yaml").unlink(), "no config.yaml"),
        (lambda folder: (folder / "config.yaml").write_text("a: [1"), "ParserError"),
        (lambda folder: truncate(folder / "predictions.npz"), "predictions.npz is cut off"),
        (lambda folder: (folder / "history.csv").write_text(""), "EmptyDataError"),
    ],
)
def test_a_broken_run_folder_is_one_line(six, damage, why):
    root, _ = six
    folder = next(root.glob("runs/digits/*gate*/seed1*"))
    damage(folder)
    runs, skipped = read_runs(root / "runs")
    assert len(runs) == 5
    (line,) = skipped
    assert line.startswith(f"{folder.relative_to(root / 'runs')}: ")
    assert why in line
    assert "\n" not in line
