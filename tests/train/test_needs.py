"""Runs that need runs: a teacher, its maps, a Zoomer, and a transformer that goes on with its tokens."""

import json
from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from zoomexp.errors import InputError
from zoomexp.run.compose import compose_run
from zoomexp.run.stored_run import restored

CONFIGS = Path(__file__).parents[2] / "configs"
FEW = ("trainer=smoke", "dataset.train_images=40", "dataset.test_images=12", "logger=none")
TEACHER = ("dataset=cluttered_digits", "attention=none", "backbone=vit_digits", "dataset.canvas=48", *FEW)


@pytest.fixture
def composing():
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield


@pytest.fixture
def teacher(train, once, tmp_path) -> Path:
    """A finished run of a transformer."""

    def do(folder: Path) -> None:
        assert train(f"output_dir={folder / 'out'}", base=TEACHER).code == 0

    once("teacher", do)
    return next(tmp_path.glob("out/runs/*/vit_digits-*/seed0-*"))


@pytest.fixture
def loupe(train, once, tmp_path) -> Path:
    """A finished run of a network with a module."""

    def do(folder: Path) -> None:
        assert train("attention=loupe", f"output_dir={folder / 'out'}").code == 0

    once("loupe", do)
    return next(tmp_path.glob("out/runs/*/resnet20-loupe-*/seed0-*"))


def finished(tmp_path) -> dict[str, float]:
    """Run -> when its record was written."""
    return {"/".join(path.parts[-3:-1]): path.stat().st_mtime for path in tmp_path.glob("out/runs/*/*/*/metrics.json")}


def test_one_command_makes_teacher_maps_zoomer_and_the_transformer_with_its_tokens(train, tmp_path):
    ended = train("experiment=zoomvit/digits", base=FEW)
    assert ended.code == 0, ended.err
    first = finished(tmp_path)
    kinds = sorted(name.split("/")[0] for name in first)
    assert kinds == ["trained-none-default", "vit_digits-none-default", "zoomer-none-default"]
    (teacher,) = tmp_path.glob("out/runs/*/vit_digits-*/seed0-*")
    assert len(list(teacher.glob("maps/lrp-cluttered_digits-*.npy"))) == 3
    (stage2,) = tmp_path.glob("out/runs/*/trained-*/seed0-*")
    facts = json.loads((stage2 / "metrics.json").read_text())
    assert facts["metrics"]["test/tokens"] >= 1 + 9 and facts["cost"]["macs_scorer"] < facts["cost"]["macs"]
    net, host = restored(stage2), restored(teacher)
    assert net.eta == 0.5 and set(host.state_dict()) < {key.removeprefix("vit.") for key in net.state_dict()}
    (zoomer,) = tmp_path.glob("out/runs/*/zoomer-*/seed0-*")
    for key, value in restored(zoomer).state_dict().items():  # frozen
        torch.testing.assert_close(net.scorer.zoomer.state_dict()[key], value, rtol=0, atol=0)
    assert train("experiment=zoomvit/digits", "tokens=uniform", base=FEW).code == 0
    assert {name: finished(tmp_path)[name] for name in first} == first  # nothing was done twice


def test_a_need_can_be_the_folder_of_a_run(train, teacher):
    asked = ("backbone=zoomer", "backbone.image_size=48", "backbone.patch_size=8", "loss=zoom_distillation",
             "task=distill_zoomer", "relevance=grad_attn", "callbacks.checkpoints.monitor=val/mse")  # fmt: skip
    base = tuple(word for word in TEACHER if not word.startswith("backbone"))
    ended = train(*asked, f"+needs.teacher={teacher}", base=base)
    assert ended.code == 0, ended.err
    assert len(list(teacher.glob("maps/grad_attn-*.npy"))) == 3


