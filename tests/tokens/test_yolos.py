"""YOLOS: its sizes, its equations written out, the transformers library's where the extra `oracles` is installed."""

import importlib
from functools import partial

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional as F

from tests.tokens.hosts import TINY, check_alone, close, randomised
from zoomexp.errors import InputError
from zoomexp.metrics.cost import macs
from zoomexp.protocols import mean_tokens
from zoomexp.tokens.yolos import YOLOS

K, N = 4, 6


def detector(host=VisionTransformer, options=None, **own):
    torch.manual_seed(0)
    given = {"boxes": N, "image_size": 32} | own
    return randomised(YOLOS(host(**TINY | (options or {})), num_classes=K, **given))


def bicubic(table, old, new):
    """Positions (n, D) of a grid on another."""
    maps = table.reshape(*old, -1).permute(2, 0, 1)[None]
    return F.interpolate(maps, size=new, mode="bicubic", align_corners=False)[0].flatten(1).T


def written_out(net, image, start, layer=None):
    """Logits (N, K + 1) and boxes (N, 4) of one image, its tokens in the paper's order: class, patches, detection."""
    vit, rows = net.transformer, [side // 8 for side in image.shape[1:]]
    own = vit.num_prefix_tokens - N
    patches = vit.patch_embed.proj(image[None])[0].flatten(1).T
    p = vit.pos_embed[0]
    x = torch.cat(
        [vit.cls_token[0] + p[:own], patches + bicubic(p[own + N :], start, rows), vit.reg_token[0] + p[own:][:N]]
    )
    for i, block in enumerate(vit.blocks):
        x = block(x[None])[0]
        if layer and i < len(vit.blocks) - 1:
            m = net.layer_positions.table[i]
            x = x + torch.cat([m[:own], bicubic(m[own + N :], layer, rows), m[own:][:N]])
    y = vit.norm(x)[-N:]
    return [head[4](head[2](head[0](y).relu()).relu()) for head in (net.class_head, net.box_head)]


@pytest.mark.parametrize("size", [(32, 48), (24, 56), (40, 40)])
@pytest.mark.parametrize("own", [{"start_size": (32, 48), "layer_size": (24, 40)}, {}], ids=["type-i", "type-ii"])
def test_the_equations_written_out(own, size):
    net, images = detector(**own), torch.randn(2, 3, *size)
    said = net(images)
    start, layer = ((4, 6), (3, 5)) if own else ((4, 4), None)
    for i, image in enumerate(images):
        logits, boxes = written_out(net, image, start, layer)
        close(said.logits[i], logits)
        close(said.boxes[i], boxes.sigmoid())
    assert net.lengths.tolist() == [1 + N + size[0] * size[1] // 64] * 2


@pytest.mark.parametrize(
    ("name", "start", "layer", "parameters"),
    [
        ("vit_tiny_patch16_224", (800, 1333), None, 6_488_736),
        ("vit_small_patch16_224", (512, 864), (512, 864), 30_684_768),
        ("vit_small_patch16_224", (512, 864), None, 22_959_072),
        ("vit_base_patch16_384", (800, 1344), (800, 1344), 127_798_368),
    ],
)
def test_parameters_of_the_released_models(name, start, layer, parameters):
    with torch.device("meta"):
        net = YOLOS(timm.create_model(name), num_classes=91, start_size=start, layer_size=layer)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_detached_tokens_stay_as_they_were_drawn_and_their_positions_learn():
    net, images = detector(detached=True), torch.randn(2, 3, 32, 32)
    said = net(images)
    (said.logits.square().sum() + said.boxes.square().sum()).backward()
    assert net.transformer.reg_token.grad is None and not net.transformer.reg_token.requires_grad
    assert (net.transformer.pos_embed.grad[0, 1 : 1 + N] != 0).any(1).all()
    assert {**detector().state_dict()}.keys() == {**net.state_dict()}.keys()
    for options, own, message in (
        ({"reg_tokens": 2}, {"detached": True}, "detector.detached=true: the host has registers of its own"),
        ({}, {"detached": 1}, "detector.detached=1 must be true or false"),
    ):
        with pytest.raises(InputError, match=message):
            detector(options=options, **own)


def test_its_work():
    net, width, tokens = detector(), TINY["embed_dim"], 1 + N + 4 * 6
    blocks = TINY["depth"] * (12 * width**2 * tokens + 2 * tokens**2 * width)
    heads = N * (4 * width**2 + width * (K + 1 + 4))
    assert macs(net, torch.zeros(1, 3, 32, 48)) == blocks + 24 * 3 * 64 * width + heads


@pytest.mark.parametrize("own", [{}, {"layer_size": (24, 40)}], ids=["type-ii", "type-i"])
def test_an_image_does_not_depend_on_its_batch_mates_or_on_what_fills_the_batch(own):
    net, sizes = detector(**own), torch.tensor([[32, 48], [24, 16], [32, 48], [40, 8]])
    images = torch.randn(4, 3, 40, 48)
    together = check_alone(net, images, sizes)
    assert net.lengths.shape == (1,)
    assert net(images, sizes).logits.shape == (4, N, K + 1)
    assert net.lengths.tolist() == [1 + N + count for count in (24, 6, 24, 5)]
    images[1, :, 24:] = images[1, :, :, 16:] = 9
    close(net(images, sizes).logits, together.logits)


def test_hosts_of_other_kinds_keep_their_features():
    """Without the detection tokens' influence on it, the class token says what the plain host says."""
    from timm.models.deit import VisionTransformerDistilled

    kinds = {"deit3": (VisionTransformer, {"no_embed_class": True, "init_values": 0.1}),
             "distilled": (VisionTransformerDistilled, {}), "registers": (VisionTransformer, {"reg_tokens": 2}),
             "mean": (VisionTransformer, {"global_pool": "avg"}),
             "classless": (VisionTransformer, {"global_pool": "avg", "class_token": False})}  # fmt: skip
    for name, (kind, options) in kinds.items():
        net = detector(kind, options)
        plain = randomised(kind(**TINY | options))
        own = plain.num_prefix_tokens - (name == "distilled")
        assert net.transformer.num_prefix_tokens == own + N
        [(tokens, _)] = net.tokenized([torch.randn(1, 3, 32, 32)])
        assert len(tokens.values) == 16 + own + N and not any("dist" in key for key, _ in net.named_parameters())
        said = net(torch.randn(2, 3, 32, 40))
        assert said.logits.shape == (2, N, K + 1)
        (said.logits.sum() + said.boxes.sum()).backward()
        without = {key for key, parameter in net.named_parameters() if parameter.grad is None}
        assert without == set(), name


def test_positions_of_a_host_without_any_for_its_class_token():
    torch.manual_seed(0)
    vit = VisionTransformer(**TINY, no_embed_class=True)
    before = vit.pos_embed.detach().clone()
    net = YOLOS(vit, num_classes=K, boxes=N)
    close(net.transformer.pos_embed[:, 1 + N :], before)
    assert (net.transformer.pos_embed[:, 0] == 0).all() and (net.transformer.pos_embed[:, 1 : 1 + N] != 0).all()


def test_against_the_transformers_library():
    library = pytest.importorskip("transformers", reason="needs transformers (pip install -e '.[oracles]')")
    config = library.YolosConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=192,
                                 image_size=[32, 48], patch_size=8, num_detection_tokens=N, num_labels=K,
                                 use_mid_position_embeddings=True, layer_norm_eps=1e-6)  # fmt: skip
    other = randomised(library.YolosForObjectDetection(config))
    net = detector(start_size=(32, 48), layer_size=(32, 48))
    copied(net, dict(other.named_parameters()))
    for size in ((32, 48), (40, 24)):
        images = torch.randn(2, 3, *size)
        said, theirs = net(images), other(images)
        close(said.logits, theirs.logits)
        close(said.boxes, theirs.pred_boxes)


def copied(net, theirs):
    """Put the weights of a YOLOS of `transformers` into one of ours."""

    def turned(positions):
        return torch.cat([positions[..., :1, :], positions[..., -N:, :], positions[..., 1:-N, :]], -2)

    def weights(*names):
        found = [next(value for key, value in theirs.items() if key.endswith(name)) for name in names]
        return nn.Parameter(torch.cat([value.detach() for value in found]))

    vit = net.transformer
    vit.cls_token, vit.reg_token = weights("cls_token"), weights("detection_tokens")
    vit.pos_embed = nn.Parameter(turned(weights("embeddings.position_embeddings")))
    net.layer_positions.table = nn.Parameter(turned(weights("mid_position_embeddings")[:, 0]))
    vit.patch_embed.proj.weight, vit.patch_embed.proj.bias = weights("projection.weight"), weights("projection.bias")
    for kind in ("weight", "bias"):
        setattr(vit.norm, kind, weights(f"vit.layernorm.{kind}"))
        for i, block in enumerate(vit.blocks):
            at = [key for key in theirs if f".{i}." in key and key.startswith("vit.") and key.endswith(kind)]
            parts = [(block.norm1, ("layernorm_before",)), (block.norm2, ("layernorm_after",)),
                     (block.attn.qkv, ("query", "key", "value")), (block.attn.proj, ("attention.output.dense",)),
                     (block.mlp.fc1, ("intermediate.dense",)), (block.mlp.fc2, (f"{i}.output.dense",))]  # fmt: skip
            for part, names in parts:
                found = [next(key for key in at if key.endswith(f"{name}.{kind}")) for name in names]
                setattr(part, kind, nn.Parameter(torch.cat([theirs[key].detach() for key in found])))
        for head, name in ((net.class_head, "class_labels_classifier"), (net.box_head, "bbox_predictor")):
            for i in range(3):
                setattr(head[2 * i], kind, weights(f"{name}.layers.{i}.{kind}"))


METHODS = {
    "tome": {"r": 3}, "tofu": {"r": 3}, "evit": {"locations": [1]}, "topk": {"locations": [1]},
    "random": {"locations": [1]}, "ats": {"samples": 6, "locations": [1]}, "diffrate": {"prune": 2, "merge": 2},
}  # fmt: skip


def method(name, **options):
    module = importlib.import_module(f"zoomexp.tokens.{name}")
    make = module.CFViT if name == "cf_vit" else getattr(module, name)
    return partial(make, **METHODS.get(name, {}) | options)


@pytest.mark.parametrize("name", METHODS)
def test_methods_that_keep_the_first_tokens_leave_every_detection_token_where_it_is(name):
    """With blocks that add nothing the tokens that are read are those that went in, and patches are fewer."""
    net, images = detector(tokens=method(name)), torch.randn(2, 3, 24, 40)
    for block in net.transformer.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.data.zero_()
            layer.bias.data.zero_()
    own = net.transformer.norm(net.transformer.reg_token[0] + net.transformer.pos_embed[0, 1 : 1 + N])
    close(net(images).logits, net.class_head(own).expand(2, -1, -1))
    assert (net.lengths < 1 + N + 15).all() and (net.lengths > 1 + N).all()


@pytest.mark.parametrize("name", [*METHODS, "pitome"])
def test_tokens_per_block_are_those_of_the_classifier_at_every_size(name):
    """All told: the detection tokens on top of what the classifier has."""
    net, images = detector(tokens=method(name)), torch.randn(4, 3, 40, 48)
    sizes = torch.tensor([[32, 32], [24, 16], [32, 32], [40, 8]])
    net.eval()(images, sizes)
    together = torch.stack(net.tokens_per_block)
    assert together.shape == (TINY["depth"], 4) and together[0].tolist() == [1 + N + n for n in (16, 6, 16, 5)]
    assert torch.equal(mean_tokens(net, torch.device("cpu")), together.float().mean(0))
    for i, (height, width) in enumerate(sizes.tolist()):
        net(images[i : i + 1, :, :height, :width])
        assert torch.stack(net.tokens_per_block)[:, 0].tolist() == together[:, i].tolist()
    torch.manual_seed(0)
    plain = randomised(method(name)(VisionTransformer(**TINY, reg_tokens=N), image_size=32)).eval()
    if name != "ats":  # which samples by what it sees
        plain(images[:1, :, :32, :32])
        assert [int(lengths) for lengths in plain.tokens_per_block] == together[:, 0].tolist()


@pytest.mark.parametrize("name", [*METHODS, "pitome"])
def test_with_fewer_tokens_too_an_image_does_not_depend_on_its_batch_mates(name):
    net, sizes = detector(tokens=method(name)).eval(), torch.tensor([[32, 48], [24, 16], [32, 48], [40, 8]])
    images = torch.randn(4, 3, 40, 48)
    check_alone(net, images, sizes)


def test_all_tokens_are_counted_once():
    """Plain ones have the same number in every block, and so do ZoomViT's: `lengths` says it."""
    net = detector()
    net(torch.randn(2, 3, 32, 48))
    assert not hasattr(net, "tokens_per_block") and mean_tokens(net, torch.device("cpu")).tolist() == [1 + N + 24] * 2


@pytest.mark.parametrize("name", ["dynamicvit", "spvit", "ia_red2", "a_vit", "evo_vit", "cf_vit"])
def test_methods_that_learn_to_classify_are_refused(name):
    options = {"cf_vit": {"first_block": 1}, "a_vit": {"target_depth": 2}}.get(name, {"locations": [1]})
    with pytest.raises(InputError, match="detector=yolos: takes no "):
        detector(tokens=method(name, **options), image_size=32)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: detector(tokens=method("tome"), layer_size=(32, 32)), "detector.layer_size: positions of every block"),
        (lambda: detector(boxes=0), "detector.boxes=0 must be a whole number, at least 1"),
        (lambda: detector(start_size=(4, 40)), "detector.start_size=[4, 40] must be height and width in pixels"),
        (lambda: detector(layer_size=(32,)), "detector.layer_size=[32] must be height and width in pixels"),
        (lambda: YOLOS(timm.create_model("resnet18"), num_classes=3), "tokens: the backbone must be a VisionTransf"),
        (lambda: detector()(torch.zeros(1, 3, 30, 32)), "of whole patches of 8 x 8 pixels, got (1, 3, 30, 32)"),
        (lambda: detector()(torch.zeros(1, 3, 32, 32), torch.tensor([[32, 40]])), "size must be 1 heights and widths"),
    ],
)
def test_refusals(act, message):
    with pytest.raises(InputError) as caught:
        act()
    assert message in str(caught.value)
