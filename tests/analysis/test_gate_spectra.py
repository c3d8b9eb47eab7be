"""Channel gates over images against the equation written out over all of them at once."""

import numpy as np
import pytest
import torch
from PIL import Image

from zoomexp.analysis.gate_spectra import draw_spectra, gate_spectra, spectra_table
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.insertion import insert


def net_with(reduction, start="paper"):
    torch.manual_seed(0)
    net, images = ResNet20(10, 1), torch.randn(30, 1, 32, 32)
    insert(net, lambda channels: CBAM(channels, reduction=reduction, start=start), "every_stage", images[:1])
    for module in net.modules():
        if isinstance(module, CBAM):
            module.squeeze.weight.data.abs_().mul_(0.3)  # of features above 0, so that no hidden number is always 0
    return net, images


def batched(images):
    return [{"image": part} for part in images.split(8)]


def gates_of(net, images):
    """M_c of every image at every place, (N, C) each, from the module's weights."""
    found, hooks = {}, []
    for name, module in net.named_modules():
        if isinstance(module, CBAM):
            hooks.append(module.register_forward_pre_hook(lambda _m, given, n=name: found.__setitem__(n, given[0])))
    with torch.no_grad():
        net.eval()(images)
    for hook in hooks:
        hook.remove()
    gates = {}
    for name, x in found.items():
        module, x = net.get_submodule(name), x.double()
        down, up = module.squeeze.weight.detach().double(), module.expand.weight.detach().double()
        parts = [torch.relu(pooled @ down.T) @ up.T for pooled in (x.flatten(2).max(2).values, x.flatten(2).mean(2))]
        gates[name] = (1 / (1 + torch.exp(-(parts[0] + parts[1])))).numpy()
    return gates


@pytest.mark.parametrize("reduction", [2, 16])
def test_a_spectrum_is_that_of_all_images_at_once(reduction):
    net, images = net_with(reduction)
    net.train()
    found = gate_spectra(net, batched(images))
    assert net.training
    expected = gates_of(net, images)
    assert [one.place for one in found] == list(expected) and len(found) == 3
    for one in found:
        gates = expected[one.place]
        np.testing.assert_allclose(one.mean, gates.mean(0), atol=1e-5)
        np.testing.assert_allclose(one.std, gates.std(0), atol=1e-5)
        np.testing.assert_allclose(one.low, gates.min(0), atol=1e-5)
        np.testing.assert_allclose(one.high, gates.max(0), atol=1e-5)
        values = np.linalg.eigvalsh(np.cov(gates.T, bias=True))
        assert one.dimensions == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-3)
        assert one.reduction == reduction


def test_gates_that_do_not_move_have_no_dimensions():
    net, images = net_with(16, start="identity")
    for one in gate_spectra(net, batched(images)):
        np.testing.assert_array_equal(one.mean, 0.5)
        assert (one.std.max(), one.dimensions) == (0, 0)


def test_one_hidden_number_moves_the_gates_in_few_directions():
    narrow, wide = (gate_spectra(net_with(r)[0], batched(net_with(r)[1]))[0] for r in (16, 1))
    assert narrow.dimensions < wide.dimensions


def test_without_cbam_there_is_none():
    net, images = ResNet20(10, 1), torch.randn(2, 1, 32, 32)
    insert(net, SelfAttention, "stage1", images)
    assert gate_spectra(net, [{"image": images}]) == []


def test_the_table_and_the_figure(tmp_path):
    runs = {f"r{r}": gate_spectra(*(lambda net, images: (net, batched(images)))(*net_with(r))) for r in (4, 8)}
    table = spectra_table(runs)
    assert len(table) == 2 * (16 + 32 + 64) and set(table["reduction"]) == {4, 8}
    one = runs["r8"][2]
    rows = table[(table["run"] == "r8") & (table["place"] == one.place)]
    np.testing.assert_array_equal(rows["mean"], one.mean)
    np.testing.assert_array_equal(rows["channel"], np.arange(64))
    with Image.open(draw_spectra(runs, tmp_path / "g.png")) as image:
        assert image.size[0] > 900