def test_a_run_can_be_tested_without_training(train, teacher, tmp_path):
    stored = json.loads((teacher / "metrics.json").read_text())
    ended = train(f"checkpoint={teacher / stored['weights']}", "evaluate=start", base=TEACHER)
    assert ended.code == 0 and "none, only tested," in ended.out
    (again,) = set(tmp_path.glob("out/runs/*/vit_digits-*/seed0-*")) - {teacher}
    found = json.loads((again / "metrics.json").read_text())
    assert found["metrics"] == {key: value for key, value in stored["metrics"].items() if key.startswith("test/")}
    assert (found["weights"], found["cost"]["train_s"]) == (None, 0)
    assert not (again / "checkpoints").exists()


ZOOMER = ("backbone=zoomer", "backbone.image_size=16", "backbone.patch_size=4")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("relevance=lrp",), "needs.teacher: must be given, since relevance."),
        (("relevance=lrp", "+needs.teacher=/nowhere"), "needs.teacher=/nowhere: no run folder with a readable metrics"),
        (("relevance=lrp", "+needs.teacher=null"), "needs.teacher=None must be a list of train.py's overrides"),
        (("needs=5",), "needs=5 must name runs"),
        (("tokens=zoomvit",), "needs.zoomer: must be given, since tokens.scorer.checkpoint is made of it"),
        (
            ("task=distill_zoomer", "loss=zoom_distillation", *ZOOMER),
            "relevance=none: this task or scorer needs the maps of a teacher; choose relevance=lrp",
        ),
        (("task=distill_zoomer", "loss=zoom_distillation"), "needs backbone=zoomer, got VisionTransformer"),
        (("evaluate=first",), "evaluate=first is unknown; allowed: best, last, start"),
    ],
)
def test_what_is_missing_is_one_line(train, tmp_path, words, message):
    host = () if set(ZOOMER) <= set(words) else ("backbone=vit_digits",)
    ended = train(*words, "attention=none", *host)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    assert message in ended.err
    assert not (tmp_path / "out").exists()


def test_a_teacher_without_attention_maps_is_one_line(train, tmp_path):
    base = ("dataset=digits", "dataset.train_size=128", "attention=none", "trainer=smoke", "logger=none")
    assert train(base=base).code == 0
    (teacher,) = tmp_path.glob("out/runs/*/resnet20-*/seed0-*")
    ended = train("relevance=lrp", f"+needs.teacher={teacher}", base=base)
    assert (ended.code, ended.err) == (
        2, "error: relevance: ResNet20 has no attention maps; allowed: timm's VisionTransformer (deit, vit)\n",
    )  # fmt: skip


def test_seeds_go_down_the_chain_and_folders_do_not_depend_on_where_they_lie(composing):
    one = compose_run(["experiment=zoomvit/digits", "seed=3", "output_dir=here"])
    assert [run.cfg.seed for run in one.chain()] == [3] * 4 and one.depth == 2
    assert len({run.folder for run in one.chain()}) == 3  # the network and the Zoomer's teacher are one run
    other = compose_run(["experiment=zoomvit/digits", "output_dir=there"]).with_seed(3)
    root = one.folder.parents[3], other.folder.parents[3]
    assert one.folder.relative_to(root[0]) == other.folder.relative_to(root[1])
    assert root[0] != root[1]
    pinned = compose_run(
        ["experiment=zoomvit/digits", "seed=3", "needs.network=['experiment=zoomvit/digits_teacher','seed=0']"]
    )
    assert pinned.needs["network"].cfg.seed == 0 and pinned.folder.name != one.folder.name


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("optimizer.lr=0", "optimizer.lr=0 must be a finite number above 0"),
        ("scheduler.warmup_epochs=9", "scheduler.warmup_epochs=9 must be in [0, 4), the epochs of the run"),
        ("loss.label_smoothing=2", "loss.label_smoothing=2 must be a number in [0, 1)"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1 must be a finite number, at least 0"),
        ("seed=-1", "seed=-1 must be a whole number, at least 0"),
    ],
)
def test_a_mistake_is_found_before_what_the_run_needs_is_done(train, tmp_path, mistake, message):
    ended = train(mistake, base=("experiment=zoomvit/digits", "logger=none"))
    assert (ended.code, ended.err) == (2, f"error: {message}\n")
    assert not list((tmp_path / "out").rglob("metrics.json"))


