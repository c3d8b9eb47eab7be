"""zoomexp dashboard: sweep files for W&B, and the workspace's specification, both without a network."""

import itertools
import json
import sys
from pathlib import Path

import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from zoomexp.cli import dashboard, wandb_sweep, workspaces
from zoomexp.cli.config_files import configs
from zoomexp.cli.table_runs import seeded_runs
from zoomexp.errors import InputError
from zoomexp.results.table import load_table, table_names
from zoomexp.run.compose import compose_run
from zoomexp.run.labels import labels_of
from zoomexp.run.sweep_agent import overrides

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted(ROOT.glob("configs/sweep/*.yaml"))


@pytest.fixture
def script(monkeypatch):
    for name in ("WANDB_ENTITY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    with configs():  # as every command has them
        yield dashboard


def by_hydra(overrides: list[str]) -> list[tuple[str, ...]]:
    """The jobs that Hydra's sweeper makes of the overrides, each parsed and sorted."""
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), None)
    return [normal(job) for job in batch]


def by_wandb(emitted: dict) -> list[tuple[str, ...]]:
    """The command lines of a W&B grid: every combination of nested values, as an agent's file makes them words."""
    return [normal(overrides(job)) for job in combinations(emitted["parameters"])]


def combinations(parameters: dict) -> list[dict]:
    """The nested values of every job of a W&B grid."""
    lists = [
        combinations(entry["parameters"]) if "parameters" in entry else entry.get("values", [entry.get("value")])
        for entry in parameters.values()
    ]
    return [dict(zip(parameters, job, strict=True)) for job in itertools.product(*lists)]


def normal(job) -> tuple[str, ...]:
    parsed = OverridesParser.create().parse_overrides(list(job))
    return tuple(sorted(f"{override.get_key_element()}={override.value()!r}" for override in parsed))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_file_has_the_jobs_of_hydra(script, path):
    params = yaml.safe_load(path.read_text())["hydra"]["sweeper"]["params"]
    typed = [f"{key}={value}" for key, value in params.items()]
    emitted = wandb_sweep.sweep_file(path)
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
    assert emitted["command"] == ["${env}", "${interpreter}", "${program}", "--agent"]
    assert emitted["parameters"]["choices"]["parameters"]["backbone"] == {"value": "resnet50"}
    assert emitted["parameters"]["insertion"] == {"parameters": {"at": {"value": "[0,2]"}}}
    assert emitted["metric"] == {"name": "val/acc1_best", "goal": "maximize"}


def test_what_wandb_cannot_go_through_is_refused(script, tmp_path):
    (tmp_path / "more.yaml").write_text("hydra: {sweeper: {params: {seed: '0,1'}}}\ntrainer: {max_epochs: 3}\n")
    with pytest.raises(InputError, match=r"more\.yaml: sets trainer beside hydra\.sweeper\.params"):
        wandb_sweep.sweep_file(tmp_path / "more.yaml")
    with pytest.raises(InputError, match=r"nothing\.yaml: no sweep file with hydra\.sweeper\.params"):
        wandb_sweep.sweep_file(tmp_path / "nothing.yaml")
    with pytest.raises(HydraException, match="Could not override 'backbon'"):
        wandb_sweep.sweep_file(SWEEPS[0], ["backbon=resnet50"])
    with pytest.raises(HydraException, match="Could not find 'backbone/resnet51'"):
        wandb_sweep.sweep_file(SWEEPS[0], ["backbone=resnet50,resnet51"])
    for override in ("attention=glob(*)", "~attention"):
        with pytest.raises(InputError, match="a W&B sweep needs values"):
            wandb_sweep.sweep_file(SWEEPS[0], [override])


def test_axes_are_what_is_swept_beside_seeds(script):
    axes = {path.stem: wandb_sweep.axes(path) for path in SWEEPS}
    assert all(len(found) >= 1 for found in axes.values())
    assert (axes["loupe_lambda"], axes["insertion_stage"]) == (["loss.sparsity"], ["choices.insertion"])


def test_labels_are_those_that_runs_are_tagged_with(script):
    labels = labels_of(compose_run(["experiment=zoomvit/digits", "seed=3"]))
    assert set(labels.tags) == set(workspaces.LABELS)


def test_tags_are_grouped_by_label(script):
    text = "dataset:cifar10, attention:cbam,attention:none"
    assert workspaces.tags_by_label(text) == {
        "dataset": ["dataset:cifar10"], "attention": ["attention:cbam", "attention:none"],
    }  # fmt: skip
    assert workspaces.tags_by_label("") == {}


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
            "--list: not an option here; allowed: entity=, project=, name=, sweep=, report=, scale=, task=, tags=",
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


offline = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package's own pydantic validators


@offline
def test_the_specification_holds_every_view(script, tmp_path, monkeypatch):
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    script.main(["--json", str(tmp_path / "x.json"), "entity=me", "tags=attention:cbam,attention:none,seed:0"])
    written = json.loads((tmp_path / "x.json").read_text())
    assert (written["entity"], written["project"], written["displayName"]) == ("me", "zoomexp", "zoomexp")
    content = written["spec"]["section"]
    sections = {section["name"]: section["panels"] for section in content["panelBankConfig"]["sections"]}
    tables = {f"Tables: {path.parent.name}" for path in ROOT.glob("configs/table/*/*.yaml")}
    assert set(sections) == {"Training", "Maps", "Runs", *(f"Sweep: {path.stem}" for path in SWEEPS), *tables}
    for path in ROOT.glob("configs/table/*/[!_]*.yaml"):
        name = f"{path.parent.name}/{path.stem}"
        assert any(f'"{name}"' in json.dumps(panel) for panel in sections[f"Tables: {path.parent.name}"]), name
    scatter = [panel["config"] for panel in sections["Sweep: loupe_lambda"] if panel["viewType"] == "Scatter Plot"]
    assert [(one["xAxis"], one["yAxis"]) for one in scatter] == [
        ("config:loss.value.sparsity", f"summary:test/{key}")
        for key in (
            "acc1",
            "acc5",
            "balanced_acc",
            "macro_f1",
            "auroc",
            "average_precision",
            "nll",
            "ece",
            "pointing_game",
            "mask_hits",
            "part_hits",
        )
    ]
    chosen = content["runSets"][0]["filters"]["filters"]
    assert [(one["key"]["name"], one["value"], one.get("connector")) for one in chosen] == [
        ("tags", ["attention:cbam", "attention:none"], None), ("tags", ["seed:0"], "AND"), ("jobType", "table", "OR"),
    ]  # fmt: skip


