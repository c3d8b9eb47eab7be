"""Weights from a file, compared whole with what timm itself makes of the same tensors, family by family."""

import pytest
import timm
import torch
from torch import nn

from zoomexp.backbones.from_timm import from_timm

FAMILIES = (
    "test_byobnet", "test_coatnet", "test_convnext2", "test_efficientnet", "test_mambaout", "test_maxvit", "test_nfnet",
    "test_resnet", "test_vit2", "test_vit_relpos", "ghostnet_050", "mobilenetv3_small_050",
)  # fmt: skip
OTHERS = ({"num_classes": 7, "in_chans": 3}, {"num_classes": 7, "in_chans": 1}, {"num_classes": 7, "in_chans": 5})


def stored(name: str, tmp_path, **options) -> tuple[nn.Module, str]:
    """A model of random weights, none of them at its start, and the file that holds them."""
    net = timm.create_model(name, num_classes=11, **options)
    generator = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    file = tmp_path / f"{name}.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, file)
    return net, str(file)


def as_timm_loads(name: str, net: nn.Module, options: dict) -> nn.Module:
    """timm's own way, its file in the place of the one that it would download."""
    overlay = {"state_dict": net.state_dict(), "custom_load": False, "label_offset": 0, "num_classes": 11,
               "input_size": net.pretrained_cfg["input_size"]}  # fmt: skip
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)


def assert_same(net: nn.Module, wanted: nn.Module, left: tuple[str, ...] = ()) -> None:
    """All tensors are equal, but for those of the modules `left`."""
    heads = wanted.pretrained_cfg["classifier"]
    heads = (heads,) if isinstance(heads, str) else heads
    found, expected = net.state_dict(), wanted.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if not (left and name.rpartition(".")[0] in heads):
            torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


def sized(name: str) -> int | None:
    default = timm.get_pretrained_cfg(name)
    return default.input_size[-1] if default.fixed_input_size else None


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_tensors_as_by_timm(name, tmp_path):
    net, file = stored(name, tmp_path)
    found = from_timm(name, image_size=sized(name), weights=file, num_classes=11, in_chans=3)
    assert_same(found, net)
    for options in OTHERS:
        found = from_timm(name, image_size=sized(name), weights=file, **options)
        assert_same(found, as_timm_loads(name, net, options), left=("head",))


def test_positions_and_patches_are_resampled_as_by_timm(tmp_path, capfd):
    net, file = stored("test_vit", tmp_path)
    options = {"num_classes": 11, "in_chans": 3, "img_size": 96, "patch_size": 8}
    found = from_timm("test_vit", image_size=96, weights=file, num_classes=11, in_chans=3, patch_size=8)
    assert_same(found, as_timm_loads("test_vit", net, options))
    told = capfd.readouterr().err
    assert "resampled pos_embed 1x101x64 -> 1x145x64, patch_embed.proj.weight 64x3x16x16 -> 64x3x8x8" in told


# timm's own, where it is called directly
@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple sequence")
def test_positions_of_a_window_are_resampled_as_by_timm(tmp_path):
    net, file = stored("test_maxvit", tmp_path)
    options = {"num_classes": 11, "in_chans": 3, "img_size": 128}
    found = from_timm("test_maxvit", image_size=128, weights=file, num_classes=11, in_chans=3)
    assert_same(found, as_timm_loads("test_maxvit", net, options))


def test_a_class_of_background_in_front_is_left_out(tmp_path):
    net = timm.create_model("test_resnet", num_classes=12)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    options = {"weights": str(tmp_path / "net.pth"), "in_chans": 3, "image_size": 160}
    found = from_timm("test_resnet", pretrained_cfg_overlay={"label_offset": 1}, num_classes=11, **options)
    torch.testing.assert_close(found.fc.weight, net.fc.weight[1:], rtol=0, atol=0)
