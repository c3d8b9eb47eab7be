"""scripts/visualize.py on run folders made here: what it draws, what it says, and its errors in one line."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from zoomexp.cli import visualize
from zoomexp.errors import InputError
from zoomexp.run.build import make, network
from zoomexp.run.prepare import shape_of

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "visualize.py"
DIGITS = ("dataset=cluttered_digits", "dataset.train_images=40", "dataset.test_images=20")


def finished_run(folder: Path, *overrides: str, base: tuple[str, ...] = DIGITS) -> Path:
    """A folder as a finished run leaves it, of an untrained network."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        cfg = compose("train", overrides=[*base, *overrides])
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    data = make(cfg.dataset)
    data.setup()
    torch.manual_seed(len(overrides))
    net = network(cfg, shape_of(data))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    weights = {f"model.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": weights}, folder / "checkpoints" / "best.ckpt")
    part = data.part("test")
    with torch.no_grad():
        logits = net.eval()(torch.cat([batch["image"] for batch in data.test_dataloader()]))
    np.savez(folder / "predictions.npz", index=part.index, label=part.labels, top1=logits.argmax(1).numpy())
    return folder


@pytest.fixture(scope="module")
def loupe(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "loupe", "attention=loupe")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "plain", "attention=none", "seed=1")


def printed(capsys, *arguments: str) -> list[str]:
    capsys.readouterr()
    visualize.main(list(arguments))
    return capsys.readouterr().out.splitlines()


def test_the_network_has_the_tested_weights(loupe):
    stored = torch.load(loupe / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    net = visualize.load("run", str(loupe), "").network
    assert not net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, stored[f"model.{name}"])


def test_pictures_beside_a_baseline(loupe, plain, capsys):
    top1 = dict(np.load(plain / "predictions.npz"))
    top1["top1"][:3], top1["top1"][3:] = top1["label"][:3], top1["label"][3:] + 1
    np.savez(plain / "predictions.npz", **top1)
    lines = printed(capsys, f"run={loupe}", f"baseline={plain}", "images=changed", "count=3")
    assert lines == [str(loupe / "figures" / name) for name in ("contact_sheet.png", "contours_and_warps.png")]
    with Image.open(lines[0]) as sheet, Image.open(lines[1]) as shapes:
        assert 4 * 250 < sheet.width < 4 * 320 and 5 * 250 < shapes.width < 5 * 320


def test_a_run_without_maps(plain, tmp_path, capsys):
    said, *files = printed(capsys, f"run={plain}", "images=0,7", f"out={tmp_path / 'here'}")
    assert said == "this run's model has no module with a map"
    assert [Path(file).parent for file in files] == [tmp_path / "here"] * 2


def test_a_vit_has_attention_distances_and_data_without_boxes_are_drawn(tmp_path, capsys):
    vit = ("backbone=deit_t", "backbone.pretrained=false", "backbone.image_size=32", "attention=none")
    size = ("+backbone.embed_dim=24", "+backbone.depth=2", "+backbone.num_heads=3")
    run = finished_run(tmp_path / "vit", *vit, *size, base=("dataset=digits",))
    files = printed(capsys, f"run={run}", "count=2")[1:]
    assert [Path(file).name for file in files][-1] == "attention_distance.png" and len(files) == 3


def test_heads_and_gates_over_the_test_images(tmp_path, capsys):
    heads = finished_run(tmp_path / "heads" / "seed0", "attention=multi_head", "attention.heads=4", "attention.gamma=1")
    lines = printed(capsys, f"run={heads}", "count=1", "parts=all")
    assert [Path(file).name for file in lines[-2:]] == ["head_ablation.png", "head_ablation.csv"]
    table = pd.read_csv(lines[-1])
    right = np.load(heads / "predictions.npz")
    accuracy = 100 * (right["top1"] == right["label"]).mean()
    assert len(table) == 3 * 4 and (table["accuracy"] + table["drop"]).to_list() == pytest.approx([accuracy] * 12)

    gates = [finished_run(tmp_path / f"r{r}" / "seed0", "attention=cbam", f"attention.reduction={r}") for r in (4, 8)]
    lines = printed(capsys, f"run={gates[0]}", f"beside={gates[1]}", "count=1", "parts=6")
    assert [Path(file).name for file in lines[-2:]] == ["gate_spectra.png", "gate_spectra.csv"]
    table = pd.read_csv(lines[-1])
    assert set(table["run"]) == {"r4/seed0", "r8/seed0"} and set(table["reduction"]) == {4, 8}
    assert not (gates[0] / "figures" / "head_ablation.png").exists()


