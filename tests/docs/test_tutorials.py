"""The module of the tutorial works, with the options that its config file names."""

from pathlib import Path

import torch
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]


def indented_after(text: str, marker: str) -> str:
    """The indented block below the line `marker`; empty where there is none."""
    lines = text.partition(f"\n{marker}\n\n")[2].splitlines()
    end = next((number for number, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))
    return "\n".join(line[4:] for line in lines[:end]).strip()


def test_the_module_scales_each_channel_by_a_function_of_its_mean():
    tutorial, scope = (ROOT / "docs/tutorials/add_a_module.md").read_text(), {}
    exec(indented_after(tutorial, "`zoomexp/attention/mean_gate.py`"), scope)
    config = OmegaConf.create(indented_after(tutorial, "`configs/attention/mean_gate.yaml`"))
    assert config._target_ == "zoomexp.attention.mean_gate.MeanGate" and config._partial_
    module, x = scope["MeanGate"](8, reduction=config.reduction), torch.randn(2, 8, 5, 4)
    gate = torch.sigmoid(module.excite(torch.relu(module.squeeze(x.mean((2, 3), keepdim=True)))))
    assert torch.equal(module(x), x * gate)
