"""Where a transformer's learned positions begin."""

import numpy as np
import pytest
import torch

from zoomexp.backbones.from_timm import from_timm
from zoomexp.errors import InputError

SMALL = {"name": "vit_tiny_patch16_224", "image_size": 48, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2}


def written_out(rows: int, columns: int, width: int) -> np.ndarray:
    """Sines of each patch's row and column, then cosines."""
    rates = [10000 ** (-k / (width // 4)) for k in range(width // 4)]
    return np.array(
        [
            [turn(place * rate) for turn in (np.sin, np.cos) for place in (y, x) for rate in rates]
            for y in range(rows)
            for x in range(columns)
        ]
    )


def test_patches_have_sinusoids_and_all_else_is_as_it_was():
    torch.manual_seed(3)
    usual = from_timm(**SMALL)
    torch.manual_seed(3)
    net = from_timm(**SMALL, position_start="sinusoid_2d")
    np.testing.assert_allclose(net.pos_embed[0, 1:].detach(), written_out(3, 3, 8), atol=1e-6)
    assert net.pos_embed.requires_grad
    assert torch.equal(net.pos_embed[:, :1], usual.pos_embed[:, :1])
    for (name, one), (_, other) in zip(net.named_parameters(), usual.named_parameters(), strict=True):
        assert name == "pos_embed" or torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position_start": "sinus"}, "position_start='sinus' must be one of random, sinusoid_2d"),
        ({"embed_dim": 6}, "position_start=sinusoid_2d: embed_dim=6 must be a multiple of 4"),
        ({"pos_embed": "none"}, "position_start=sinusoid_2d: VisionTransformer has no learned positions of patches"),
        ({"name": "resnet10t", "image_size": None}, "position_start=sinusoid_2d: ResNet has no learned positions"),
    ],
)
def test_what_has_no_such_positions_is_refused(options, message):
    given = SMALL | {"position_start": "sinusoid_2d"} | options
    if "name" in options:
        given = {name: given[name] for name in ("name", "image_size", "position_start")}
    with pytest.raises(InputError, match=f"^backbone\\.{message}"):
        from_timm(**given)


def test_weights_keep_their_own_positions(monkeypatch):
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: None)
    with pytest.raises(InputError, match=r"^backbone\.position_start=sinusoid_2d: the weights bring"):
        from_timm("vit_tiny_patch16_224", pretrained=True, image_size=224, position_start="sinusoid_2d")
