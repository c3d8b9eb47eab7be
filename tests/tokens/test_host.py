"""Hosts over ragged tokens: against the plain timm forward, one layout against another; refusals."""

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from torch import nn

from tests.tokens.hosts import Nothing, close, random_tokens, randomised, tiny_host
from zoomexp.errors import InputError
from zoomexp.tokens import host
from zoomexp.tokens.host import embed, encode, patch_positions, prefix, read_out
from zoomexp.tokens.ragged import Ragged

HOSTS = {
    "deit": {},
    "deit3": {"init_values": 1e-6, "no_embed_class": True},
    "augreg, class token": {"qkv_bias": True, "fc_norm": False},
    "average": {"global_pool": "avg", "class_token": False},
    "average of patches": {"global_pool": "avg"},
    "average of all": {"global_pool": "avg", "pool_include_prefix": True},
    "q/k norms": {"qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True},
    "registers": {"reg_tokens": 2, "no_embed_class": True, "dynamic_img_size": True},
    "norm before": {"pre_norm": True, "final_norm": False},
    "no positions": {"pos_embed": "none"},
    "swiglu": {"mlp_layer": timm.layers.SwiGLU},
}


def make(name="deit", **changes):
    return tiny_host(**HOSTS[name] | changes)


def images(side=32):
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))


def from_images(model, x):
    patches = embed(model, x)
    return torch.cat([prefix(model, len(x)), patches + patch_positions(model, round(patches.shape[1] ** 0.5))], 1)


@pytest.mark.parametrize("reduce", [None, Nothing()], ids=["dense", "ragged"])
@pytest.mark.parametrize("name", [*HOSTS, "distilled"])
def test_images_through_the_host_equal_the_plain_forward(name, reduce):
    model = make(kind=VisionTransformerDistilled) if name == "distilled" else make(name)
    with torch.no_grad():
        tokens = Ragged.from_dense(from_images(model, images()))
        close(read_out(model, encode(model, tokens, reduce=reduce)), model(images()))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit3_small_patch16_224", "vit_tiny_patch16_224"])
def test_published_hosts(name):
    model = randomised(timm.create_model(name, depth=2, num_classes=5))
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        tokens = Ragged.from_dense(from_images(model, x))
        close(read_out(model, encode(model, tokens, reduce=Nothing())), model(x))


def test_the_distilled_heads_stay_apart_in_distilled_training():
    model = make(kind=VisionTransformerDistilled).train()
    model.set_distilled_training()
    tokens = Ragged.from_dense(from_images(model, images()))
    for ours, plain in zip(read_out(model, encode(model, tokens)), model(images()), strict=True):
        close(ours, plain)


@pytest.mark.parametrize("name", ["registers", "deit"])
def test_positions_and_embedding_of_another_size_are_timms(name):
    model = make(name, dynamic_img_size=True)
    with torch.no_grad():
        close(from_images(model, images(48)), model._pos_embed(model.patch_embed(images(48))))
    patch_positions(model, 5).sum().backward()
    assert model.pos_embed.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", ["ragged", "padded"])
@pytest.mark.parametrize("name", ["deit", "average of all"])
def test_an_image_alone_has_the_logits_it_has_in_a_batch(name, mode):
    model, tokens = make(name), random_tokens()
    with torch.no_grad():
        together = read_out(model, encode(model, tokens, mode=mode))
        parts = tokens.values.split(tokens.sizes)
        alone = [read_out(model, encode(model, Ragged.from_dense(part[None]), mode=mode)) for part in parts]
    close(together, torch.cat(alone))


def test_paper_mode_lets_zeros_take_part():
    model, tokens = make(), random_tokens(torch.tensor([4, 6]))
    with torch.no_grad():
        paper = encode(model, tokens, mode="paper")
        x = torch.zeros(2, 6, 48)
        x[0, :4], x[1] = tokens.values[:4], tokens.values[4:]
        plain = model.norm(model.blocks(x))
        close(paper.values, torch.cat([plain[0, :4], plain[1]]))
        ragged = encode(model, tokens)
    assert (paper.values[:4] - ragged.values[:4]).abs().max() > 1e-2
    close(paper.values[4:], ragged.values[4:])


def test_the_order_of_patch_tokens_does_not_matter():
    model, tokens = make(), random_tokens(torch.tensor([5, 8]))
    order = torch.tensor([0, 3, 1, 4, 2, 5, 12, 10, 6, 11, 7, 9, 8])
    with torch.no_grad():
        one, other = (read_out(model, encode(model, t)) for t in (tokens, tokens.take(order, tokens.lengths)))
    close(one, other)


@pytest.mark.parametrize(
    ("make_host", "message"),
    [
        (lambda: timm.create_model("resnet10t"), "must be a VisionTransformer of timm (deit, deit3, vit), got ResNet"),
        (lambda: make(global_pool="max"), "global_pool must be one of token, avg, got 'max'"),
        (lambda: make(patch_drop_rate=0.1), "patch_drop_rate must be 0, got 0.1"),
        (lambda: make(block_fn=timm.models.vision_transformer.ResPostBlock, init_values=1.0), "got ResPostBlock"),
        (lambda: make(attn_layer="diff", num_heads=4), "got DiffAttention"),
    ],
)
def test_hosts_that_are_refused(make_host, message):
    with pytest.raises(InputError) as error:
        host.check_host(make_host())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_was_put_into_a_host_is_refused():
    model = make()
    model.inserted = nn.ModuleDict({"norm": nn.Identity()})
    with pytest.raises(InputError, match=r"^tokens: modules are inserted"):
        encode(model, random_tokens())
    model = make()
    model.blocks[1].mlp = timm.layers.GlobalResponseNormMlp(48)
    with pytest.raises(InputError, match=r"made of PatchEmbed, Block, Attention, .*, got GlobalResponseNormMlp$"):
        encode(model, random_tokens())
    model = make()
    model.blocks[1].attn.gate = nn.Linear(48, 48)
    with pytest.raises(InputError, match=r"^backbone: attention must be plain, got gated attention$"):
        encode(model, random_tokens())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: encode(m, random_tokens(), mode="mask"), "mode must be one of ragged, padded, paper, got 'mask'"),
        (lambda m: encode(m, random_tokens(), mode="padded", reduce=Nothing()), "reduce needs mode ragged, got padded"),
        (lambda m: encode(m, Ragged.from_dense(torch.zeros(1, 2, 47))), "tokens must be (T, 48), got (2, 47)"),
        (lambda m: embed(m, torch.zeros(1, 3, 32, 30)), "(B, 3, H, W) of whole patches of 8 x 8 pixels, got (1, 3, 32"),
        (lambda m: embed(m, torch.zeros(1, 1, 32, 32)), "got (1, 1, 32, 32)"),
        (lambda m: patch_positions(m, 0), "side must be at least 1, got 0"),
        (lambda m: read_out(make("average of patches"), random_tokens()), "at least 2 tokens of each image, got"),
        (lambda m: read_out(make("registers"), random_tokens()), "at least 3 tokens of each image, got lengths [9, 1"),
    ],
)
def test_calls_that_are_refused(call, message):
    with pytest.raises(InputError) as error:
        call(make())
    assert message in str(error.value)
    assert "\n" not in str(error.value)
