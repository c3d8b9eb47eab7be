"""The workflow files: make targets and scripts that exist, actions named by commit, and all that is promised."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())


def steps(name: str) -> list[dict]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def made(name: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z-]+)", "\n".join(step.get("run", "") for step in steps(name))))


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / ".github/workflows").glob("*.yml")))
def test_it_names_what_is_there(name):
    assert made(name) and made(name) <= TARGETS
    for step in steps(name):
        assert all((ROOT / script).is_file() for script in re.findall(r"scripts/[\w/.]+", step.get("run", "")))
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
    assert workflow(name)["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] for job in workflow(name)["jobs"].values())


def test_every_push_is_linted_typed_tested_documented_and_packed():
    assert {"lint", "types", "test", "docs"} <= made("ci")
    assert any("python -m build" in step.get("run", "") for step in steps("ci"))


def test_the_nightly_job_runs_the_slow_tests_and_what_they_need():
    assert {"docs", "test-slow", "test-oracles"} <= made("nightly")


def test_all_pythons_and_both_ends_of_the_bounds_are_tested():
    matrix = workflow("ci")["jobs"]["test"]["strategy"]["matrix"]
    declared = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    first, end = map(int, declared.groups())
    assert matrix["python"] == [f"3.{minor}" for minor in range(first, end)]
    assert {"oldest", "newest"} <= {each["bounds"] for each in matrix["include"]}
    bounds = (ROOT / "scripts/dev/bounds.sh").read_text()
    assert all(f"  {name})" in bounds for name in ("oldest", "tested", "newest"))


def test_the_hooks_are_the_pinned_ruff_of_the_environment():
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert [hook["entry"] for hook in hooks] == [".venv/bin/ruff format", ".venv/bin/ruff check --fix"]
    assert re.search(r'"ruff==[\d.]+"', (ROOT / "pyproject.toml").read_text())
