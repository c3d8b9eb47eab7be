"""zoomexp benchmark: every sub-command on a tiny configuration, its figures, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import initialize_config_dir

from zoomexp.cli import benchmark
from zoomexp.datasets.loader import ArrayLoader
from zoomexp.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
HOST = ("backbone=vit_digits", "depth=12", "batch_size=2", "rounds=1", "dtypes=fp32")


@pytest.fixture
def script(monkeypatch):
    for name, value in {"OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}.items():
        monkeypatch.setenv(name, value)
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        yield benchmark


@pytest.fixture
def run(script, tmp_path, capsys):
    """Runs a sub-command; what it printed, and its rows by name."""

    def one(*arguments):
        given = [*arguments, "malloc=default", f"output_dir={tmp_path}"]
        script.main(given)
        (path,) = tmp_path.glob(f"benchmarks/{arguments[0]}-*.json")
        printed, facts = capsys.readouterr().out, json.loads(path.read_text())
        assert printed.splitlines()[-1] == f"written to {path}"
        assert facts["command"] == ["python", "scripts/benchmark.py", *given] and facts["malloc"] == "default"
        assert facts["versions"]["torch"] == torch.__version__ and facts["device"]
        assert set(facts["git"]) == {"sha", "dirty"}
        return printed, {row["name"]: row for row in facts["rows"]}

    return one


def test_model(run):
    printed, rows = run(
        "model", "dataset=digits", "attention=cbam,none", "cbam.reduction=2", "batch_sizes=2", "dtypes=fp32", "rounds=1"
    )
    assert list(rows) == ["none", "cbam"] and "resnet20, 8 pixels, batch 2, fp32, eager" in printed
    plain, cbam = rows.values()
    assert (plain["ratio"], plain["macs"], plain["parameters"]) == (1, 1, 269_434)
    assert cbam["least"] <= cbam["ratio"] <= cbam["most"] and cbam["of_ideal"] == cbam["ratio"] * cbam["macs"]
    assert cbam["macs"] == pytest.approx(cbam["MMACs"] / plain["MMACs"], rel=0.01) and cbam["macs"] > 1
    weights = 4 * 269_434 / 2**20
    assert weights < plain["inference_MiB"] < 2 * weights < plain["training_MiB"] < cbam["training_MiB"]


def test_model_of_a_given_shape_in_bf16_takes_half_the_weights(run):
    common = ("model", "attention=none", "shape=3,16,5", "batch_sizes=1", "rounds=1")
    _, rows = run(*common, "dtypes=bf16")
    assert rows["none"]["parameters"] == 269_722 - 5 * 65
    assert rows["none"]["inference_MiB"] < 3 * rows["none"]["parameters"] / 2**20
    assert rows["none"]["training_MiB"] is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own modules
def test_model_compiled(run):
    _, rows = run(
        "model", "dataset=digits", "attention=none,loupe", "batch_sizes=2", "dtypes=fp32", "rounds=1", "modes=compiled"
    )
    assert list(rows) == ["none", "loupe"] and rows["none"]["ratio"] == 1


def test_tokens(run):
    printed, rows = run("tokens", *HOST, "methods=tome,evit,zoomvit", "tome.r=2", "zoomvit.budget=2")
    assert list(rows) == ["plain", "tome", "evit", "zoomvit, eta 0.5", "zoomvit, eta 2"]
    assert "left out" not in printed
    assert rows["plain"]["tokens_by_block"] == [37] * 12 and rows["plain"]["ratio"] == 1
    assert rows["tome"]["tokens_by_block"] == [37 - 2 * i for i in range(12)]
    assert rows["zoomvit, eta 0.5"]["tokens_by_block"] == [1 + 9 + 3 * 2] * 12
    assert rows["zoomvit, eta 2"]["tokens_by_block"] == [1 + 36 + 3 * 2] * 12
    assert rows["tome"]["macs"] < 1 and rows["evit"]["macs"] < 1


def test_a_method_that_fails_is_one_line_and_the_others_run(run):
    printed, rows = run("tokens", *HOST, "methods=tome,topk", "tome.r=-1")
    assert "tome: left out: tokens.r=-1 must be a whole number, at least 0\n" in printed
    assert list(rows) == ["plain", "topk"]


def test_every_method_of_the_config_group_is_known(script):
    from zoomexp.cli.benchmarks.tokens import methods

    assert {"tome", "evit", "ats", "dynamicvit"} <= set(methods())
    assert not {"uniform", "fusion", "zoomvit", "zoomvit_fixed", "zoomvit_paper", "scorer"} & set(methods())


def test_zoomvit(run):
    printed, rows = run("zoomvit", "depth=1", "batch_size=1", "encoder_batch=2", "rounds=1", "dtypes=fp32")
    assert rows["eta 2, 8 of 196 cells, 221 tokens, Zoomer at 224"]["macs"] > 1
    assert "encoder of 3 blocks, batch 2, training step" in printed


def test_gpu_tokens(run):
    small = ("backbone=vit_digits", "depth=2", "batch=4", "dtype=fp32", "rounds=1", "methods=tome,spvit", "tome.r=2")
    printed, rows = run("gpu-tokens", *small, "spvit.locations=[1]", "forms=eager,graph")
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert [(line["name"], line["form"]) for line in lines if line["name"] in ("plain", "tome", "spvit")] == [
        ("plain", "eager"), ("plain", "graph"), ("tome", "graph"), ("spvit", "eager")
    ]  # fmt: skip
    assert all(line["error"] < 1e-3 and "check" not in line for line in lines) and "left out" not in printed
    assert rows["plain"]["ratio"] == 1 and rows["zoomvit, 19 tokens, threshold"]["tokens"] == pytest.approx(19, abs=0.2)
    assert {"zoomer", "zoomer, stem of 16 channels", "tokenizer"} <= set(rows)


def test_gpu_tokens_begins_no_row_after_its_time(script, capsys):
    small = ("backbone=vit_digits", "depth=1", "batch=2", "dtype=fp32", "forms=eager", "parts=tokenizer", "limit_s=1")
    from zoomexp.cli.benchmarks.gpu_tokens import Bench

    late, Bench.late = Bench.late, True
    try:
        script.main(["gpu-tokens", *small])
    finally:
        Bench.late = late
    assert "limit_s=1 was over before: tokenizer, batch 2, eager" in capsys.readouterr().out


def test_graph(run):
    words = ("dataset=digits", "dataset.train_size=128", "backbone=timm", "backbone.name=test_resnet", "attention=none")
    printed, rows = run("graph", *words, "dataset.batch_size=32", "logger=none", "epochs=2")
    assert list(rows) == ["this config, eager", "this config, graph"]
    eager, graph = rows.values()  # without a GPU both are the same
    assert eager["train_loss"] == graph["train_loss"] and graph["ms_per_step"] == 32e3 / graph["img_per_s"]
    assert f"x eager, loss {graph['train_loss']:.5f}" in printed


def test_graph_of_experiments_at_once(run):
    words = ("dataset=digits", "dataset.train_size=64", "dataset.batch_size=32", "logger=none", "epochs=2")
    small = (*words, "backbone=timm", "backbone.name=test_resnet", "attention=none", "forms=graph", "together=true")
    _, rows = run("graph", *small, "experiments=cnntention/cifar10,cnntention/cifar10_cbam")
    *alone, together = rows.values()
    assert list(rows)[-1] == "together, graph" and together["runs"] == len(alone) == 2
    assert together["of_slowest"] == together["train_s"] / max(row["train_s"] for row in alone)


def test_precision(run):
    printed, rows = run("precision", "dataset=digits", "attention=none", "batch_size=4", "rounds=1", "forms=bf16,fp32")
    assert list(rows) == ["fp32-nchw", "bf16", "fp32"] and rows["fp32-nchw"]["ratio"] == 1
    assert "training step of resnet20, 8 pixels, batch 4" in printed


def test_the_forms_of_a_step_differ_by_rounding(script):
    from zoomexp.cli.benchmarks.precision import FORMS, stepper

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5))
    images, labels = torch.randn(6, 3, 8, 8), torch.arange(6) % 5
    trained = {}
    for name in ("fp32-nchw", "fp32", "bf16-nchw", "bf16"):
        step = stepper(net, lambda own: torch.optim.SGD(own.parameters(), lr=0.1), images, labels, *FORMS[name])
        own, _, given, *_ = step.args
        assert given.is_contiguous(memory_format=torch.contiguous_format) == name.endswith("nchw")
        step(), step()
        trained[name] = torch.cat([weight.flatten() for weight in own.parameters()]).detach()
    plain, before = trained.pop("fp32-nchw"), torch.cat([weight.flatten() for weight in net.parameters()]).detach()
    assert (plain - before).abs().max() > 1e-3
    for name, weights in trained.items():
        torch.testing.assert_close(weights, plain, rtol=0, atol=1e-6 if name == "fp32" else 1e-3)
    assert not torch.equal(trained["bf16"], trained["fp32"])


def test_data(run):
    printed, rows = run("data", "dataset=digits", "images=130", "rounds=2")
    ours, theirs = rows.values()
    assert printed.startswith(f"ratio {ours['ratio']:.1f} (from {ours['least']:.1f} to {ours['most']:.1f}, 2 rounds)")
    assert ours["ratio"] > 1 and ours["us"] < theirs["us"]


def test_files(run):
    printed, rows = run("files", "images=70", "side=64", "rounds=2", "dataset.batch_size=16", "dataset.image_size=32")
    assert {"this project", "torchvision, PIL", "Pillow, decode and resize"} <= rows.keys()
    assert all(row["img_per_s"] > 0 and row["least"] <= row["ratio"] <= row["most"] for row in rows.values())
    assert printed.splitlines()[-2].startswith("64 pixels to 32, 0 workers") and rows["this project"]["ratio"] == 1


def test_both_sides_of_data_give_the_same_images(script):
    from zoomexp.cli.benchmarks.data import pil_loader
    from zoomexp.run.build import make
    from zoomexp.run.compose import compose_run

    data = make(compose_run(["dataset=digits", "dataset.crop_padding=0", "dataset.batch_size=40"]).cfg.dataset)
    data.setup("fit")
    torch.manual_seed(0)
    (images, labels), plain = next(iter(pil_loader(data, 40))), data.part("train").take(np.arange(40))
    (ours,) = ArrayLoader(plain, batch_size=40, mean=data.mean, std=data.std)
    both = [sorted(zip(y.tolist(), x.flatten(1).tolist(), strict=True)) for x, y in
            ((images, labels), (ours["image"], ours["label"]))]  # fmt: skip
    np.testing.assert_allclose([x for _, x in both[0]], [x for _, x in both[1]], atol=1e-5)
    assert [y for y, _ in both[0]] == [y for y, _ in both[1]]


FAKE_TRAIN = """
import re, sys, time
line = " ".join(sys.argv)
jobs = int(found[1]) if (found := re.search(r"seed=range\\((\\d+)\\)", line)) else 1
end = time.process_time() + 0.02 * jobs * (2 if "logger=wandb" in line else 1)
while time.process_time() < end:
    pass