def test_pretrained_weights_are_not_fetched(tmp_path, monkeypatch):
    run = finished_run(tmp_path / "run", "backbone=mobilenet", "attention=none")
    config = (run / "config.yaml").read_text()
    assert "pretrained: false" in config
    (run / "config.yaml").write_text(config.replace("pretrained: false", "pretrained: true"))
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: pytest.fail("fetched"))
    visualize.load("run", str(run), "")


def test_image_files_and_those_that_cannot_be_decoded(loupe, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)).save(tmp_path / "sound.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "sound.png").read_bytes()[:600])
    (tmp_path / "text.png").write_text("no image")
    names = ["cut.png", "sound.png", "text.png", "none.png"]
    images = "images=" + ",".join(str(tmp_path / name) for name in names)
    capsys.readouterr()
    visualize.main([f"run={loupe}", images, f"out={tmp_path / 'out'}"])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and (tmp_path / "out" / "contact_sheet.png").is_file()
    assert [line.split(":")[0] for line in err.splitlines()] == ["left out"] * 3
    for name, line in zip(["cut.png", "text.png", "none.png"], err.splitlines(), strict=True):
        assert name in line
    with pytest.raises(InputError, match="none of them can be drawn"):
        visualize.main([f"run={loupe}", f"images={tmp_path / 'cut.png'}"])


def test_a_folder_stands_for_the_images_below_it(loupe, tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "deep/a.JPG", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("no image")
    names = visualize.wanted(None, None, f"{tmp_path},3", 2)
    assert names == [tmp_path / "b.png", tmp_path / "c.png", 3]
    with pytest.raises(InputError, match=f"^images={tmp_path / 'empty'}: has no image files"):
        (tmp_path / "empty").mkdir()
        visualize.wanted(None, None, str(tmp_path / "empty"), 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run=RUN", "image=3"],
            "image=3: not an option here; allowed: run=, baseline=, images=, count=, parts=, beside=, data_dir=, out=",
        ),
        (["images=3"], "run: must be given"),
        (["run=RUN", "count=0"], "count=0 must be a whole number, at least 1"),
        (["run=RUN", "images=changed"], "images=changed: needs baseline="),
        (["run=RUN", "parts=some"], "parts=some must be a whole number, at least 1"),
        (["run=RUN", "beside=RUN"], "beside: needs parts="),
        (["run=RUN", "parts=all"], "parts: run=.* has neither attention heads nor CBAM's channel gates"),
        (["run=nowhere"], "run=nowhere: no run's folder"),
        (["run=RUN", "baseline=nowhere"], "baseline=nowhere: no run's folder"),
        (["run=RUN", "count=1", "out=/dev/null/x"], r"out: cannot write /dev/null/x \(Not a directory\)"),
        (["run=RUN", "images=999"], "none of them can be drawn"),
    ],
)
def test_what_cannot_be_done(loupe, arguments, message):
    with pytest.raises(InputError, match=message):
        visualize.main([argument.replace("RUN", str(loupe)) for argument in arguments])


def test_a_run_without_checkpoint_or_predictions(tmp_path):
    run = finished_run(tmp_path / "run", "attention=none")
    (run / "predictions.npz").unlink()
    with pytest.raises(InputError, match=r"baseline=.*: not tested yet \(no predictions.npz\)"):
        visualize.main([f"run={run}", f"baseline={run}", "images=changed"])
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(InputError, match=r"has no checkpoint \(checkpoints/best.ckpt or checkpoints/last.ckpt\)"):
        visualize.main([f"run={run}"])


def test_an_error_is_one_line_and_exit_code_2(loupe, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), f"run={loupe}", "images=changed"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: images=changed: needs baseline=FOLDER, the run to compare with\n"


def test_the_worst_mistakes(loupe, tmp_path, capsys):
    kept = dict(np.load(loupe / "predictions.npz"))
    with pytest.raises(InputError, match=r"its predictions say not how sure they are; repeat it with rerun=true"):
        visualize.main([f"run={loupe}", "images=worst"])
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "checkpoints"):
        (run / name).symlink_to(loupe / name)
    wrong = kept | {"top1": (kept["label"] + 1) % 10, "confidence": np.linspace(0, 1, len(kept["label"]))}
    np.savez(run / "predictions.npz", **wrong)
    assert visualize.wanted(visualize.load("run", str(run), ""), None, "worst", 3) == [19, 18, 17]
    lines = printed(capsys, f"run={run}", "images=worst", "count=2", f"out={tmp_path / 'out'}")
    assert lines[0] == str(tmp_path / "out" / "worst_mistakes.png") and Path(lines[0]).is_file()
    np.savez(run / "predictions.npz", **wrong | {"top1": kept["label"]})
    with pytest.raises(InputError, match="the run gets all test images right"):
        visualize.main([f"run={run}", "images=worst"])
