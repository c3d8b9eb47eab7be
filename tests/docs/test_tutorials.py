"""The module of the tutorial is the README's, and works."""

from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def indented_after(text: str, marker: str) -> str:
    """The indented block below the line `marker`; empty where there is none."""
    lines = text.partition(f"\n{marker}\n\n")[2].splitlines()
    end = next((number for number, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))
    return "\n".join(line[4:] for line in lines[:end]).strip()


def test_the_two_files_are_those_of_the_readme_if_it_has_them():
    tutorial, readme = (ROOT / "docs/tutorials/add_a_module.md").read_text(), (ROOT / "README.md").read_text()
    for marker in ("`zoomexp/attention/mean_gate.py`", "`configs/attention/mean_gate.yaml`"):
        block = indented_after(tutorial, marker)
        assert len(block.splitlines()) >= 3 and indented_after(readme, marker) in ("", block)


def test_the_module_scales_each_channel_by_a_function_of_its_mean():
    scope: dict = {}
    tutorial = (ROOT / "docs/tutorials/add_a_module.md").read_text()
    exec(indented_after(tutorial, "`zoomexp/attention/mean_gate.py`"), scope)
    module, x = scope["MeanGate"](8), torch.randn(2, 8, 5, 4)
    gate = torch.sigmoid(module.excite(torch.relu(module.squeeze(x.mean((2, 3), keepdim=True)))))
    assert torch.equal(module(x), x * gate)