sys.exit(2 if "louper" in line else 0)
"""


def test_startup_takes_the_difference_of_two_sweeps(run, tmp_path, monkeypatch):
    from zoomexp.cli.benchmarks import startup

    (tmp_path / "train.py").write_text(FAKE_TRAIN)
    monkeypatch.setattr(startup, "TRAIN", (sys.executable, str(tmp_path / "train.py")))
    printed, rows = run("startup", "rounds=1", "jobs=8")
    assert rows["one more job of a sweep"]["cpu_s"] == pytest.approx(0.02, abs=0.01)
    assert rows["one more job, W&B offline"]["cpu_s"] == pytest.approx(0.04, abs=0.01)
    assert rows["train.py --help"]["cpu_s"] >= 0.02 and "ratio" in printed
    assert rows["importing torch, Lightning and timm"]["cpu_s"] > 0.5


def test_a_command_of_startup_that_fails_is_named(script, tmp_path, monkeypatch):
    from zoomexp.cli.benchmarks import startup

    (tmp_path / "train.py").write_text("import sys; sys.exit('no room')")
    monkeypatch.setattr(startup, "TRAIN", (sys.executable, str(tmp_path / "train.py")))
    with pytest.raises(InputError, match=r"^train.py --help ended with code 1: no room$"):
        startup.spent("--help")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("relevance backbone=vit_digits batch_size=1 rounds=1", "a random batch of 128 maps of 20000 is read in"),
        ("step dataset=digits attention=none dataset.batch_size=4 steps=3 rounds=1 logger=none", "ratio "),
        ("step model=tiny steps=3 rounds=1 logger=none", " times the overhead of Lightning's empty loop, "),
        (
            "step experiment=zoomvit/digit_scenes backbone=vit_digits tokens=uniform dataset.train_images=60 "
            "backbone.depth=1 dataset.test_images=9 dataset.batch_size=4 steps=3 rounds=1 logger=none",
            "% of the bare loop",
        ),
    ],
)
def test_the_benchmarks_of_maps_and_of_the_training_step(script, tmp_path, capsys, arguments, line):
    script.main([*arguments.split(), "malloc=default", f"output_dir={tmp_path}"])
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("modle", r"^modle: no such benchmark; allowed: data, files, gpu-tokens, graph, model, .*startup, .*zoomvit$"),
        ("model malloc=mine", r"^malloc=mine is unknown; allowed: kept, default$"),
        ("model rounds=0", r"^rounds=0 must be a whole number, at least 1$"),
        ("model batch_sizes=1,x", r"^batch_sizes=1,x must be whole numbers, at least 1, separated by commas$"),
        ("model dtypes=fp16", r"^dtypes=fp16 is unknown; allowed: fp32, bf16$"),
        ("model dtypes=fp32,fp32", r"^dtypes=fp32,fp32: one is named twice$"),
        ("model modes=jit", r"^modes=jit is unknown; allowed: eager, compiled$"),
        ("model attention=cbma", r"^attention=cbma is unknown; allowed: attzoom, cbam, .*self_attention, timm$"),
        ("model shape=3,224", r"^shape=3,224 must be channels, side and classes, for example 3,224,1000$"),
        ("model attention=cbam shape=3,8,2 cbam.reductoin=2", r"reductoin"),
        ("tokens methods=toem", r"^methods=toem is unknown; allowed: .*tome.*zoomvit$"),
        ("gpu-tokens forms=jit", r"^forms=jit is unknown; allowed: eager, graph, compiled, whole$"),
        ("tokens depth=none", r"^depth=none must be a whole number, at least 1$"),
        ("zoomvit dtypes=fp8", r"^dtypes=fp8 is unknown; allowed: fp32, bf16$"),
        ("precision forms=fp16", r"^forms=fp16 is unknown; allowed: fp32-nchw, fp32, .*bf16-graphs$"),
        ("data dataset=digits images=3", r"^images=3 leave no batch of 64$"),
        ("data images=few", r"^images=few must be a whole number, at least 1$"),
        ("tokens backbone=resnet20", r"^backbone: must be a vision transformer .*, got resnet20$"),
        ("zoomvit backbone=resnet20", r"^backbone: must be a vision transformer .*, got resnet20$"),
        ("relevance backbone=resnet20", r"^backbone: must be a vision transformer .*, got resnet20$"),
        ("graph epochs=1", r"^epochs=1 must be at least 2: the first does not count$"),
        ("graph together=yes", r"^together=yes must be true or false$"),
        ("graph together=true experiments=a", r"^together=true needs at least two experiments: experiments=NAME,NAME$"),
        ("graph forms=fast", r"^forms=fast is unknown; allowed: eager, graph, compiled, graph-compiled$"),
        ("startup jobs=0", r"^jobs=0 must be a whole number, at least 1$"),
    ],
)
def test_bad_options_are_one_line(script, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        script.main([*arguments.split(), f"output_dir={tmp_path}", *["malloc=default"] * ("malloc" not in arguments)])
    assert list(tmp_path.iterdir()) == []


def test_help_and_a_mistake_at_the_command_line():
    def called(*arguments):
        command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert "benchmark.py tokens" in called("--help").stdout
    wrong = called("modle")
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1
