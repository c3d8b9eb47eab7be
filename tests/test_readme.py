"""The README's own claims that a machine can check."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_is_two_screens_at_most():
    assert len(README.splitlines()) <= 80


def test_what_it_links_to_exists():
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert len(links) >= 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_choice_of_every_group_is_named():
    text = README + (ROOT / "docs/options.md").read_text()
    paths = [path.relative_to(ROOT / "configs") for path in ROOT.glob("configs/*/**/*.yaml")]
    left_out = {
        "experiment",
        "table",
        "sweep",
        "trainer/final",
        "dataset/shared",
    }  # many files each, or not to be chosen
    choices = {path for path in paths if not left_out & {path.parts[0], str(path.parent)}}
    assert len(choices) > 80
    assert [str(path) for path in sorted(choices) if not re.search(rf"\b{path.stem}\b", text)] == []
    named = set(re.findall(r"^\| `([\w/]+)` \|", text, re.M))
    assert named == {str(path.parent) for path in choices}


def test_its_figures_of_the_default_are_the_studys():
    row = next(line for line in (ROOT / "docs/default.md").read_text().splitlines() if line.startswith("| all |"))
    _, runs, *figures, _ = (cell.split()[0] for cell in row.strip("| ").split("|"))
    acc1, least_acc1, peak, least_peak = (f"{float(figure):.1f} %" for figure in figures)
    for text in (README, (ROOT / "docs/index.md").read_text()):
        words = " ".join(text.split())
        assert f"Over {runs} such runs" in words and peak in words and least_peak in words
    words = " ".join(README.split())
    assert f"{acc1} of the test images" in words and f"{least_acc1} at the least" in words


def test_targets_it_names_exist():
    targets = set(re.findall(r"`make ([a-z-]+)", README)) | set(re.findall(r"^    make ([a-z-]+)", README, re.M))
    assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in targets)
