"""What docs/findings.md says was measured stands in docs/results.md, which is made from records."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_measured_numbers_are_those_of_the_results():
    results = (DOCS / "results.md").read_text()
    points = re.findall(r"^- \*Measured\*.*?(?=^- |^\S|^$)", (DOCS / "findings.md").read_text(), re.M | re.S)
    numbers = [number for point in points for number in re.findall(r"\d+\.\d{1,3}", point)]
    assert len(points) >= 4 and len(numbers) >= 15
    assert [number for number in numbers if number not in results] == []
    tables = {name for point in points for name in re.findall(r"`(\w+/\w+)`", point)}
    assert tables and all(f"[{name}, scale=" in results.replace("\\", "") for name in tables)
