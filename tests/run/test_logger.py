"""What loggers are told of a run: names to read, groups without seeds, and what W&B's own variables say instead."""

from types import SimpleNamespace

import pytest

from zoomexp.cli.config_files import configs
from zoomexp.errors import InputError
from zoomexp.results.record import RunRecord
from zoomexp.run.compose import compose_run
from zoomexp.run.labels import labels_of
from zoomexp.run.logged_epochs import log_earlier
from zoomexp.run.logger import made_loggers, named
from zoomexp.run.wandb_run import WandbRun

LOUPE = ("attention=loupe", "backbone=resnet20", "insertion=stage1")


@pytest.fixture(autouse=True, scope="module")
def composing():
    with configs():
        yield


@pytest.fixture
def labels():
    """`labels("seed=1")` are those of that run."""
    return lambda *words: labels_of(compose_run(words))


def test_a_name_tells_what_differs(labels):
    assert labels(*LOUPE, "seed=3").name == "resnet20-loupe-stage1 seed3"
    assert labels(*LOUPE, "loss.sparsity=0.5", "data_dir=x", "trainer.devices=1").name == (
        "resnet20-loupe-stage1 loss.sparsity=0.5 seed0"
    )
    timm = labels("backbone=timm", "backbone.name=convnext_tiny.fb_in1k", "attention=cbam", "seed=1")
    assert timm.name == "convnext_tiny.fb_in1k-cbam-default seed1"
    assert timm.group.startswith("cluttered_digits/convnext_tiny.fb_in1k-cbam-default/")
    assert timm.tags["backbone"] == "convnext_tiny.fb_in1k"
    assert labels("experiment=zoomvit/digits", "seed=2").name == "trained-none-default tokens=zoomvit seed2"
    assert len(labels(*LOUPE, *(f"+dataset.option{i}={i}" for i in range(20))).name) == 128


def test_a_group_is_the_configuration_without_its_seed(labels):
    for words in (LOUPE, ("experiment=zoomvit/digits",)):  # the second builds on runs of its seed
        groups = [labels(*words, f"seed={seed}").group for seed in range(3)]
        assert len(set(groups)) == 1
        assert labels(*words, "optimizer.lr=0.123").group not in groups


def test_tags_say_nothing_of_what_was_not_chosen(labels):
    tags = labels(*LOUPE).listed()
    assert "attention:loupe" in tags and "seed:0" in tags
    assert not [tag for tag in tags if "None" in tag or tag.startswith("experiment")]
    assert "experiment:zoomvit/digits" in labels("experiment=zoomvit/digits").listed()
    long = labels("backbone=timm", f"backbone.name={'x' * 80}", "attention=none").listed()
    assert max(map(len, long)) == 64


def test_the_kind_of_a_run(labels):
    assert labels(*LOUPE).kind == "train"
    assert labels("evaluate=start", "attention=none", "checkpoint=x").kind == "test"


OURS = {"name": "resnet20-none-default seed0", "job_type": "train", "id": "seed0-"}
THEIRS = {"name": "WANDB_NAME", "group": "WANDB_RUN_GROUP", "job_type": "WANDB_JOB_TYPE", "tags": "WANDB_TAGS",
          "id": "WANDB_RUN_ID"}  # fmt: skip


def told(tmp_path, *words: str) -> dict:
    """What `wandb.init` will be called with."""
    run = compose_run(["attention=none", "backbone=resnet20", "logger=wandb", f"output_dir={tmp_path}", *words])
    record = RunRecord(run.cfg.output_dir, run.config, run.choices, list(run.overrides))
    (logger,) = made_loggers(run.config["logger"], record, labels_of(run))
    return logger._wandb_init


def test_what_w_and_b_is_told(tmp_path, monkeypatch):
    for name in THEIRS.values():
        monkeypatch.delenv(name, raising=False)
    ours = told(tmp_path)
    assert {key: ours[key][: len(value)] for key, value in OURS.items()} == OURS
    assert ours["config"]["backbone"]["name"] == "resnet20"
    assert ours["config"]["choices"]["backbone"] == "resnet20"
    assert ours["config"]["choices"]["trainer/final"] == "cpu"  # subgroups, too
    for key, name in THEIRS.items():  # a variable wins over what nobody typed
        monkeypatch.setenv(name, "theirs")
        assert told(tmp_path).get(key) is None
        assert told(tmp_path, f"+logger.{key}=typed")[key] == "typed"  # and what is typed over both


class Resumed(SimpleNamespace):
    """A W&B run that goes on online, with what is logged to it."""

    def __init__(self, **summary) -> None:
        super().__init__(resumed=True, summary=summary, logged=[])

    def log(self, values: dict) -> None:
        self.logged.append(values)


def epochs(first: int, last: int) -> list[dict[str, float]]:
    return [{"epoch": e, "step": 10 * (e + 1), "epoch_s": 0.5, "val/acc1": 50.0 + e} for e in range(first, last)]


def test_an_online_run_that_goes_on_gets_the_epochs_it_lacks():
    logger = WandbRun()
    logger._experiment = run = Resumed(epochs=3)  # the third was logged, and no checkpoint of it made
    log_earlier([logger], epochs(0, 2))
    for row in epochs(2, 5):
        logger.log_metrics(row, row.pop("step"))
    assert [row["epoch"] for row in run.logged] == [3, 4]
    assert run.summary == {"epochs": 5}
    logger = WandbRun()
    logger._experiment = run = Resumed()
    log_earlier([logger], epochs(0, 2))
    assert [row["val/acc1"] for row in run.logged] == [50.0, 51.0]
    assert [row["trainer/global_step"] for row in run.logged] == [10, 20]


def test_a_run_may_have_no_logger(tmp_path):
    record = SimpleNamespace(folder=tmp_path, config={})
    assert made_loggers({}, record, None) == []
    assert named({"csv": None}) == {}
    with pytest.raises(InputError, match=r"logger\.mode: no such option; allowed: loggers by name"):
        named({"mode": "online"})