@pytest.fixture
def written(script, tmp_path, monkeypatch):
    """`written("sweep=...")` is what `--json` writes, as the library's own schema reads it back; no connection."""
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))

    def read(schema, *words: str) -> dict:
        script.main(["--json", str(tmp_path / "x.json"), "entity=me", *words])
        content = json.loads((tmp_path / "x.json").read_text())
        again = schema.model_validate(content).model_dump(mode="json", by_alias=True, exclude_none=True)
        assert without_comments(again) == content
        return content

    return read


def without_comments(node):
    """The schema fills in the empty list of comments on a text."""
    if isinstance(node, dict):
        return {name: without_comments(one) for name, one in node.items() if (name, one) != ("inlineComments", [])}
    return [without_comments(one) for one in node] if isinstance(node, list) else node


@offline
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_workspace_for_each_sweep(written, path):
    from wandb_workspaces.workspaces.internal import View

    content = written(View, f"sweep={path.stem}")["spec"]["section"]
    sections = {one["name"]: one["panels"] for one in content["panelBankConfig"]["sections"]}
    assert list(sections) == ["Results", "Cost", "Curves", "Maps", "Runs"]
    axes = wandb_sweep.axes(path)
    bars = [panel["config"] for panel in sections["Results"] if panel["viewType"] == "Bar Chart"]
    named = [axis.replace(".", ".value.", 1) for axis in axes]
    assert [one["groupBy"] for one in bars if one["metrics"] == ["test/acc1"]] == named
    assert {(one["groupAgg"], one["groupArea"]) for one in bars} == {("mean", "stderr")}
    lines = [panel["config"] for panel in sections["Curves"]]
    assert {(one["xAxis"], one["groupBy"], one["groupArea"]) for one in lines} == {("epoch", named[0], "stderr")}
    kinds = {panel["viewType"] for panel in sections["Results"]}
    assert ("Parallel Coordinates Plot" in kinds) is (len(axes) > 1)
    assert ("test/tokens" in json.dumps(sections["Cost"])) is any(axis.startswith("tokens.") for axis in axes)
    chosen = content["runSets"][0]["filters"]["filters"]
    params = wandb_sweep.grid(path)
    tagged = {key: given for key, given in params.items() if key in workspaces.LABELS and key != "seed"}
    assert tagged and [one["value"] for one in chosen] == [
        [f"{key}:{value}" for value in given] for key, given in tagged.items()
    ]


@offline
def test_a_report_for_a_papers_table(written):
    from wandb_workspaces.reports.v2.internal import ReportViewspec

    table = load_table(ROOT / "configs" / "table", "cnntention/mnist")
    content = written(ReportViewspec, "report=cnntention/mnist", "scale=paper")
    assert (content["project"]["name"], table.title in content["displayName"]) == ("zoomexp", True)
    text = json.dumps(content["spec"]["blocks"])
    for said in (table.source, *table.caveats, *(row.name for row in table.rows), "table=cnntention/mnist scale=paper"):
        assert json.dumps(said)[1:-1] in text, said
    logged, runs = [one for one in content["spec"]["blocks"] if one["type"] == "panel-grid"]
    assert '"cnntention/mnist"' in json.dumps(logged["metadata"]["panelBankSectionConfig"]["panels"])
    (groups,) = runs["metadata"]["runSets"][0]["filters"]["filters"]
    expected = [
        labels_of(seeded_runs(table.overrides_of(row), 2)[1]).group for row in table.rows if not row.unavailable
    ]
    assert (groups["key"]["name"], groups["value"]) == ("group", sorted(set(expected)))
    bars = [one for one in runs["metadata"]["panelBankSectionConfig"]["panels"] if one["viewType"] == "Bar Chart"]
    assert {one["config"]["groupBy"] for one in bars} == {"group"}


@offline
@pytest.mark.slow
def test_every_table_has_a_report(written):
    from wandb_workspaces.reports.v2.internal import ReportViewspec

    for name in table_names(ROOT / "configs" / "table"):
        assert written(ReportViewspec, f"report={name}")["spec"]["blocks"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep=lambda"], r"sweep=lambda: no such sweep; allowed: attzoom_threshold, cbam_reduction"),
        (["report=x/y"], r"x/y"),
        (["report=cnntention/mnist", "scale=big"], r"scale=big is unknown; allowed: smoke, small, paper"),
        (["report=cnntention/mnist", "sweep=heads"], r"sweep and report: one of them"),
    ],
)
def test_what_there_is_no_view_of(script, tmp_path, words, message):
    pytest.importorskip("wandb_workspaces", reason="needs wandb-workspaces")
    with pytest.raises(InputError, match=message):
        script.main(["--json", str(tmp_path / "x.json"), *words])
    assert list(tmp_path.iterdir()) == []
