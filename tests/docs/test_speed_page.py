"""docs/speed.md is what the published files of benchmarks say, and its goals name benchmarks that there are."""

from pathlib import Path

from zoomexp.results.speed_goals import read_goals
from zoomexp.results.speed_page import GOALS, page

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "records" / "benchmarks"


def test_the_page_is_made_of_the_published_files():
    assert (ROOT / "docs" / "speed.md").read_text() == page(RECORDS)


def test_goals_name_benchmarks_and_choices_that_there_are():
    for goal in read_goals(RECORDS / GOALS):
        name, *words = goal.command.split()
        assert (ROOT / "zoomexp" / "cli" / "benchmarks" / f"{name.replace('-', '_')}.py").is_file(), goal.command
        for group, _, choice in (word.partition("=") for word in words):
            assert not (ROOT / "configs" / group).is_dir() or (ROOT / "configs" / group / f"{choice}.yaml").is_file()


def test_no_published_file_names_a_folder():
    for path in RECORDS.glob("*.json"):
        assert '"data_dir=/' not in path.read_text() and '"output_dir=' not in path.read_text(), path
