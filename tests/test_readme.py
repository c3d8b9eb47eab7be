"""The README's own claims that a machine can check."""

import re
from pathlib import Path

import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def indented_after(marker: str) -> str:
    """The indented block that follows the line with `marker`."""
    lines = README.split(f"{marker}\n\n", 1)[1].splitlines()
    block = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block) + "\n"


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


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


def test_the_two_files_of_a_new_module_work():
    scope: dict = {}
    exec(indented_after("`zoomexp/attention/mean_gate.py`"), scope)
    config = OmegaConf.create(indented_after("`configs/attention/mean_gate.yaml`"))
    assert config._target_ == "zoomexp.attention.mean_gate.MeanGate"
    module = scope["MeanGate"](8, reduction=config.reduction)
    x = torch.randn(2, 8, 5, 4)
    mean = x.mean((2, 3), keepdim=True)
    expected = x * torch.sigmoid(module.excite(torch.relu(module.squeeze(mean))))
    assert torch.equal(module(x), expected)


def test_files_and_targets_it_names_exist():
    named = set(re.findall(r"`((?:zoomexp|configs|scripts|docs)/[\w/.]+)`", README)) - {
        "zoomexp/attention/mean_gate.py",
        "configs/attention/mean_gate.yaml",
    }
    assert len(named) >= 6
    assert [name for name in named if not (ROOT / name).exists()] == []
    targets = set(re.findall(r"`make ([a-z-]+)", README)) | set(re.findall(r"^    make ([a-z-]+)", README, re.M))
    assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in targets)