def test_a_need_that_nothing_refers_to_is_not_done(composing):
    def chain(*overrides):
        run = compose_run(["experiment=zoomvit/digits", *overrides])
        return [one.choices["backbone"] for one in run.chain()]

    assert chain() == ["vit_digits", "vit_digits", "zoomer", "trained"]
    assert chain("tokens=tome", "tokens.r=6") == ["vit_digits", "trained"]
    assert chain("tokens=tome", "tokens.r=6", "backbone=vit_digits") == ["vit_digits"]


def test_a_network_of_other_data_is_refused(teacher):
    with pytest.raises(InputError, match="its network has num_classes 10, wanted 3"):
        restored(teacher, num_classes=3)


@pytest.mark.parametrize(
    "form", ["${needs.teacher}", "${needs[teacher]}", "${.needs.teacher}", "${oc.select:needs.teacher,x}"]
)
def test_a_need_is_used_however_it_is_referred_to(composing, form):
    needs = ["+needs.teacher=['dataset=digits']", "+needs.network=['seed=3']"]
    run = compose_run(["attention=none", *needs, f"checkpoint='{form}/checkpoints/best.ckpt'"])
    assert [need.choices["dataset"] for need in run.used] == ["digits"]


def test_a_need_that_only_another_unused_need_names_is_not_used(composing):
    first, second = (
        "+needs.first=['dataset=digits']",
        "+needs.second=['checkpoint=${needs.first}/checkpoints/last.ckpt']",
    )
    assert compose_run([first, second]).used == []
    assert len(compose_run([first, second, "checkpoint='${needs.second}/checkpoints/last.ckpt'"]).used) == 2


def test_a_need_keeps_the_seed_that_it_names(composing):
    own, other = "+needs.network=['dataset=digits','seed=3']", "+needs.teacher=['dataset=digits']"
    run = compose_run([own, other, "seed=1"])
    for one, seeds in ((run, (3, 1)), (run.with_seed(2), (3, 2))):
        assert tuple(need.cfg.seed for need in one.needs.values()) == seeds
        assert [need.config for need in one.needs.values()] == [
            compose_run(["dataset=digits", f"seed={seed}"]).config for seed in seeds
        ]


@pytest.mark.parametrize("sign", ["", "++"])
def test_hardware_reaches_the_runs_that_are_needed_however_it_is_written(composing, sign):
    need = "+needs.network=['dataset=digits','attention=none']"
    run = compose_run(["backbone=trained", "attention=none", need, f"{sign}trainer.precision=bf16-mixed",
                       f"{sign}trainer.max_epochs=3", "logger=none"])  # fmt: skip
    (network,) = run.used
    assert (network.cfg.trainer.precision, network.cfg.trainer.max_epochs) == ("bf16-mixed", 4)
    assert network.choices["logger"] == "none"
    assert network.with_seed(4).overrides.count("seed=4") == 1


def test_a_network_that_comes_with_a_module_gets_another(train, loupe, tmp_path):
    ended = train("backbone=trained", f"backbone.run={loupe}", "attention=cbam", "insertion=stage3")
    assert ended.code == 0, ended.err
    (both,) = tmp_path.glob("out/runs/*/trained-cbam-*/seed0-*")
    facts = json.loads((both / "metrics.json").read_text())
    net = restored(both)
    assert [type(one.module).__name__ for one in net.inserted.values()] == ["Loupe", "CBAM"]
    assert facts["cost"]["insertion_sites"] == ["layer2", "layer3"]
    assert facts["cost"]["module_params"] == sum(p.numel() for p in net.inserted.parameters())
    stored = torch.load(both / facts["weights"], weights_only=True)["state_dict"]
    assert {key.split(".")[2] for key in stored if ".inserted." in key} == {"layer2", "layer3"}


def test_a_module_where_one_stands_is_one_line(train, loupe):
    ended = train("backbone=trained", f"backbone.run={loupe}")
    assert ended.code == 2
    said = "insertion.at=layer2: a Loupe stands there already; name another place, or attention=none"
    assert ended.err == f"error: {said}\n"
