"""Mean attention distance on attention that is known, and on networks against loops written out."""

import pytest
import timm
import torch
from PIL import Image

from zoomexp.analysis.attention_distance import draw_distances, head_distances, mean_distance
from zoomexp.attention.cbam import CBAM
from zoomexp.attention.multi_head import MultiHead
from zoomexp.attention.self_attention import SelfAttention
from zoomexp.backbones.resnet20 import ResNet20
from zoomexp.errors import InputError
from zoomexp.insertion import insert


def test_looking_at_oneself_and_at_the_neighbour():
    itself = torch.eye(12).expand(2, 1, 12, 12)
    right = torch.eye(12).roll(1, dims=1).view(3, 4, 12)
    right[:, 3] = itself[0, 0].view(3, 4, 12)[:, 3]  # the last column looks at itself
    both = torch.cat([itself, right.reshape(1, 1, 12, 12).expand(2, -1, -1, -1)], dim=1)
    assert mean_distance(both, (3, 4), image_size=48).tolist() == [0, 9]  # 12 pixels for three of four


def plain_distance(weights: torch.Tensor, rows: int, cols: int, side: int) -> list[float]:
    heads = []
    for head in weights.unbind(1):
        found = []
        for image in head.tolist():
            for i, row in enumerate(image):
                apart = [((i // cols - j // cols) * side / rows, (i % cols - j % cols) * side / cols)
                         for j in range(rows * cols)]  # fmt: skip
                found.append(sum(w * (y * y + x * x) ** 0.5 for w, (y, x) in zip(row, apart, strict=True)) / sum(row))
        heads.append(sum(found) / len(found))
    return heads


def test_vit_blocks_over_the_patches_alone():
    torch.manual_seed(0)
    net = timm.create_model("deit_tiny_patch16_224", img_size=64, embed_dim=24, depth=2, num_heads=3)
    for block in net.blocks:
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.5)  # far from uniform, so that queries and keys differ
    images = torch.randn(2, 3, 64, 64)
    found = head_distances(net, images)
    assert list(found) == ["blocks.0", "blocks.1"]
    block = net.eval().blocks[0]
    x = block.norm1(net._pos_embed(net.patch_embed(images)))
    q, k = (part.unflatten(2, (3, 8)).transpose(1, 2) for part in block.attn.qkv(x).chunk(3, dim=2)[:2])
    weights = (q @ k.transpose(2, 3) / 8**0.5).softmax(3)[:, :, 1:, 1:]
    expected = torch.tensor(plain_distance(weights.detach(), 4, 4, 64))
    torch.testing.assert_close(found["blocks.0"], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("module", "heads"), [(SelfAttention, 1), (MultiHead, 8)])
def test_inserted_self_attention(module, heads):
    torch.manual_seed(0)
    net, images = ResNet20(10, 1), torch.randn(2, 1, 32, 32)
    insert(net, lambda channels: module(channels, keep_map=True), "stage3", images[:1])
    layer, inputs = net.inserted["layer3"].module, []
    handle = layer.register_forward_hook(lambda _m, args, _o: inputs.append(args[0]))
    found = head_distances(net, images)
    handle.remove()
    assert list(found) == ["inserted.layer3.module"] and net.training
    q, k = (part(inputs[0]).flatten(2).unflatten(1, (heads, -1)) for part in (layer.query, layer.key))
    weights = torch.einsum("bhdi,bhdj->bhij", q, k).mul(layer.score_scale).softmax(3)
    torch.testing.assert_close(weights.mean((1, 2)), layer.map.flatten(1) * weights.mean((1, 2)).amax(1, keepdim=True))
    expected = torch.tensor(plain_distance(weights.detach(), 8, 8, 32))
    torch.testing.assert_close(found["inserted.layer3.module"], expected, atol=1e-4, rtol=1e-4)


def test_nothing_attends():
    net, images = ResNet20(10, 1), torch.randn(1, 1, 32, 32)
    insert(net, CBAM, "stage1", images)
    assert head_distances(net, images) == {}
    with pytest.raises(InputError, match="no self-attention"):
        draw_distances({}, None)


def test_drawn(tmp_path):
    path = draw_distances({"blocks.0": torch.tensor([3.0, 9.0]), "blocks.1": torch.tensor([5.0])}, tmp_path / "d.png")
    with Image.open(path) as image:
        assert image.size[0] > 300
