"""zoomexp dashboard: sweep files for W&B, and the workspace's specification, both without a network."""

import itertools
import json
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from zoomexp.cli import dashboard
from zoomexp.errors import InputError
from zoomexp.run.logger import make_logger

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted(ROOT.glob("configs/sweep/*.yaml"))


@pytest.fixture
def script(monkeypatch):
    return dashboard


def by_hydra(overrides: list[str]) -> list[tuple[str, ...]]:
    """The jobs that Hydra's sweeper makes of the overrides, each parsed and sorted."""
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), None)
    return [normal(job) for job in batch]


def by_wandb(emitted: dict) -> list[tuple[str, ...]]:
    """The command lines of a W&B grid: every combination as key=value, as `${args_no_hyphens}` passes it."""
    lists = {key: entry.get("values", [entry.get("value")]) for key, entry in emitted["parameters"].items()}
    jobs = itertools.product(*([f"{key}={value}" for value in values] for key, values in lists.items()))
    return [normal(job) for job in jobs]


def normal(job) -> tuple[str, ...]:
    parsed = OverridesParser.create().parse_overrides(list(job))
    return tuple(sorted(f"{override.get_key_element()}={override.value()!r}" for override in parsed))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_file_has_the_jobs_of_hydra(script, path):
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    typed = [f"{key}={value}" for key, value in params.items()]
    emitted = script.sweep_file(path)
    assert sorted(by_wandb(emitted)) == sorted(by_hydra(["logger.mode=online", *typed]))
    assert (emitted["program"], emitted["method"], emitted["name"]) == ("train.py", "grid", path.stem)


def test_further_overrides_are_parameters_too(script, capsys):
    more = [
        "seed=4,5",
        "insertion.at=[0,2]",
        "attention.threshold=null,true,'1',a",
        "trainer.max_epochs=range(1,4)",
        "backbone=resnet50",
    ]
    script.main(["--emit", str(SWEEPS[0]), *more])
    emitted = yaml.safe_load(capsys.readouterr().out)
    params = yaml.safe_load(SWEEPS[0].read_text())["hydra"]["sweeper"]["params"]
    typed = [f"{key}={value}" for key, value in params.items() if key != "seed"]
    assert sorted(by_wandb(emitted)) == sorted(by_hydra(["logger.mode=online", *typed, *more]))
    assert emitted["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]


def test_what_wandb_cannot_go_through_is_refused(script, tmp_path):
    (tmp_path / "more.yaml").write_text("hydra: {sweeper: {params: {seed: '0,1'}}}\ntrainer: {max_epochs: 3}\n")
    with pytest.raises(InputError, match=r"more\.yaml: sets trainer beside hydra\.sweeper\.params"):
        script.sweep_file(tmp_path / "more.yaml")
    with pytest.raises(InputError, match=r"nothing\.yaml: no sweep file with hydra\.sweeper\.params"):
        script.sweep_file(tmp_path / "nothing.yaml")
    with pytest.raises(HydraException, match="Could not override 'backbon'"):
        script.sweep_file(SWEEPS[0], ["backbon=resnet50"])
    with pytest.raises(HydraException, match="Could not find 'backbone/resnet51'"):
        script.sweep_file(SWEEPS[0], ["backbone=resnet50,resnet51"])
    for override in ("attention=glob(*)", "~attention"):
        with pytest.raises(InputError, match="a W&B sweep needs values"):
            script.sweep_file(SWEEPS[0], [override])


def test_axes_are_what_is_swept_beside_seeds(script):
    axes = {path.stem: script.axes(path) for path in SWEEPS}
    assert all(len(found) >= 1 for found in axes.values())
    assert (axes["loupe_lambda"], axes["insertion_stage"]) == (["loss.sparsity"], ["choices.insertion"])


def test_labels_are_those_that_runs_are_tagged_with(script):
    seen = {}

    def make(**arguments):
        seen.update(arguments)
        raise KeyboardInterrupt  # enough is known

    record = SimpleNamespace(facts={"choices": {}, "seed": 0}, folder=Path("x"), path=Path("x"), config={})
    with suppress(KeyboardInterrupt), make_logger(make, record):
        pass
    assert {tag.partition(":")[0] for tag in seen["tags"]} == set(script.LABELS)


def test_tags_are_grouped_by_label(script):
    text = "dataset:cifar10, attention:cbam,attention:none"
    assert script.tags_by_label(text) == {
        "dataset": ["dataset:cifar10"], "attention": ["attention:cbam", "attention:none"],
    }  # fmt: skip
    assert script.tags_by_label("") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--json", "FILE", "tags=colour:red"],
            "tags: colour:red must be label:value with a label of dataset, backbone",
        ),
        (["--json", "FILE", "tags=cbam"], "tags: cbam must be label:value"),
        (["--json"], "--json: name the file to write"),
        (["--emit"], "--emit: name a sweep file"),
        (
            ["--list"],
            "--list: not an option here; allowed: entity=, project=, name=, task=, tags=, --json FILE, --emit FILE",
        ),
        (["project=x"], "entity: name the W&B user or team"),
    ],
)
def test_bad_input_is_one_line(script, arguments, message):
    with pytest.raises(InputError, match=message):
        script.main(arguments)


def test_without_the_package_one_line_says_what_to_install(script, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(InputError, match=r"wandb_workspaces is not installed; pip install '.*'$"):
        script.main(["--json", str(tmp_path / "x.json")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own pydantic validators
def test_the_specification_holds_every_view(script, tmp_path, monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    script.main(["--json", str(tmp_path / "x.json"), "entity=me", "tags=attention:cbam,attention:none,seed:0"])
    written = json.loads((tmp_path / "x.json").read_text())
    assert (written["entity"], written["project"], written["displayName"]) == ("me", "zoomexp", "zoomexp")
    content = written["spec"]["section"]
    sections = {section["name"]: section["panels"] for section in content["panelBankConfig"]["sections"]}
    tables = {f"Tables: {path.parent.name}" for path in ROOT.glob("configs/table/*/*.yaml")}
    assert set(sections) == {"Training", "Maps", *(f"Sweep: {path.stem}" for path in SWEEPS), *tables}
    for path in ROOT.glob("configs/table/*/[!_]*.yaml"):
        name = f"{path.parent.name}/{path.stem}"
        assert any(f'"{name}"' in json.dumps(panel) for panel in sections[f"Tables: {path.parent.name}"]), name
    scatter = [panel["config"] for panel in sections["Sweep: loupe_lambda"] if panel["viewType"] == "Scatter Plot"]
    assert [(one["xAxis"], one["yAxis"]) for one in scatter] == [
        ("config:loss.value.sparsity", f"summary:test/{key}")
        for key in ("acc1", "acc5", "balanced_acc", "macro_f1", "nll", "ece", "pointing_game")
    ]
    chosen = content["runSets"][0]["filters"]["filters"]
    assert [(one["key"]["name"], one["value"], one.get("connector")) for one in chosen] == [
        ("tags", ["attention:cbam", "attention:none"], None), ("tags", ["seed:0"], "AND"), ("jobType", "table", "OR"),
    ]  # fmt: skip
